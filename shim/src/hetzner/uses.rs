//! Which commands use which project, what is known to exist, and when the next reaping is due.
//!
//! Invariants: a command counts from [`Uses::begin`] until its [`ProjectUse`] is dropped.
//! The time of the next reaping and the counts change under one lock, so a command that
//! begins while a reaping ends is never overlooked. Times are unix seconds by the API's
//! clock. Nothing here calls the API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burst_hcloud::server::Server;
use burst_hcloud::volume::Volume;
use burst_hcloud::{Client, Id};
use tokio::sync::Notify;

use super::holding::{Failure, Holding};
use super::inventory::{Inventory, facts, is_of};
use super::lease::{self, Facts, Verdict};
use super::naming::{Owner, ProjectKey};
use super::request::ServerRequest;

/// Seconds from the first command until the first reaping.
const FIRST_REAP_SECS: i64 = 300;

/// The uses of one account's projects by commands of this process.
#[derive(Debug, Default)]
pub(super) struct Uses {
    state: Mutex<State>,
    /// A command's use has ended.
    ended: Notify,
    /// The lease of the server has become outdated.
    lease_outdated: Notify,
}

#[derive(Debug, Default)]
struct State {
    projects: BTreeMap<ProjectKey, Project>,
    /// How long the last command wants the server to be kept.
    server: Option<ServerLife>,
    /// Whether a command has asked to keep this server until it is deleted by hand.
    is_server_kept: bool,
    /// Whether the lease of the server is to be renewed for the last command's sake.
    is_lease_outdated: bool,
    holding: Holding,
    /// The server whose agent has told runs that are not of this process.
    busy_server: Option<Id>,
    /// The creation of the server that commands have reached.
    server_created: Option<i64>,
    /// The number of beginnings and ends of uses, and of what commands got, so far.
    changes: u64,
    /// `None` while nothing needs to be reaped.
    next_reap: Option<i64>,
}

/// How long a server is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerLife {
    /// Seconds that it is kept when idle; `None`: until it is deleted by hand.
    pub(super) keep_alive: Option<i64>,
    /// Whether it is kept until shortly before the end of its paid hour.
    pub(super) keep_paid_hour: bool,
    /// Seconds by which it deletes itself later than a keeper would; `None`: it does not.
    pub(super) dead_man: Option<u64>,
    /// Seconds for which a run goes on without its connection.
    pub(super) reconnect_secs: u64,
}

/// How a reaping has ended that could list the resources.
#[derive(Debug)]
pub(super) struct Reaped {
    /// The number of changes before the list.
    pub(super) changes: u64,
    /// Whether there is nothing of this installation.
    pub(super) is_empty: bool,
    /// When the next reaping is due at the latest.
    pub(super) next: i64,
    /// What of this installation could not be deleted; `None` if everything was.
    pub(super) failure: Option<Failure>,
}

#[derive(Debug)]
struct Project {
    /// The number of commands that use it now.
    commands: usize,
    last_use: i64,
    /// The number of the change that set `last_use`: an order within one second.
    change: u64,
    /// Seconds that its idle volume is kept, by its last command.
    keep_alive: Option<i64>,
    /// Whether a command has asked to keep this volume until it is deleted by hand.
    is_kept: bool,
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
        let life = ServerLife {
            keep_alive: request.keep_alive,
            keep_paid_hour: request.keep_paid_hour,
            dead_man: request.dead_man,
            reconnect_secs: request.reconnect_secs,
        };
        let is_first = !state.is_any();
        let earlier = state.server.replace(life);
        // The lease of an idle server may end within the next seconds.
        let is_outdated = is_first || earlier != Some(life);
        state.is_lease_outdated |= is_outdated;
        state.changes += 1;
        let earlier = state.projects.get(&request.project);
        let project = Project {
            commands: earlier.map_or(0, |found| found.commands) + 1,
            last_use: now,
            change: state.changes,
            keep_alive: request.volume_keep_alive,
            is_kept: earlier.is_some_and(|found| found.is_kept),
        };
        state.projects.insert(request.project.clone(), project);
        drop(state);
        if is_outdated {
            self.lease_outdated.notify_waiters();
        }
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

