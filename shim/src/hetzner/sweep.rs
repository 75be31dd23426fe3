//! Deleting what has had its time, by label: our own by what we know, others' by what
//! their labels tell. And all of it, when the user says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use burst_hcloud::server::{Server, ServerStatus};
use burst_hcloud::volume::Volume;
use burst_hcloud::{Code, Error as ApiError, Id, Labels};
use burst_protocol::message::{FromShim, Lease, Will};
use serde::{Deserialize, Serialize};

use super::account::{Account, Held, lock};
use super::audit::Entry;
use super::error;
use super::inventory::{Inventory, facts, is_of};
use super::lease::{self, Facts, Verdict};
use super::naming::{self, LAST_USE, PROJECT, ProjectKey};
use super::progress::Progress;
use super::server::ServerSummary;
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};

/// Seconds between two looks at the latest: others' things expire, too, and our labels
/// have to be renewed.
const SWEEP_INTERVAL_SECS: i64 = 600;

/// Seconds by which a label of last use may be behind.
const LABEL_AGE_MAX: i64 = 300;

/// How long a deletion may take.
const DELETE_DEADLINE: Duration = Duration::from_secs(120);

/// How often something that is locked is tried again.
const LOCKED_TRIES: u32 = 6;

/// What was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReapReport {
    /// Names of servers.
    pub(crate) servers: Vec<String>,
    /// Names of volumes.
    pub(crate) volumes: Vec<String>,
    /// What could not be deleted now, and why; the next sweep tries again.
    pub(crate) failed: Vec<String>,
}

/// What is to be deleted by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DownOptions {
    /// Volumes as well.
    pub(crate) with_volumes: bool,
    /// Also what other owners have made with this token.
    pub(crate) all: bool,
}

impl Account {
    /// Whether it is time to sweep.
    pub(crate) fn is_sweep_due(&self) -> bool {
        let at = self.next_sweep.load(Ordering::Relaxed);
        at > 0 && self.client.now().as_second() >= at
    }

    /// Whether there is anything that has to be looked after.
    pub(crate) fn holds_anything(&self) -> bool {
        let in_use = lock(&self.uses).projects.values().any(|found| found.commands > 0);
        in_use || self.next_sweep.load(Ordering::Relaxed) > 0
    }

    /// Tells the agent that somebody looks after its server, if it has a last will.
    pub(crate) async fn renew_lease(&self) {
        let Ok(held) = self.held.try_lock() else { return };
        let Some((server, connection)) =
            held.as_ref().map(|held| (held.server.clone(), held.connection.clone()))
        else {
            return;
        };
        drop(held);
        self.renew_lease_of(&server, &connection).await;
    }

    pub(super) async fn renew_lease_of(&self, server: &Server, connection: &Arc<Connection>) {
        let Some(margin) = lock(&self.uses).server.and_then(|life| life.dead_man) else { return };
        let now = self.client.now().as_second();
        let facts = self.server_facts(server);
        let rest = match lease::server(facts, now) {
            Verdict::Keep => return,
            Verdict::Delete => 0,
            Verdict::KeepUntil(_) => {
                let end = facts.last_use.max(now) + facts.keep_alive.unwrap_or(0);
                let paid = lease::paid_until(facts.created, end);
                if facts.keep_paid_hour { paid - now } else { end - now }
            }
        };
        let (url, headers) = self.client.deletion_of_server(server.id);
        let will = Will { method: "DELETE".into(), url, headers };
        let secs = u64::try_from(rest).unwrap_or(0) + margin;
        let lease = FromShim::Lease(Lease { secs, will: Some(will) });
        // The next one is sent soon.
        drop(self.ask_agent(connection, lease).await);
    }

