//! Who may use a project, and who waits.
//!
//! A run that needs another state of the tree than the runs that are under way
//! waits until they are over; one that needs the very same state joins them.
//! Those who wait are served in the order in which they came, and nobody joins
//! past them. The decision is [`decide`], a pure function; [`RunQueue`] is the
//! lock around it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burst_protocol::Digest;

/// How often one who waits looks whether its client is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a project is used for at the moment.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// The state of the tree, as of the last sync or run.
    root: Option<Digest>,
    /// Whether the tree is being changed.
    syncing: bool,
    active: Vec<(u64, String)>,
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// How one who asks may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Alone: it may change the tree.
    Exclusive,
    /// Beside others, in the state in which the tree is.
    Joined,
    /// Not yet: the title of a run that holds the project.
    Wait(String),
}

/// Decides whether the holder of `ticket`, who needs the state `root`, may go on.
pub(crate) fn decide(usage: &Usage, ticket: u64, root: Digest) -> Decision {
    let first = usage.waiting.front().is_none_or(|first| *first == ticket);
    let holder = || usage.active.first().map_or_else(String::new, |(_, title)| title.clone());
    match (usage.active.is_empty(), usage.syncing) {
        (true, false) if first => Decision::Exclusive,
        (false, false) if first && usage.root == Some(root) => Decision::Joined,
        _ => Decision::Wait(holder()),
    }
}

/// The users of one project.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    usage: Mutex<Usage>,
    changed: Condvar,
}

/// An admission in the project; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    queue: &'a RunQueue,
    ticket: u64,
    /// Whether the tree may be changed.
    pub(crate) exclusive: bool,
}

impl RunQueue {
    /// Waits for an admission. `waiting` is told whom we wait for when that is known;
    /// if `gone` says so, the wait is given up.
    pub(crate) fn enter(
        &self,
        root: Digest,
        title: &str,
        mut waiting: impl FnMut(&str),
        gone: impl Fn() -> bool,
    ) -> Option<Admission<'_>> {
        let mut usage = self.lock();
        let ticket = usage.next_ticket;
        usage.next_ticket += 1;
        usage.waiting.push_back(ticket);
        let mut told = None;
        loop {
            let entry = decide(&usage, ticket, root);
            if let Decision::Wait(holder) = entry {
                if gone() {
                    usage.waiting.retain(|other| *other != ticket);
                    self.changed.notify_all();
                    return None;
                }
                if !holder.is_empty() && told.as_ref() != Some(&holder) {
                    waiting(&holder);
                    told = Some(holder);
                }
                let waited = self.changed.wait_timeout(usage, LOOK_EVERY);
                usage = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            usage.waiting.retain(|other| *other != ticket);
            usage.active.push((ticket, title.to_owned()));
            let exclusive = entry == Decision::Exclusive;
            usage.syncing = exclusive;
            self.changed.notify_all();
            return Some(Admission { queue: self, ticket, exclusive });
        }
    }

    /// The titles of the runs under way.
    pub(crate) fn titles(&self) -> Vec<String> {
        self.lock().active.iter().map(|(_, title)| title.clone()).collect()
    }

    /// Whether somebody uses the project or wants to.
    pub(crate) fn is_busy(&self) -> bool {
        let usage = self.lock();
        !usage.active.is_empty() || !usage.waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission<'_> {
    /// The tree is in this state and will not be changed by us: others that
    /// need the same may join.
    pub(crate) fn set_state(&self, root: Digest) {
        let mut usage = self.queue.lock();
        usage.root = Some(root);
        usage.syncing = false;
        self.queue.changed.notify_all();
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let mut usage = self.queue.lock();
        usage.active.retain(|(ticket, _)| *ticket != self.ticket);
        if self.exclusive && usage.active.is_empty() {
            usage.syncing = false;
        }
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn the_same_state_joins_and_another_waits() {
        let mut usage = Usage::default();
        assert_eq!(decide(&usage, 0, digest(1)), Decision::Exclusive);
        usage.active.push((0, "build".into()));
        usage.syncing = true;
        assert_eq!(decide(&usage, 1, digest(1)), Decision::Wait("build".into()));
        usage.syncing = false;
        usage.root = Some(digest(1));
        assert_eq!(decide(&usage, 1, digest(1)), Decision::Joined);
        assert_eq!(decide(&usage, 1, digest(2)), Decision::Wait("build".into()));
    }

    #[test]
    fn nobody_joins_past_those_who_wait() {
        let mut usage = Usage { root: Some(digest(1)), ..Usage::default() };
        usage.active.push((0, "build".into()));
        usage.waiting.extend([1, 2]);
        assert!(matches!(decide(&usage, 2, digest(1)), Decision::Wait(_)));
        assert_eq!(decide(&usage, 1, digest(1)), Decision::Joined);
        usage.active.clear();
        assert_eq!(decide(&usage, 1, digest(2)), Decision::Exclusive);
        assert!(matches!(decide(&usage, 2, digest(2)), Decision::Wait(_)));
    }

    #[test]
    fn a_place_is_given_back_and_one_who_left_is_skipped() {
        let queue = RunQueue::default();
        let admission = queue.enter(digest(1), "a", |_| {}, || false).unwrap();
        assert!(admission.exclusive);
        assert!(queue.enter(digest(2), "b", |_| {}, || true).is_none());
        admission.set_state(digest(1));
        let second = queue.enter(digest(1), "c", |_| {}, || false).unwrap();
        assert!(!second.exclusive);
        drop((admission, second));
        assert!(!queue.is_busy());
        assert!(queue.enter(digest(3), "d", |_| {}, || false).unwrap().exclusive);
    }
}
