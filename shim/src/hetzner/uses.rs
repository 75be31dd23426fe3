//! Which commands use which project, and when the next reaping is due.
//!
//! Invariants: a command counts from [`Uses::begin`] until its [`ProjectUse`] is dropped.
//! The time of the next reaping and the counts change under one lock, so a command that
//! begins while a reaping ends is never overlooked. Times are unix seconds by the API's
//! clock. Nothing here calls the API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burst_hcloud::Client;
use burst_hcloud::server::Server;
use burst_hcloud::volume::Volume;

use super::inventory::{facts, is_of};
use super::lease::{self, Facts};
use super::naming::{Owner, ProjectKey};
use super::request::ServerRequest;

/// Seconds from the first command until the first reaping.
const FIRST_REAP_SECS: i64 = 300;

/// The uses of one account's projects by commands of this process.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    projects: BTreeMap<ProjectKey, Project>,
    /// How long the last command wants the server to be kept.
    server: Option<ServerLife>,
    /// The number of beginnings and ends of uses so far.
    changes: u64,
    /// `None` while nothing needs to be reaped.
    next_reap: Option<i64>,
}

/// How long a server is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerLife {
    /// Seconds that it is kept when idle; `None`: until it is deleted by hand.
    pub(super) keep_alive: Option<i64>,
    /// Whether it is kept until shortly before the end of its paid hour.
    pub(super) keep_paid_hour: bool,
    /// Seconds after the end of its lease at which it deletes itself; `None`: it does not.
    pub(super) dead_man: Option<u64>,
}

#[derive(Debug)]
struct Project {
    /// The number of commands that use it now.
    commands: usize,
    last_use: i64,
    /// The number of the change that set `last_use`: an order within one second.
    change: u64,
    /// Seconds that its idle volume is kept.
    keep_alive: Option<i64>,
}

/// One command's use of a project. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ProjectUse {
    uses: Arc<Uses>,
    /// Knows the time.
    client: Client,
    project: ProjectKey,
}

impl Uses {
    /// Begins a command's use of the project that it requests.
    pub(super) fn begin(self: &Arc<Self>, request: &ServerRequest, client: &Client) -> ProjectUse {
        let now = client.now().as_second();
        let mut state = self.lock();
        state.next_reap.get_or_insert(now + FIRST_REAP_SECS);
        state.server = Some(ServerLife {
            keep_alive: request.keep_alive,
            keep_paid_hour: request.keep_paid_hour,
            dead_man: request.dead_man,
        });
        state.changes += 1;
        let commands = state.projects.get(&request.project).map_or(0, |found| found.commands) + 1;
        let project = Project {
            commands,
            last_use: now,
            change: state.changes,
            keep_alive: request.volume_keep_alive,
        };
        state.projects.insert(request.project.clone(), project);
        let (uses, client) = (self.clone(), client.clone());
        ProjectUse { uses, client, project: request.project.clone() }
    }

    /// Whether a command uses any project.
    pub(super) fn is_any(&self) -> bool {
        self.lock().is_any()
    }

    /// Whether a command uses this project.
    pub(super) fn is_used(&self, project: &ProjectKey) -> bool {
        self.lock().projects.get(project).is_some_and(|found| found.commands > 0)
    }

    /// Orders projects by their last use in this process; `None` before all others.
    pub(super) fn last_use(&self, project: &ProjectKey) -> Option<(i64, u64)> {
        self.lock().projects.get(project).map(|found| (found.last_use, found.change))
    }

    /// How long the last command wants the server to be kept; `None` before the first.
    pub(super) fn server_life(&self) -> Option<ServerLife> {
        self.lock().server
    }

    /// When the next reaping is due; `None` while nothing needs to be reaped.
    pub(super) fn next_reap(&self) -> Option<i64> {
        self.lock().next_reap
    }

    /// A reaping begins. If it fails, the next one is due at `retry_at`. Returns the number
    /// of changes so far, for [`end_reap`](Self::end_reap).
    pub(super) fn begin_reap(&self, retry_at: i64) -> u64 {
        let mut state = self.lock();
        state.next_reap = Some(retry_at);
        state.changes
    }

    /// A reaping has ended, and the next one is due at `next`. Without resources
    /// (`is_empty`) and without commands no further one is needed. If a command began or
    /// ended since [`begin_reap`](Self::begin_reap), the inventory is outdated and the
    /// reaping is repeated.
    pub(super) fn end_reap(&self, changes: u64, is_empty: bool, next: i64, now: i64) {
        let mut state = self.lock();
        state.next_reap = if is_empty && !state.is_any() {
            None
        } else if state.changes != changes {
            Some(now + 1)
        } else {
            Some(next)
        };
    }

    /// No further reaping: the API rejects the token.
    pub(super) fn stop_reaping(&self) {
        self.lock().next_reap = None;
    }

    /// What decides about a server's deletion: its labels, and for a server of `owner` the
    /// uses of this process.
    pub(super) fn server_facts(&self, server: &Server, owner: &Owner) -> Facts {
        let labeled = facts(&server.labels, server.created.as_second());
        if !is_of(&server.labels, owner) {
            return lease::of_others(labeled);
        }
        let state = self.lock();
        let last_use = state.projects.values().map(|found| found.last_use).max();
        Facts {
            last_use: labeled.last_use.max(last_use.unwrap_or(0)),
            in_use: state.is_any(),
            keep_alive: state.server.map_or(labeled.keep_alive, |life| life.keep_alive),
            keep_paid_hour: state.server.map_or(labeled.keep_paid_hour, |life| life.keep_paid_hour),
            ..labeled
        }
    }

    /// What decides about a volume's deletion, likewise.
    pub(super) fn volume_facts(&self, volume: &Volume, owner: &Owner) -> Facts {
        let labeled = facts(&volume.labels, volume.created.as_second());
        if !is_of(&volume.labels, owner) {
            return lease::of_others(labeled);
        }
        let state = self.lock();
        let project = ProjectKey::of_volume(&volume.labels);
        match project.and_then(|project| state.projects.get(&project)) {
            Some(found) => Facts {
                last_use: labeled.last_use.max(found.last_use),
                in_use: found.commands > 0,
                keep_alive: found.keep_alive,
                ..labeled
            },
            None => labeled,
        }
    }

    /// The state is consistent between any two statements, so a panic elsewhere does not
    /// make it unusable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_any(&self) -> bool {
        self.projects.values().any(|found| found.commands > 0)
    }
}

impl Drop for ProjectUse {
    fn drop(&mut self) {
        let now = self.client.now().as_second();
        let mut state = self.uses.lock();
        state.changes += 1;
        let change = state.changes;
        let mut keep_alive = state.server.and_then(|life| life.keep_alive);
        if let Some(found) = state.projects.get_mut(&self.project) {
            found.commands -= 1;
            found.last_use = now;
            found.change = change;
            keep_alive = keep_alive.into_iter().chain(found.keep_alive).min();
        }
        let expiry = keep_alive.map(|secs| now + secs);
        let next = state.next_reap.into_iter().chain(expiry).min();
        state.next_reap = Some(next.unwrap_or(now + FIRST_REAP_SECS));
    }
}
