//! Deletion of servers and volumes: of expired ones, and of all when the user asks for it.
//!
//! Resources are found by label. Those of this installation expire by the uses that this
//! process knows and their labels, those of other owners by their labels alone, with a
//! margin. A reaping also renews the labels of the resources that it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burst_hcloud::server::{Server, ServerStatus};
use burst_hcloud::volume::Volume;
use burst_hcloud::{Id, Labels};
use burst_protocol::message::FromShim;
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::account::{Account, HeldServer, LIST_RESOURCES};
use super::activity::has_runs_of;
use super::deletion::{Deletion, LockWait, delete};
use super::holding::Failure;
use super::inventory::{Inventory, is_of};
use super::lease::{self, Facts, Verdict};
use super::naming::{self, Owner, ProjectKey};
use super::progress::Progress;
use super::uses::Reaped;
use super::{dial, error, throwaway_key, volume};
use crate::connection::server::ServerConnection;
use crate::error::{Error, ErrorKind};

/// Most seconds between two reapings: resources of other owners expire, too, and our
/// labels have to be renewed.
const REAP_INTERVAL_SECS: i64 = 600;

/// Seconds after which a reaping that was cut off is repeated.
const CUT_OFF_SECS: i64 = 30;

/// Seconds after which a resource that only others use is looked at again.
const RUNS_INTERVAL_SECS: i64 = 60;

/// Seconds by which the label of the last use may lag behind.
const LABEL_AGE_MAX: i64 = 300;

/// Seconds that an idle volume stays that was kept until `cargo burst down`, where no command has
/// told this process how long.
const VOLUME_KEEP_ALIVE_SECS: i64 = 3600;

/// How long the agent of a server may take to stop before the server is deleted.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// How long commands may take to read how their runs have ended, before their server is deleted.
const TOLD_DEADLINE: Duration = Duration::from_secs(5);

/// What was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReapReport {
    /// Names of deleted servers.
    pub(crate) servers: Vec<String>,
    /// Names of deleted volumes.
    pub(crate) volumes: Vec<String>,
    /// Errors of deletions that failed, one line each; the next reaping retries them.
    pub(crate) failed: Vec<String>,
    /// What of this installation could not be deleted; `None` if everything was.
    #[serde(skip)]
    pub(crate) failure: Option<Failure>,
}

/// What `cargo burst down` deletes, beside servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DownOptions {
    /// Also volumes.
    pub(crate) with_volumes: bool,
    /// Also resources that other machines created with the same token.
    pub(crate) all: bool,
    /// Whether runs may be ended and caches deleted.
    pub(crate) consent: bool,
}

impl ReapReport {
    /// Notes that a resource could not be deleted. What other machines have is their trouble.
    fn fail(&mut self, name: &str, is_own: bool, error: &Error) {
        let told = error.one_line();
        self.failed.push(told.clone());
        if !is_own {
            return;
        }
        let failure = self.failure.get_or_insert(Failure {
            error: told,
            is_token_rejected: false,
            stuck: Vec::new(),
        });
        failure.stuck.push(name.to_owned());
        failure.is_token_rejected |= error.kind() == ErrorKind::Token;
    }

    fn leave_out_deleted(&self, inventory: &mut Inventory) {
        inventory.servers.retain(|server| !self.servers.contains(&server.name));
        inventory.volumes.retain(|volume| !self.volumes.contains(&volume.name));
    }
}

impl Account {
    /// Deletes expired servers and volumes, and decides when the next reaping is due.
    pub(crate) async fn reap(&self) -> Result<ReapReport, Error> {
        let reaped = self.reap_expired().instrument(tracing::info_span!("reap")).await;
        if let Err(error) = &reaped {
            let failure = Failure {
                error: error.one_line(),
                is_token_rejected: error.kind() == ErrorKind::Token,
                stuck: Vec::new(),
            };
            self.uses.fail_reap(failure, self.client.now().as_second(), local_now());
        }
        reaped
    }