    /// Waits until no command uses any project, but not longer than this.
    pub(super) async fn until_unused(&self, longest: Duration) {
        let unused = async {
            loop {
                // From before the look on, so that no end is missed.
                let end = self.ended.notified();
                if !self.is_any() {
                    return;
                }
                end.await;
            }
        };
        drop(tokio::time::timeout(longest, unused).await);
    }

    /// The projects that commands use.
    pub(super) fn used(&self) -> Vec<ProjectKey> {
        let state = self.lock();
        let used = state.projects.iter().filter(|(_, found)| found.commands > 0);
        used.map(|(project, _)| project.clone()).collect()
    }

    /// Orders projects by their last use in this process; `None` before all others.
    pub(super) fn last_use(&self, project: &ProjectKey) -> Option<(i64, u64)> {
        self.lock().projects.get(project).map(|found| (found.last_use, found.change))
    }

    /// How long the last command wants the server to be kept; `None` before the first.
    pub(super) fn server_life(&self) -> Option<ServerLife> {
        self.lock().server
    }

    /// Notes the creation of the server that a command has reached.
    pub(super) fn note_server(&self, created: i64) {
        self.lock().server_created = Some(created);
    }

    /// When the next reaping is due; `None` while nothing needs to be reaped.
    pub(super) fn next_reap(&self) -> Option<i64> {
        self.lock().next_reap
    }

    /// A command has reached the server of its request with the volume of its project, both of
    /// which it has created if they are fresh. What it asks to keep is kept until it is deleted
    /// by hand, whatever later commands ask for.
    pub(super) fn reached(
        &self,
        request: &ServerRequest,
        (fresh_server, fresh_volume): (bool, bool),
        now: i64,
    ) {
        let mut state = self.lock();
        let keeps = (request.keep_alive.is_none(), request.volume_keep_alive.is_none());
        state.is_server_kept = keeps.0 || (state.is_server_kept && !fresh_server);
        if let Some(found) = state.projects.get_mut(&request.project) {
            found.is_kept = keeps.1 || (found.is_kept && !fresh_volume);
        }
        if keeps.0 || keeps.1 {
            // The labels are to say so soon, for the next keeper.
            state.next_reap = Some(now);
            state.is_lease_outdated = true;
            self.lease_outdated.notify_waiters();
        }
    }

    /// Waits until the lease of the server is to be renewed at once, but not longer than this.
    pub(super) async fn until_lease_outdated(&self, longest: Duration) {
        let outdated = async {
            loop {
                let news = self.lease_outdated.notified();
                if self.lock().is_lease_outdated {
                    return;
                }
                news.await;
            }
        };
        drop(tokio::time::timeout(longest, outdated).await);
    }

    /// The lease of the server is about to be renewed.
    pub(super) fn renews_lease(&self) {
        self.lock().is_lease_outdated = false;
    }

    /// Everything was deleted that the user has asked to delete: nothing is kept any longer.
    pub(super) fn end_keeping(&self) {
        let mut state = self.lock();
        state.is_server_kept = false;
        for project in state.projects.values_mut() {
            project.is_kept = false;
        }
    }

    /// Takes in what an earlier process has known.
    pub(super) fn remember(&self, holding: Holding, now: i64) {
        let mut state = self.lock();
        if holding.may_exist() {
            state.next_reap.get_or_insert(now);
        }
        state.holding = holding;
    }

    /// What is known to exist, or may exist; `None` if that is nothing.
    pub(super) fn holding(&self) -> Option<Holding> {
        let state = self.lock();
        (state.holding.exists() || state.holding.told_trouble().is_some())
            .then(|| state.holding.clone())
    }

    /// The account is to be looked after: a reaping is due.
    pub(super) fn watch(&self, now: i64) {
        self.lock().next_reap.get_or_insert(now);
    }

