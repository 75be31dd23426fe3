//! What an agent says about the runs on it: the last question before an idle server or volume
//! is deleted.
//!
//! This process knows the uses by its own commands. Runs of others that have the server's keys,
//! such as a clone of this machine, are known to the agent alone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use burst_hcloud::server::Server;
use burst_hcloud::volume::Volume;
use burst_protocol::message::{FromAgent, FromShim, ProjectStatus};

use super::account::{Account, HeldServer};
use super::dial;
use super::naming::ProjectKey;
use crate::connection::server::ServerConnection;

impl Account {
    /// Whether a server that is idle for this process has runs. An agent that does not answer
    /// has none: it does not keep its server.
    pub(super) async fn has_runs(&self, held: Option<&HeldServer>, server: &Server) -> bool {
        let agent = match held.filter(|held| held.server.id == server.id) {
            Some(held) => held.agent.clone(),
            None => match self.connect(server).await {
                Ok(agent) => agent,
                Err(_) => return false,
            },
        };
        let busy = projects(&agent).await.iter().any(|project| !project.runs.is_empty());
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
    projects(&held.agent)
        .await
        .iter()
        .any(|project| !project.runs.is_empty() && Some(key(project)) == wanted)
}

/// The projects on a server; none if its agent does not answer.
async fn projects(agent: &Arc<ServerConnection>) -> Vec<ProjectStatus> {
    match dial::ask(agent, FromShim::Status).await {
        Ok(FromAgent::Status(status)) => status.projects,
        _ => Vec::new(),
    }
}

fn key(project: &ProjectStatus) -> ProjectKey {
    ProjectKey::of(&Path::new("/").join(OsStr::from_bytes(project.project.as_bytes())))
}
