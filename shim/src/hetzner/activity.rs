//! What an agent says about the runs on it: the last question before an idle server or volume
//! is deleted, and what `down` tells the user.
//!
//! This process knows the uses by its own commands. Runs of others that have the server's keys,
//! such as a clone of this machine, are known to the agent alone.

use std::sync::Arc;

use burst_hcloud::server::Server;
use burst_hcloud::volume::Volume;
use burst_protocol::message::{AgentStatus, FromAgent, FromShim, ProjectStatus};

use super::account::{Account, HeldServer};
use super::dial;
use super::naming::ProjectKey;
use crate::connection::server::ServerConnection;

impl Account {
    /// Whether a server that is idle for this process has runs, for which its lease lasts then.
    /// An agent that does not answer has none: it does not keep its server.
    pub(super) async fn has_runs(&self, held: Option<&HeldServer>, server: &Server) -> bool {
        let agent = match held.filter(|held| held.server.id == server.id) {
            Some(held) => held.agent.clone(),
            None => match self.connect(server).await {
                Ok(agent) => agent,
                Err(_) => return false,
            },
        };
        let status = status_of(&agent).await;
        let busy = status.iter().flat_map(busy_projects).next().is_some();
        self.uses.note_runs(server.id, busy);
        if busy {
            tracing::info!(name = server.name, "an idle server is kept: it has runs of others");
        }
        busy
    }
}

/// Whether a volume that is idle for this process has runs, likewise.
pub(super) async fn has_runs_of(held: Option<&HeldServer>, volume: &Volume) -> bool {
    let Some(held) = held.filter(|held| volume.server == Some(held.server.id)) else {
        return false;
    };
    let wanted = ProjectKey::of_volume(&volume.labels);
    let status = status_of(&held.agent).await;
    status.iter().flat_map(busy_projects).any(|project| Some(key_of(project)) == wanted)
}

/// What the agent of a server says; none if it does not answer.
pub(super) async fn status_of(agent: &Arc<ServerConnection>) -> Option<AgentStatus> {
    match dial::ask(agent, FromShim::Status).await {
        Ok(FromAgent::Status(status)) => Some(status),
        _ => None,
    }
}

/// The projects with runs.
pub(super) fn busy_projects(status: &AgentStatus) -> impl Iterator<Item = &ProjectStatus> {
    status.projects.iter().filter(|project| !project.runs.is_empty())
}

/// The key of a project on a server.
pub(super) fn key_of(project: &ProjectStatus) -> ProjectKey {
    ProjectKey::of(&project.project.absolute())
}
