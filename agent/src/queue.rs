//! The order of runs in one project.
//!
//! A run that needs another state of the tree than the active runs waits until they are
//! over; one that needs the same state joins them, unless the client of one is gone. A run that
//! empties the target directory does not join, and one that cleans is joined by none. Waiting
//! runs are admitted in the order of their arrival, and no run joins ahead of a waiting one.
//! The decision is [`decide`], a pure function; [`RunQueue`] adds the lock and the wakeups.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use burst_protocol::Digest;

use crate::client::{Client, Registration};
use crate::lock::lock;

/// The active and waiting runs of a project.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// The state of the tree as of the last sync or run.
    root: Option<Digest>,
    /// Whether no run may join the active one, which is changing the tree or cleans.
    closed: bool,
    active: Vec<Active>,
    /// Tickets in the order of arrival.
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// An active run.
#[derive(Debug)]
struct Active {
    ticket: u64,
    title: String,
    /// Whether its client is gone, so that it is about to end.
    leaving: bool,
}

/// Whether a run is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// As the only run: it may change the tree.
    Exclusive,
    /// Beside other runs, which need the tree in its present state too.
    Joined,
    /// Not yet. Names the title of an active run, or is empty if there is none.
    Wait(String),
}

/// What a run needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// The state of the tree.
    pub(crate) root: Digest,
    /// Whether no other run may be active when it begins: it empties the target directory, or
    /// cleans.
    pub(crate) alone: bool,
}

/// Decides about the run with this ticket.
pub(crate) fn decide(usage: &Usage, ticket: u64, needs: Needs) -> Decision {
    let first = usage.waiting.front().is_none_or(|first| *first == ticket);
    let holder = || usage.active.first().map_or_else(String::new, |first| first.title.clone());
    let a_client_is_gone = usage.active.iter().any(|active| active.leaving);
    match (usage.active.is_empty(), usage.closed) {
        (true, false) if first => Decision::Exclusive,
        (false, false)
            if first && !a_client_is_gone && !needs.alone && usage.root == Some(needs.root) =>
        {
            Decision::Joined
        }
        _ => Decision::Wait(holder()),
    }
}

/// The queue of one project.
#[derive(Debug, Default)]
pub(crate) struct RunQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    usage: Mutex<Usage>,
    /// Notified after each change of the usage, and when a waiting client leaves.
    changed: Condvar,
}

/// An admitted run; it ends for the queue when this is dropped.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    queue: &'a RunQueue,
    ticket: u64,
    _registration: Registration<'a>,
    /// Whether the run may change the tree.
    pub(crate) exclusive: bool,
}

impl RunQueue {
    /// Waits until the run is admitted; none if its client leaves first. `waiting` is
    /// called with the title of the run that is waited for, each time it is another one.
    pub(crate) fn enter<'a>(
        &'a self,
        needs: Needs,
        title: &str,
        mut waiting: impl FnMut(&str),
        client: &'a Client,
    ) -> Option<Admission<'a>> {
        let ticket = {
            let mut usage = self.lock();
            usage.next_ticket += 1;
            usage.next_ticket
        };
        // Registered without the lock: the callback takes it too.
        let shared = self.0.clone();
        let _registration = client.when_gone(move || {
            // With the lock, the wakeup cannot fall between a check and its wait.
            let mut usage = lock(&shared.usage);
            for active in usage.active.iter_mut().filter(|active| active.ticket == ticket) {
                active.leaving = true;
            }
            shared.changed.notify_all();
        });
        let mut usage = self.lock();
        usage.waiting.push_back(ticket);
        let mut told = None;
        loop {
            let decision = decide(&usage, ticket, needs);
            let Decision::Wait(holder) = decision else {
                usage.waiting.retain(|other| *other != ticket);
                let leaving = client.is_gone();
                usage.active.push(Active { ticket, title: title.to_owned(), leaving });
                let exclusive = decision == Decision::Exclusive;
                usage.closed = exclusive;
                self.0.changed.notify_all();
                return Some(Admission { queue: self, ticket, _registration, exclusive });
            };
            if client.is_gone() {
                usage.waiting.retain(|other| *other != ticket);
                self.0.changed.notify_all();
                return None;
            }
            if !holder.is_empty() && told.as_ref() != Some(&holder) {
                // Without the lock: the callback sends a message.
                drop(usage);
                waiting(&holder);
                told = Some(holder);
                usage = self.lock();
                continue;
            }
            usage = self.0.changed.wait(usage).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The titles of the active runs.
    pub(crate) fn titles(&self) -> Vec<String> {
        self.lock().active.iter().map(|active| active.title.clone()).collect()
    }

    /// Whether a run is active or waiting.
    pub(crate) fn is_busy(&self) -> bool {
        let usage = self.lock();
        !usage.active.is_empty() || !usage.waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        lock(&self.0.usage)
    }
}

