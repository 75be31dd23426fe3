//! What `cargo burst down` would end and delete at Hetzner: servers, the runs on them, and volumes.
//!
//! It only reads. The keeper sends it to commands, so it is serialisable.

use std::sync::Arc;
use std::time::Duration;

use burst_hcloud::server::{Server, ServerStatus};
use burst_protocol::message::AgentStatus;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::activity::{busy_projects, key_of, status_of};
use super::inventory::{Inventory, is_of};
use super::naming::{HOST, Owner, PROJECT_NAME, ProjectKey};
use super::reap::DownOptions;
use super::server::ServerSummary;
use crate::connection::server::ServerConnection;
use crate::error::Error;

/// How long the agent of a server may take to tell its runs.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// How long a command counts at most that has ended already: until its socket is seen closed.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// What would be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Losses {
    /// Servers.
    pub(crate) servers: Vec<LostServer>,
    /// Volumes, if they are to be deleted.
    pub(crate) volumes: Vec<LostVolume>,
}

/// A server that would be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LostServer {
    /// Its name at Hetzner.
    pub(crate) name: String,
    /// Its server type, such as `cpx62`.
    pub(crate) server_type: String,
    /// Its location, such as `hel1`.
    pub(crate) location: String,
    /// Its age in seconds, by the API's clock.
    pub(crate) age_secs: i64,
    /// The machine that created it, if that is another one: what runs on it is not known.
    pub(crate) of_other: Option<String>,
    /// The runs on it.
    pub(crate) runs: Vec<LostRun>,
}

/// A run that would be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LostRun {
    /// Its command line, for people; `None` of a command that prepares its run.
    pub(crate) title: Option<String>,
    /// The workspace: its path, or its name alone.
    pub(crate) workspace: String,
}

/// A volume that would be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LostVolume {
    /// The name of its project's directory.
    pub(crate) project: String,
    /// Its size in GB.
    pub(crate) gb: u64,
    /// Its location.
    pub(crate) location: String,
}

impl Account {
    /// What [`down`](Self::down) would end and delete.
    pub(crate) async fn losses(&self, options: DownOptions) -> Result<Losses, Error> {
        let mut inventory = self.inventory().await?;
        let owner = self.undisputed_owner(&inventory);
        if !options.all {
            inventory.keep_those_of(&owner);
        }
        let mut losses = Losses::default();
        for server in &inventory.servers {
            losses.servers.push(self.lost_server(server, &owner, &inventory).await);
        }
        let volumes = inventory.volumes.iter().filter(|_| options.with_volumes);
        losses.volumes.extend(volumes.map(|volume| LostVolume {
            project: volume.labels.get(PROJECT_NAME).cloned().unwrap_or_default(),
            gb: volume.size as u64,
            location: volume.location.name.clone(),
        }));
        Ok(losses)
    }

    /// A server in dispute is another one's, whose runs are not known.
    async fn lost_server(
        &self,
        server: &Server,
        owner: &Owner,
        inventory: &Inventory,
    ) -> LostServer {
        let ServerSummary { server_type, location, created, .. } = ServerSummary::of(server);
        let is_own = is_of(&server.labels, owner);
        let runs = match is_own {
            true => {
                let told = self.ask_status(server).await;
                self.runs(told.as_ref(), inventory).await
            }
            false => Vec::new(),
        };
        LostServer {
            name: server.name.clone(),
            server_type,
            location,
            age_secs: (self.client.now().as_second() - created).max(0),
            of_other: (!is_own).then(|| server.labels.get(HOST).cloned().unwrap_or_default()),
            runs,
        }
    }

    /// The runs on a server of ours. A command whose run the agent does not tell may just have
    /// ended.
    async fn runs(&self, told: Option<&AgentStatus>, inventory: &Inventory) -> Vec<LostRun> {
        let now = runs(told, &self.uses.used(), inventory);
        if now.iter().all(|run| run.title.is_some()) {
            return now;
        }
        self.uses.until_unused(END_DEADLINE).await;
        runs(told, &self.uses.used(), inventory)
    }

    /// Asks the agent of a server of ours for its runs; none if it does not answer.
    async fn ask_status(&self, server: &Server) -> Option<AgentStatus> {
        let asked = async { status_of(&self.agent_of(server).await?).await };
        tokio::time::timeout(STATUS_DEADLINE, asked).await.ok().flatten()
    }

    /// The connection to a server that may have runs. Where a command is preparing the server, its
    /// use is known without one.
    async fn agent_of(&self, server: &Server) -> Option<Arc<ServerConnection>> {
        let held = self.server.try_lock().ok()?;
        match &*held {
            Some(held) if held.server.id == server.id => Some(held.agent.clone()),
            _ if server.status == ServerStatus::Running => self.connect(server).await.ok(),
            _ => None,
        }
    }
}

/// The runs that the agent tells, and those of commands of this process that it does not tell: they
/// are preparing theirs, or the agent does not answer. Pure.
fn runs(told: Option<&AgentStatus>, used: &[ProjectKey], inventory: &Inventory) -> Vec<LostRun> {
    let running: Vec<_> = told.into_iter().flat_map(busy_projects).collect();
    let mut runs = Vec::new();
    for project in &running {
        let workspace = project.project.absolute().to_string_lossy().into_owned();
        runs.extend(
            project
                .runs
                .iter()
                .map(|title| LostRun { title: Some(title.clone()), workspace: workspace.clone() }),
        );
    }
    let is_told = |key: &ProjectKey| running.iter().any(|project| key_of(project) == *key);
    runs.extend(used.iter().filter(|key| !is_told(key)).map(|key| {
        let mut volumes = inventory.volumes.iter();
        let volume =
            volumes.find(|volume| ProjectKey::of_volume(&volume.labels).as_ref() == Some(key));
        let name = volume.and_then(|volume| volume.labels.get(PROJECT_NAME));
        LostRun { title: None, workspace: name.cloned().unwrap_or_else(|| "a project".into()) }
    }));
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use burst_protocol::RelativePath;
    use burst_protocol::message::ProjectStatus;

    #[test]
    fn runs_of_the_agent_and_commands_that_prepare_theirs_are_told_once() {
        let project = |path: &str, runs: &[&str]| ProjectStatus {
            project: RelativePath::new(path.as_bytes()).unwrap(),
            idle_secs: 0,
            runs: runs.iter().map(|run| (*run).to_owned()).collect(),
        };
        let status = AgentStatus {
            version: String::new(),
            pid: 1,
            up_secs: 1,
            ends_in_secs: None,
            projects: vec![project("home/a", &["cargo test", "cargo doc"]), project("home/b", &[])],
        };
        let used = ["/home/a", "/home/b"].map(|path| ProjectKey::of(Path::new(path)));
        let run = |title: Option<&str>, workspace: &str| LostRun {
            title: title.map(str::to_owned),
            workspace: workspace.into(),
        };
        let none = Inventory::default();
        assert_eq!(
            runs(Some(&status), &used, &none),
            [
                run(Some("cargo test"), "/home/a"),
                run(Some("cargo doc"), "/home/a"),
                run(None, "a project"),
            ]
        );
        assert_eq!(runs(None, &used[..1], &none), [run(None, "a project")]);
        assert_eq!(runs(Some(&status), &[], &none).len(), 2);
    }
}