    /// Deletes what has had its time.
    pub(crate) async fn sweep(&self) -> Result<ReapReport, Error> {
        // What fails is tried again soon, and not at once.
        let now = self.client.now().as_second();
        let turns = {
            let uses = lock(&self.uses);
            self.next_sweep.store(now + SWEEP_INTERVAL_SECS / 20, Ordering::Relaxed);
            uses.turns
        };
        // Nobody has to wait for us while the API does not answer.
        let inventory = self.inventory().await.inspect_err(|error| {
            if error.kind() == ErrorKind::Token {
                // A token that is no good stays so: nothing can be looked after by it.
                self.next_sweep.store(0, Ordering::Relaxed);
            }
        })?;
        let mut held = self.held.lock().await;
        let now = self.client.now().as_second();
        let mut next = now + SWEEP_INTERVAL_SECS;
        let mut reaped = ReapReport::default();
        let mut gone = BTreeSet::new();
        for server in &inventory.servers {
            match lease::server(self.server_facts(server), now) {
                Verdict::Delete => match self.delete_server(&mut held, server, "idle").await {
                    Ok(()) => {
                        gone.insert(server.id);
                        reaped.servers.push(server.name.clone());
                    }
                    Err(error) => reaped.failed.push(error),
                },
                Verdict::KeepUntil(then) => next = next.min(then),
                Verdict::Keep => {}
            }
        }
        for volume in &inventory.volumes {
            match lease::volume(self.volume_facts(volume), now) {
                Verdict::Delete => match self.delete_volume(held.as_mut(), volume, &gone).await {
                    Ok(true) => reaped.volumes.push(volume.name.clone()),
                    Ok(false) => {}
                    Err(error) => reaped.failed.push(error),
                },
                Verdict::KeepUntil(then) => next = next.min(then),
                Verdict::Keep => {}
            }
        }
        drop(held);
        self.renew(&inventory, &reaped, now).await;
        if !reaped.failed.is_empty() {
            return Ok(reaped);
        }
        let is_left = |labels: &Labels| is_of(labels, &self.owner);
        let servers = inventory.servers.iter().filter(|one| !gone.contains(&one.id));
        let volumes = inventory.volumes.iter().filter(|one| !reaped.volumes.contains(&one.name));
        let mut left = servers.map(|one| &one.labels).chain(volumes.map(|one| &one.labels));
        // With nothing of ours left there is nothing to look after. But what we saw is
        // old if a command has come or gone meanwhile.
        let uses = lock(&self.uses);
        let in_use = uses.projects.values().any(|found| found.commands > 0);
        let next = match left.any(is_left) || in_use {
            _ if uses.turns != turns => now + 1,
            true => next,
            false => 0,
        };
        self.next_sweep.store(next, Ordering::Relaxed);
        Ok(reaped)
    }

    /// Deletes servers, and volumes if asked, whatever their lease says.
    pub(crate) async fn down(
        &self,
        options: DownOptions,
        progress: &dyn Progress,
    ) -> Result<ReapReport, Error> {
        let inventory = self.inventory().await?;
        let mut held = self.held.lock().await;
        let is_meant = |labels: &Labels| options.all || is_of(labels, &self.owner);
        let mut reaped = ReapReport::default();
        let mut gone = BTreeSet::new();
        for server in inventory.servers.iter().filter(|one| is_meant(&one.labels)) {
            progress.step(&format!("deleting the server {}", server.name));
            match self.delete_server(&mut held, server, "down").await {
                Ok(()) => {
                    gone.insert(server.id);
                    reaped.servers.push(server.name.clone());
                }
                Err(error) => reaped.failed.push(error),
            }
        }
        let volumes = inventory.volumes.iter().filter(|one| is_meant(&one.labels));
        for volume in volumes.filter(|_| options.with_volumes) {
            progress.step(&format!("deleting the volume {}", volume.name));
            match self.delete_volume(held.as_mut(), volume, &gone).await {
                Ok(true) => reaped.volumes.push(volume.name.clone()),
                Ok(false) => reaped.failed.push(format!("{} is still attached", volume.name)),
                Err(error) => reaped.failed.push(error),
            }
        }
        Ok(reaped)
    }

    pub(super) async fn inventory(&self) -> Result<Inventory, Error> {
        let asked = Inventory::ask(&self.client).await;
        asked.map_err(|error| error::api("ask Hetzner what is there", &error))
    }

    /// What is known of a server's life.
    pub(super) fn server_facts(&self, server: &Server) -> Facts {
        let told = facts(&server.labels, server.created.as_second());
        if !is_of(&server.labels, &self.owner) {
            return lease::of_others(told);
        }
        let uses = lock(&self.uses);
        let last = uses.projects.values().map(|found| found.last).max();
        let life = uses.server;
        Facts {
            last_use: told.last_use.max(last.unwrap_or(0)),
            in_use: uses.projects.values().any(|found| found.commands > 0),
            keep_alive: life.map_or(told.keep_alive, |life| life.keep_alive),
            keep_paid_hour: life.map_or(told.keep_paid_hour, |life| life.keep_paid_hour),
            ..told
        }
    }

    /// What is known of a volume's life.
    pub(super) fn volume_facts(&self, volume: &Volume) -> Facts {
        let told = facts(&volume.labels, volume.created.as_second());
        if !is_of(&volume.labels, &self.owner) {
            return lease::of_others(told);
        }
        let uses = lock(&self.uses);
        match project_of(volume).and_then(|project| uses.projects.get(&project)) {
            Some(found) => Facts {
                last_use: told.last_use.max(found.last),
                in_use: found.commands > 0,
                keep_alive: found.keep_alive,
                ..told
            },
            None => told,
        }
    }