impl Admission<'_> {
    /// Records the state of the tree, which this run no longer changes: from now on runs that
    /// need the same state may join.
    pub(crate) fn open_to_others(&self, root: Digest) {
        let mut usage = self.queue.lock();
        usage.root = Some(root);
        usage.closed = false;
        self.queue.0.changed.notify_all();
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let mut usage = self.queue.lock();
        usage.active.retain(|active| active.ticket != self.ticket);
        // While none may join, there is one active run: this one.
        usage.closed = false;
        self.queue.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn active(ticket: u64, title: &str) -> Active {
        Active { ticket, title: title.into(), leaving: false }
    }

    fn needs(byte: u8) -> Needs {
        Needs { root: digest(byte), alone: false }
    }

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn a_run_joins_the_same_state_and_waits_for_another() {
        let mut usage = Usage::default();
        assert_eq!(decide(&usage, 0, needs(1)), Decision::Exclusive);
        usage.active.push(active(0, "build"));
        usage.closed = true;
        assert_eq!(decide(&usage, 1, needs(1)), Decision::Wait("build".into()));
        usage.closed = false;
        usage.root = Some(digest(1));
        assert_eq!(decide(&usage, 1, needs(1)), Decision::Joined);
        assert_eq!(decide(&usage, 1, needs(2)), Decision::Wait("build".into()));
        let alone = Needs { alone: true, ..needs(1) };
        assert_eq!(decide(&usage, 1, alone), Decision::Wait("build".into()));
        usage.active[0].leaving = true;
        assert_eq!(decide(&usage, 1, needs(1)), Decision::Wait("build".into()));
    }

    #[test]
    fn no_run_joins_ahead_of_a_waiting_one() {
        let mut usage = Usage { root: Some(digest(1)), ..Usage::default() };
        usage.active.push(active(0, "build"));
        usage.waiting.extend([1, 2]);
        assert_eq!(decide(&usage, 2, needs(1)), Decision::Wait("build".into()));
        assert_eq!(decide(&usage, 1, needs(1)), Decision::Joined);
        usage.active.clear();
        assert_eq!(decide(&usage, 1, needs(2)), Decision::Exclusive);
        assert_eq!(decide(&usage, 2, needs(2)), Decision::Wait(String::new()));
    }

    #[test]
    fn a_departed_client_leaves_the_queue_and_the_next_run_is_admitted() {
        let queue = RunQueue::default();
        let (present, leaving) = (Client::default(), Client::default());
        let first = queue.enter(needs(1), "a", |_| {}, &present).unwrap();
        assert!(first.exclusive);
        std::thread::scope(|scope| {
            let (sender, waits) = mpsc::channel();
            let (queue, leaving) = (&queue, &leaving);
            let waiting = scope.spawn(move || {
                let tell = |holder: &str| sender.send(holder.to_owned()).unwrap();
                queue.enter(needs(2), "b", tell, leaving).is_none()
            });
            assert_eq!(waits.recv().unwrap(), "a");
            leaving.leave();
            assert!(waiting.join().unwrap());
        });
        first.open_to_others(digest(1));
        let second = queue.enter(needs(1), "c", |_| {}, &present).unwrap();
        assert!(!second.exclusive);
        assert_eq!(queue.titles(), ["a", "c"]);
        drop((first, second));
        assert!(!queue.is_busy());
        assert!(queue.enter(needs(3), "d", |_| {}, &present).unwrap().exclusive);
    }

    /// As a run that cleans, which is not opened to others until it ends.
    #[test]
    fn a_run_that_is_not_opened_is_joined_by_none() {
        let (queue, client) = (RunQueue::default(), Client::default());
        let first = queue.enter(needs(1), "build", |_| {}, &client).unwrap();
        first.open_to_others(digest(1));
        drop(first);
        let clean = queue.enter(Needs { alone: true, ..needs(1) }, "clean", |_| {}, &client);
        let clean = clean.unwrap();
        assert_eq!(decide(&queue.lock(), 9, needs(1)), Decision::Wait("clean".into()));
        clean.open_to_others(digest(1));
        assert_eq!(decide(&queue.lock(), 9, needs(1)), Decision::Joined);
    }

    #[test]
    fn a_queue_is_busy_while_a_run_is_active_or_waiting() {
        let queue = RunQueue::default();
        queue.lock().active.push(active(0, "build"));
        assert!(queue.is_busy());
        queue.lock().active.clear();
        queue.lock().waiting.push_back(1);
        assert!(queue.is_busy());
        queue.lock().waiting.clear();
        assert!(!queue.is_busy());
    }

    #[test]
    fn an_admitted_run_leaves_alone_and_waits_no_more() {
        let (queue, client) = (RunQueue::default(), Client::default());
        let first = queue.enter(needs(1), "a", |_| {}, &client).unwrap();
        assert!(queue.lock().waiting.is_empty());
        first.open_to_others(digest(1));
        let second = queue.enter(needs(1), "b", |_| {}, &client).unwrap();
        drop(first);
        assert_eq!(queue.titles(), ["b"]);
        drop(second);
        assert_eq!(queue.titles(), Vec::<String>::new());
    }

    #[test]
    fn a_run_behind_a_waiting_one_is_told_of_active_runs_only() {
        let (queue, client) = (RunQueue::default(), Client::default());
        queue.lock().waiting.push_back(99);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let mut told = Vec::new();
                let tell = |holder: &str| told.push(holder.to_owned());
                let admission = queue.enter(needs(1), "b", tell, &client);
                (admission.is_some_and(|admission| admission.exclusive), told)
            });
            // It holds the lock from here until it waits, or tells of a run.
            while queue.lock().waiting.len() < 2 {
                std::thread::yield_now();
            }
            queue.lock().waiting.pop_front();
            queue.0.changed.notify_all();
            assert_eq!(second.join().unwrap(), (true, Vec::new()));
        });
    }

    #[test]
    fn a_run_that_fails_to_sync_gives_way_to_the_next() {
        let (queue, client) = (RunQueue::default(), Client::default());
        drop(queue.enter(needs(1), "a", |_| {}, &client).unwrap());
        assert!(queue.enter(needs(1), "b", |_| {}, &client).unwrap().exclusive);
    }

    #[test]
    fn no_run_joins_one_whose_client_leaves() {
        let queue = RunQueue::default();
        let (leaving, present) = (Client::default(), Client::default());
        let first = queue.enter(needs(1), "a", |_| {}, &leaving).unwrap();
        first.open_to_others(digest(1));
        let second = queue.enter(needs(1), "b", |_| {}, &present).unwrap();
        assert_eq!(decide(&queue.lock(), 3, needs(1)), Decision::Joined);
        leaving.leave();
        assert_eq!(decide(&queue.lock(), 3, needs(1)), Decision::Wait("a".into()));
        drop(first);
        assert_eq!(decide(&queue.lock(), 3, needs(1)), Decision::Joined);
        // A client that was gone before its run was admitted.
        let third = queue.enter(needs(1), "c", |_| {}, &leaving).unwrap();
        assert_eq!(decide(&queue.lock(), 4, needs(1)), Decision::Wait("b".into()));
        drop((second, third));
    }
}