    /// The account is looked after by another one of the same project at Hetzner.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        state.holding = Holding::default();
        state.next_reap = None;
    }

    /// Something is about to be created.
    pub(super) fn may_create(&self) {
        self.lock().holding.may_be_more = true;
    }

    /// The number of changes so far, which tells [`listed`](Self::listed) and
    /// [`end_reap`](Self::end_reap) whether a list is outdated: counted before the list is asked
    /// for, or at any time where the account's lock keeps commands from creating anything.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// The resources were listed, after so many `changes`. If a command has begun or ended since,
    /// it may have created what the list lacks, so the list is left out and a reaping makes
    /// another one. Where something of ours exists, a reaping is due some time; and now, if the
    /// last one has failed: the API answers again.
    pub(super) fn listed(&self, inventory: &Inventory, owner: &Owner, now: i64, changes: u64) {
        let mut state = self.lock();
        if state.changes != changes {
            state.next_reap = Some(state.next_reap.map_or(now + 1, |next| next.min(now + 1)));
            return;
        }
        let is_complete = !state.is_any();
        state.holding.listed(inventory, owner, now, is_complete);
        if state.holding.trouble.as_ref().is_some_and(|trouble| trouble.stuck.is_empty()) {
            state.next_reap = Some(now);
        } else if state.holding.exists() {
            state.next_reap.get_or_insert(now);
        }
    }

    /// A command has this server and this volume.
    pub(super) fn holds(&self, server: &Server, volume: &Volume) {
        let (server, volume) = ((server.id.0, &*server.name), (volume.id.0, &*volume.name));
        let mut state = self.lock();
        // A list that was asked for before lacks them.
        state.changes += 1;
        state.holding.holds(server, volume);
    }

    /// A server deletes itself at this time if its lease is not renewed; `None`: it does not.
    pub(super) fn deletes_itself(&self, server: &Server, at: Option<i64>) {
        let mut state = self.lock();
        let id = server.id.0;
        if let Some(held) = state.holding.servers.iter_mut().find(|held| held.id == id) {
            held.deletes_itself_at = at;
        }
    }

    /// A reaping begins. It is repeated at `retry_at` if it neither ends nor fails. Returns the
    /// number of [`changes`](Self::changes) so far.
    pub(super) fn begin_reap(&self, retry_at: i64) -> u64 {
        let mut state = self.lock();
        state.next_reap = Some(retry_at);
        state.changes
    }

    /// A reaping that could list the resources has ended at `now` by the API's clock and `local` by
    /// the local one. If a command began or ended since [`begin_reap`](Self::begin_reap), the
    /// inventory is outdated and the reaping is repeated. Without resources and without commands
    /// no further one is needed. What could not be deleted is tried again, and delays nothing else.
    pub(super) fn end_reap(&self, reaped: Reaped, now: i64, local: i64) {
        let mut state = self.lock();
        let next = if state.changes != reaped.changes {
            Some(now + 1)
        } else if reaped.is_empty && !state.is_any() {
            None
        } else {
            Some(reaped.next)
        };
        let retry = match reaped.failure {
            Some(failure) => Some(now + state.holding.failed(failure, local)),
            None => {
                state.holding.trouble = None;
                None
            }
        };
        state.next_reap = next.into_iter().chain(retry).min();
    }

    /// The resources could not be listed, at `now` by the API's clock and `local` by the local one.
    /// The reaping is repeated as long as something may exist.
    pub(super) fn fail_reap(&self, failure: Failure, now: i64, local: i64) {
        let mut state = self.lock();
        let secs = state.holding.failed(failure, local);
        let goes_on = state.holding.may_exist() || state.is_any();
        state.next_reap = goes_on.then_some(now + secs);
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
        let is_kept = state.is_server_kept || labeled.keep_alive.is_none();
        let asked = state.server.and_then(|life| life.keep_alive);
        Facts {
            last_use: labeled.last_use.max(last_use.unwrap_or(0)),
            in_use: state.is_any(),
            keep_alive: if is_kept { None } else { asked.or(labeled.keep_alive) },
            keep_paid_hour: state.server.map_or(labeled.keep_paid_hour, |life| life.keep_paid_hour),
            ..labeled
        }
    }

    /// What decides about the lease of a server, of what decides about its deletion: runs of others
    /// use it, too. Before its deletion they are asked for again, so that they do not count there.
    pub(super) fn lease_facts(&self, server: Id, facts: Facts) -> Facts {
        let is_busy = self.lock().busy_server == Some(server);
        Facts { in_use: facts.in_use || is_busy, ..facts }
    }

    /// The agent of an idle server has told whether it has runs. The lease is to last for them.
    pub(super) fn note_runs(&self, server: Id, has_runs: bool) {
        let mut state = self.lock();
        let busy = has_runs.then_some(server);
        if state.busy_server != busy {
            state.busy_server = busy;
            state.is_lease_outdated = true;
            self.lease_outdated.notify_waiters();
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
                keep_alive: match labeled.keep_alive {
                    Some(secs) if !found.is_kept => Some(found.keep_alive.unwrap_or(secs)),
                    _ => None,
                },
                ..labeled
            },
            None => labeled,
        }
    }

    /// Seconds that the idle volume of a project is kept by its last command; `None` if it is not
    /// known.
    pub(super) fn volume_keep_alive(&self, project: &ProjectKey) -> Option<i64> {
        self.lock().projects.get(project).and_then(|found| found.keep_alive)
    }

    /// The state is consistent between any two statements, so a panic elsewhere does not
    /// make it unusable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_any(&self) -> bool {
        self.projects.values().any(|found| found.commands > 0)
    }

    /// When the deletion of the server is to be decided if it is not used from `now` on.
    fn server_expiry(&self, now: i64) -> Option<i64> {
        let ServerLife { keep_alive, keep_paid_hour, .. } = self.server?;
        let created = self.server_created.unwrap_or(now);
        let facts = Facts { created, last_use: now, in_use: false, keep_alive, keep_paid_hour };
        match lease::server(facts, now) {
            Verdict::KeepUntil(then) => Some(then),
            Verdict::Delete => Some(now),
            Verdict::Keep => None,
        }
    }
}