    async fn reap_expired(&self) -> Result<ReapReport, Error> {
        let changes = self.uses.begin_reap(self.client.now().as_second() + CUT_OFF_SECS);
        // Not under the lock: commands do not wait for an API that does not answer.
        let mut inventory = self.inventory().await?;
        let owner = self.undisputed_owner(&inventory);
        let mut held = self.server.lock().await;
        let now = self.client.now().as_second();
        let mut next = now + REAP_INTERVAL_SECS;
        let mut report = ReapReport::default();
        let mut deleted = BTreeSet::new();
        for server in &inventory.servers {
            match lease::server(self.uses.server_facts(server, &owner), now) {
                Verdict::Delete
                    if is_of(&server.labels, &owner)
                        && self.has_runs(held.as_ref(), server).await =>
                {
                    next = next.min(now + RUNS_INTERVAL_SECS);
                }
                Verdict::Delete => {
                    match self.delete_server(&mut held, server, "idle", LockWait::Reaping).await {
                        Ok(()) => {
                            deleted.insert(server.id);
                            report.servers.push(server.name.clone());
                        }
                        Err(error) => {
                            report.fail(&server.name, is_of(&server.labels, &owner), &error)
                        }
                    }
                }
                Verdict::KeepUntil(then) => next = next.min(then),
                Verdict::Keep => {}
            }
        }
        for volume in &inventory.volumes {
            match lease::volume(self.uses.volume_facts(volume, &owner), now) {
                Verdict::Delete if has_runs_of(held.as_ref(), volume).await => {
                    next = next.min(now + RUNS_INTERVAL_SECS);
                }
                Verdict::Delete => {
                    let lock_wait = LockWait::Reaping;
                    match self.delete_volume(held.as_mut(), volume, &deleted, lock_wait).await {
                        Ok(true) => report.volumes.push(volume.name.clone()),
                        Ok(false) => {}
                        Err(error) => {
                            report.fail(&volume.name, is_of(&volume.labels, &owner), &error)
                        }
                    }
                }
                Verdict::KeepUntil(then) => next = next.min(then),
                Verdict::Keep => {}
            }
        }
        drop(held);
        report.leave_out_deleted(&mut inventory);
        self.uses.listed(&inventory, &owner, now, changes);
        self.renew_labels(&inventory, &owner, now).await;
        throwaway_key::sweep(&self.client).await;
        let is_empty = !inventory.has_any_of(&self.installation.owner());
        let failure = report.failure.take();
        self.uses.end_reap(Reaped { changes, is_empty, next, failure }, now, local_now());
        Ok(report)
    }

    /// Deletes the owner's servers, and volumes if asked. Fails where a command uses them, unless
    /// that has the user's consent.
    pub(crate) async fn down(
        &self,
        options: DownOptions,
        progress: &dyn Progress,
    ) -> Result<ReapReport, Error> {
        // No command creates anything meanwhile.
        let mut held = self.server.lock().await;
        if !options.consent && self.uses.is_any() {
            return Err(error::used_meanwhile());
        }
        let mut inventory = self.inventory().await?;
        let owner = self.undisputed_owner(&inventory);
        if !options.all {
            self.warn_of_kept(&inventory, progress);
            inventory.keep_those_of(&owner);
        }
        self.end_keeping(&inventory, &owner).await;
        let mut report = ReapReport::default();
        let mut deleted = BTreeSet::new();
        let lock_wait = LockWait::User(progress);
        for server in &inventory.servers {
            progress.step(&format!("deleting the server {}", server.name));
            match self.delete_server(&mut held, server, "down", lock_wait).await {
                Ok(()) => {
                    deleted.insert(server.id);
                    report.servers.push(server.name.clone());
                }
                Err(error) => report.fail(&server.name, is_of(&server.labels, &owner), &error),
            }
        }
        for volume in inventory.volumes.iter().filter(|_| options.with_volumes) {
            progress.step(&format!("deleting the volume {}", volume.name));
            match self.delete_volume(held.as_mut(), volume, &deleted, lock_wait).await {
                Ok(true) => report.volumes.push(volume.name.clone()),
                Ok(false) => {
                    report.failed.push(format!("the volume {} is still attached", volume.name));
                }
                Err(error) => report.fail(&volume.name, is_of(&volume.labels, &owner), &error),
            }
        }
        report.leave_out_deleted(&mut inventory);
        let owner = self.undisputed_owner(&inventory);
        let (now, changes) = (self.client.now().as_second(), self.uses.changes());
        self.uses.listed(&inventory, &owner, now, changes);
        Ok(report)
    }

    /// Ends the effect of `--no-reap` on the resources of the owner: what cannot be deleted now, or
    /// is not to be, expires as if it had not been kept. Labels that cannot be changed do not keep
    /// the rest.
    async fn end_keeping(&self, inventory: &Inventory, owner: &Owner) {
        self.uses.end_keeping();
        let kept =
            |labels: &Labels| is_of(labels, owner) && naming::keep_alive(labels, 0).is_none();
        let now = self.client.now().as_second();
        for server in inventory.servers.iter().filter(|server| kept(&server.labels)) {
            let mut labels = server.labels.clone();
            labels.extend(naming::lifetime(now, Some(0)));
            drop(self.client.label_server(server.id, &labels).await);
        }
        for volume in inventory.volumes.iter().filter(|volume| kept(&volume.labels)) {
            let project = ProjectKey::of_volume(&volume.labels);
            let asked = project.and_then(|project| self.uses.volume_keep_alive(&project));
            let mut labels = volume.labels.clone();
            labels.extend(naming::lifetime(now, Some(asked.unwrap_or(VOLUME_KEEP_ALIVE_SECS))));
            drop(self.client.label_volume(volume.id, &labels).await);
        }
    }

    pub(super) async fn inventory(&self) -> Result<Inventory, Error> {
        let asked = Instant::now();
        let listed = Inventory::ask(&self.client).await;
        let inventory =
            listed.map_err(|error| error::api(&self.endpoint, LIST_RESOURCES, &error))?;
        self.note_list(&inventory);
        self.books.correct(&self.client, &inventory, None, None, asked.elapsed()).await;
        Ok(inventory)
    }