    /// Ends the agent, so that all is on the disks, then deletes the server.
    async fn delete_server(
        &self,
        held: &mut Option<Held>,
        server: &Server,
        reason: &str,
    ) -> Result<(), String> {
        if server.status == ServerStatus::Deleting {
            return Ok(());
        }
        match held.take_if(|held| held.server.id == server.id) {
            Some(held) => {
                // A server that does not answer is deleted all the same.
                drop(self.ask_agent(&held.connection, FromShim::End { with_volumes: false }).await);
                held.connection.abandon();
            }
            None => self.end_unheld(server).await,
        }
        self.delete(Deletion::Server(server.id)).await.map_err(|error| {
            error::api(&format!("delete the server {}", server.name), &error).one_line()
        })?;
        self.audit.append(&Entry::ServerDeleted {
            name: server.name.clone(),
            server: ServerSummary::of(server),
            at: self.client.now().as_second(),
            reason: reason.to_owned(),
        });
        Ok(())
    }

    /// A server of ours that this process has never talked to.
    async fn end_unheld(&self, server: &Server) {
        // One that does not answer is deleted all the same.
        if let Ok(connection) = self.call(server).await {
            drop(self.ask_agent(&connection, FromShim::End { with_volumes: false }).await);
        }
    }

    /// Deletes a volume that is not in use any more. False: others still have it
    /// attached.
    async fn delete_volume(
        &self,
        held: Option<&mut Held>,
        volume: &Volume,
        gone: &BTreeSet<Id>,
    ) -> Result<bool, String> {
        let failed = |error: Error| error.one_line();
        match (volume.server.filter(|server| !gone.contains(server)), held) {
            (Some(server), Some(held)) if held.server.id == server => {
                let project = project_of(volume).unwrap_or_else(|| ProjectKey::from_label(""));
                held.volumes.remove(&project);
                self.let_go(&held.connection, volume).await.map_err(failed)?;
            }
            (Some(_), _) => return Ok(false),
            (None, _) => {}
        }
        let what = format!("delete the volume {}", volume.name);
        let deleted = self.delete(Deletion::Volume(volume.id)).await;
        deleted.map_err(|error| failed(error::api(&what, &error)))?;
        let (name, at) = (volume.name.clone(), self.client.now().as_second());
        self.audit.append(&Entry::Volume { name, at, there: false });
        Ok(true)
    }

    /// Deletes, again and again while an action still has the thing locked.
    async fn delete(&self, what: Deletion) -> Result<(), ApiError> {
        let mut tried = 0;
        loop {
            let deleted = match what {
                Deletion::Server(id) => match self.client.delete_server(id).await {
                    Ok(actions) => self.client.wait(actions, DELETE_DEADLINE).await,
                    Err(error) => Err(error),
                },
                Deletion::Volume(id) => self.client.delete_volume(id).await,
            };
            match deleted {
                Err(error)
                    if tried < LOCKED_TRIES
                        && matches!(
                            error.code(),
                            Some(Code::Locked | Code::ResourceInUse | Code::Conflict)
                        ) =>
                {
                    tokio::time::sleep(burst_hcloud::action::pause(10 + tried)).await;
                    tried += 1;
                }
                called => return called,
            }
        }
    }

    /// Writes down when things were last used, where the labels are behind. What fails
    /// is done with the next sweep.
    async fn renew(&self, inventory: &Inventory, reaped: &ReapReport, now: i64) {
        let kept = |name: &String, deleted: &[String]| !deleted.contains(name);
        for server in inventory.servers.iter().filter(|one| kept(&one.name, &reaped.servers)) {
            if let Some(labels) = self.renewed(&server.labels, self.server_facts(server), now) {
                drop(self.client.label_server(server.id, &labels).await);
            }
        }
        for volume in inventory.volumes.iter().filter(|one| kept(&one.name, &reaped.volumes)) {
            if let Some(labels) = self.renewed(&volume.labels, self.volume_facts(volume), now) {
                drop(self.client.label_volume(volume.id, &labels).await);
            }
        }
    }

    /// The labels of a thing of ours, if they are behind.
    fn renewed(&self, labels: &Labels, facts: Facts, now: i64) -> Option<Labels> {
        let last_use = if facts.in_use { now } else { facts.last_use };
        let lifetime = naming::lifetime(last_use, facts.keep_alive);
        let told = labels.get(LAST_USE).and_then(|text| text.parse().ok()).unwrap_or(0);
        let is_behind = last_use - told >= LABEL_AGE_MAX
            || labels.get(naming::KEEP_ALIVE) != lifetime.get(naming::KEEP_ALIVE);
        if !is_of(labels, &self.owner) || !is_behind {
            return None;
        }
        let mut renewed: BTreeMap<String, String> = labels.clone();
        renewed.extend(lifetime);
        Some(renewed)
    }
}

#[derive(Clone, Copy)]
enum Deletion {
    Server(Id),
    Volume(Id),
}

fn project_of(volume: &Volume) -> Option<ProjectKey> {
    volume.labels.get(PROJECT).map(|text| ProjectKey::from_label(text))
}