impl Drop for ProjectUse {
    fn drop(&mut self) {
        let now = self.client.now().as_second();
        let mut state = self.uses.lock();
        state.changes += 1;
        let change = state.changes;
        let mut expiries = vec![state.server_expiry(now)];
        if let Some(found) = state.projects.get_mut(&self.project) {
            found.commands -= 1;
            found.last_use = now;
            found.change = change;
            expiries.push(found.keep_alive.map(|secs| now + secs));
        }
        let next = expiries.into_iter().flatten().chain(state.next_reap).min();
        state.next_reap = Some(next.unwrap_or(now + FIRST_REAP_SECS));
        drop(state);
        self.uses.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::holding::HeldVolumeName;
    use burst_hcloud::Token;
    use burst_hcloud::retry::Retries;

    fn client() -> Client {
        let token = Token::parse("token").unwrap();
        Client::new("http://127.0.0.1:9", &token, Retries::default(), Arc::new(|| 0.5)).unwrap()
    }

    fn failure(is_token_rejected: bool) -> Failure {
        Failure { error: "cannot".into(), is_token_rejected, stuck: Vec::new() }
    }

    fn reaped(changes: u64, is_empty: bool, next: i64) -> Reaped {
        Reaped { changes, is_empty, next, failure: None }
    }

    #[test]
    fn what_cannot_be_deleted_delays_nothing_else() {
        let uses = Uses::default();
        uses.may_create();
        let end = |next, now| {
            let failure = Some(failure(false));
            uses.end_reap(Reaped { failure, ..reaped(uses.begin_reap(0), false, next) }, now, 0);
            uses.next_reap()
        };
        // The attempts are further and further apart, up to ten minutes.
        assert_eq!([end(700, 100), end(730, 130), end(790, 190)], [130, 190, 310].map(Some));
        assert_eq!([end(910, 310), end(1150, 550)], [550, 1030].map(Some));
        // Something else expires earlier.
        assert_eq!(end(1040, 1030), Some(1040));
        assert_eq!(uses.holding().unwrap().trouble.unwrap().failures, 6);
        uses.end_reap(reaped(uses.begin_reap(0), false, 1640), 1040, 0);
        assert_eq!((uses.next_reap(), uses.holding().unwrap().trouble), (Some(1640), None));
    }

    #[test]
    fn a_failed_reaping_is_repeated_while_something_may_exist() {
        let uses = Uses::default();
        let volume = HeldVolumeName { id: 70, name: "v".into() };
        let known = Holding { volumes: vec![volume], ..Holding::default() };
        uses.remember(known.clone(), 100);
        assert_eq!(uses.next_reap(), Some(100));
        for (now, next) in [(100, 130), (130, 190), (190, 310)] {
            uses.begin_reap(now);
            uses.fail_reap(failure(true), now, 0);
            assert_eq!(uses.next_reap(), Some(next));
        }
        assert_eq!(uses.holding().unwrap().volumes, known.volumes);
        // After a success the next failure is the first one again.
        let changes = uses.begin_reap(310);
        uses.end_reap(reaped(changes, false, 910), 310, 0);
        assert_eq!(uses.next_reap(), Some(910));
        uses.fail_reap(failure(false), 910, 0);
        assert_eq!(uses.next_reap(), Some(940));
    }

    #[test]
    fn only_a_token_that_was_never_accepted_is_given_up() {
        let uses = Uses::default();
        uses.watch(100);
        uses.fail_reap(failure(false), 100, 0);
        assert_eq!(uses.next_reap(), Some(130));
        uses.fail_reap(failure(true), 130, 0);
        assert_eq!(uses.next_reap(), None);
        // It was accepted, and a command has begun to create something.
        let uses = Uses::default();
        uses.listed(&Inventory::default(), &Owner::nobody(), 100, 0);
        assert_eq!(uses.next_reap(), None);
        uses.may_create();
        uses.fail_reap(failure(true), 100, 0);
        assert_eq!(uses.next_reap(), Some(130));
    }

    #[test]
    fn a_list_that_a_command_has_outdated_ends_nothing() {
        let (uses, client) = (Arc::new(Uses::default()), client());
        let request = ServerRequest { keep_alive: Some(300), ..ServerRequest::of_tests() };
        // A command creates something, and ends, between the list and its use.
        let changes = uses.begin_reap(100);
        let project_use = uses.begin(&request, &client);
        uses.may_create();
        drop(project_use);
        uses.listed(&Inventory::default(), &Owner::nobody(), 100, changes);
        uses.end_reap(reaped(changes, true, 700), 100, 0);
        assert_eq!(uses.next_reap(), Some(101));
        assert!(uses.holding().is_some());
        // So does the list for a report.
        let changes = uses.changes();
        drop(uses.begin(&request, &client));
        uses.listed(&Inventory::default(), &Owner::nobody(), 101, changes);
        assert_eq!(uses.next_reap(), Some(101));
        assert!(uses.holding().is_some());
        // The next one is not outdated.
        let changes = uses.begin_reap(101);
        uses.listed(&Inventory::default(), &Owner::nobody(), 101, changes);
        uses.end_reap(reaped(changes, true, 701), 101, 0);
        assert_eq!((uses.next_reap(), uses.holding()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_outdated_when_an_idle_server_is_used() {
        let (uses, client) = (Arc::new(Uses::default()), client());
        let request = ServerRequest { keep_alive: Some(300), ..ServerRequest::of_tests() };
        let is_outdated = async || {
            let began = tokio::time::Instant::now();
            uses.until_lease_outdated(Duration::from_secs(60)).await;
            uses.renews_lease();
            began.elapsed() < Duration::from_secs(60)
        };
        assert!(!is_outdated().await);
        let first = uses.begin(&request, &client);
        assert!(is_outdated().await);
        // It is used already, and renewed anyway.
        let second = uses.begin(&request, &client);
        assert!(!is_outdated().await);
        drop((first, second));
        assert!(!is_outdated().await);
        let _third = uses.begin(&request, &client);
        assert!(is_outdated().await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_of_a_server_with_runs_of_others_is_one_in_use() {
        let uses = Uses::default();
        let facts = Facts {
            created: 0,
            last_use: 100,
            in_use: false,
            keep_alive: Some(5),
            keep_paid_hour: false,
        };
        let in_use = |id| uses.lease_facts(Id(id), facts).in_use;
        assert!(!in_use(7));
        uses.note_runs(Id(7), true);
        assert!(in_use(7) && !in_use(8));
        // The lease is renewed at once.
        let began = tokio::time::Instant::now();
        uses.until_lease_outdated(Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        uses.note_runs(Id(7), false);
        assert!(!in_use(7));
    }
}