    async fn delete_server(
        &self,
        held: &mut Option<HeldServer>,
        server: &Server,
        reason: &str,
        lock_wait: LockWait<'_>,
    ) -> Result<(), Error> {
        self.delete_stopped(held, server, reason, STOP_DEADLINE, lock_wait).await
    }

    /// Stops the agent within `stop_deadline`, so that all data is on the disks, then deletes the
    /// server.
    pub(super) async fn delete_stopped(
        &self,
        held: &mut Option<HeldServer>,
        server: &Server,
        reason: &str,
        stop_deadline: Duration,
        lock_wait: LockWait<'_>,
    ) -> Result<(), Error> {
        if server.status == ServerStatus::Deleting {
            return Ok(());
        }
        let what = format!("the server {}", server.name);
        if server.protection.delete {
            // Its agent stays, and so do its runs.
            return Err(error::protected(&what));
        }
        let held = held.take_if(|held| held.server.id == server.id);
        let stopped = async {
            match &held {
                Some(held) => {
                    stop_agent(&held.agent).await;
                    // By way of this connection commands are told how their runs have ended.
                    self.uses.until_unused(TOLD_DEADLINE).await;
                }
                None => match self.connect(server).await {
                    Ok(agent) => stop_agent(&agent).await,
                    Err(error) => {
                        tracing::info!("deleting a server without an agent: {}", error.one_line());
                    }
                },
            }
        };
        if tokio::time::timeout(stop_deadline, stopped).await.is_err() {
            tracing::info!("deleting a server whose agent does not stop in time");
        }
        if let Some(held) = held {
            held.agent.abort();
        }
        let resource = Deletion::Server(server.id);
        delete(&self.client, &self.endpoint, resource, &what, lock_wait).await?;
        tracing::info!(name = server.name, reason, "deleted a server");
        self.installation.keys().forget_that_of(server);
        self.books.server_deleted(server, self.client.now().as_second(), reason);
        Ok(())
    }

    /// Deletes a volume, which is detached before if it is on the server of this process.
    /// Returns false, and does nothing, if another server has it attached.
    async fn delete_volume(
        &self,
        held: Option<&mut HeldServer>,
        volume: &Volume,
        deleted_servers: &BTreeSet<Id>,
        lock_wait: LockWait<'_>,
    ) -> Result<bool, Error> {
        let what = format!("the volume {}", volume.name);
        if volume.protection.delete {
            return Err(error::protected(&what));
        }
        match (volume.server.filter(|server| !deleted_servers.contains(server)), held) {
            (Some(server), Some(held)) if held.server.id == server => {
                if let Some(project) = ProjectKey::of_volume(&volume.labels) {
                    held.volumes.remove(&project);
                }
                volume::detach(&self.client, &self.endpoint, &held.agent, volume).await?;
            }
            (Some(_), _) => return Ok(false),
            (None, _) => {}
        }
        let resource = Deletion::Volume(volume.id);
        delete(&self.client, &self.endpoint, resource, &what, lock_wait).await?;
        tracing::info!(name = volume.name, "deleted a volume");
        self.books.volume_deleted(volume, self.client.now().as_second(), "expired");
        Ok(true)
    }

    /// Writes the last use into labels that lag behind, for other machines. The next
    /// reaping retries failed requests.
    async fn renew_labels(&self, inventory: &Inventory, owner: &Owner, now: i64) {
        for server in &inventory.servers {
            let facts = self.uses.server_facts(server, owner);
            if let Some(labels) = renewed(&server.labels, owner, facts, now) {
                drop(self.client.label_server(server.id, &labels).await);
            }
        }
        for volume in &inventory.volumes {
            let facts = self.uses.volume_facts(volume, owner);
            if let Some(labels) = renewed(&volume.labels, owner, facts, now) {
                drop(self.client.label_volume(volume.id, &labels).await);
            }
        }
    }
}

/// Unix seconds by the local clock.
fn local_now() -> i64 {
    burst_hcloud::Timestamp::now().as_second()
}

/// The new labels of a resource of the owner; `None` if they do not lag behind, or it belongs
/// to another owner.
fn renewed(labels: &Labels, owner: &Owner, facts: Facts, now: i64) -> Option<Labels> {
    let last_use = facts.last_use_at(now);
    let lifetime = naming::lifetime(last_use, facts.keep_alive);
    let lags_behind = last_use - naming::last_use(labels, 0) >= LABEL_AGE_MAX
        || labels.get(naming::KEEP_ALIVE) != lifetime.get(naming::KEEP_ALIVE);
    if !is_of(labels, owner) || !lags_behind {
        return None;
    }
    let mut renewed: BTreeMap<String, String> = labels.clone();
    renewed.extend(lifetime);
    Some(renewed)
}

/// Stops the agent of a server that is to be deleted. An agent that does not answer does
/// not keep its server.
async fn stop_agent(agent: &Arc<ServerConnection>) {
    if let Err(error) = dial::ask(agent, FromShim::End { with_volumes: false }).await {
        tracing::info!("deleting a server whose agent did not stop: {}", error.one_line());
    }
}
