//! Attempts to connect over one transport, one after the other.
//!
//! One begins each second, and each may take four: the next one notices soon that an agent has
//! begun to listen, whose host may have missed the packets before, and the one before is not
//! ended in a network that is merely slow. After a failure at once, as while the host is up and
//! the agent does not listen yet, the next one follows after a short pause.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The time from the beginning of one attempt to that of the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an attempt may take, and the opening of a stream over TCP: time for three first
/// packets.
pub(super) const ATTEMPT: Duration = Duration::from_secs(4);

/// How long the first attempt may take at least, whatever the deadline of all.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);

/// The pause after an attempt that failed before the next one was due. No event announces a
/// remote host.
const PAUSE: Duration = Duration::from_millis(50);

/// Begins an attempt, which gets so much time.
pub(super) trait Attempt {
    /// What a successful one brings.
    type Connection;
    /// Why one fails.
    type Error;
    /// The attempt.
    type Made: Future<Output = Result<Self::Connection, Self::Error>>;

    /// Begins it.
    fn begin(&self, limit: Duration) -> Self::Made;
}

impl<T, E, Made: Future<Output = Result<T, E>>, F: Fn(Duration) -> Made> Attempt for F {
    type Connection = T;
    type Error = E;
    type Made = Made;

    fn begin(&self, limit: Duration) -> Made {
        self(limit)
    }
}

/// The attempts over one transport.
pub(super) struct Attempts<A: Attempt> {
    attempt: A,
    /// Whether another attempt may succeed after such a failure.
    may_pass: fn(&A::Error) -> bool,
    /// When the next one begins; `None` if no other is made.
    next: Option<Instant>,
    /// No other begins afterwards.
    until: Instant,
    has_begun: bool,
    running: Vec<(Instant, Pin<Box<A::Made>>)>,
    /// The last failure.
    pub(super) error: A::Error,
}

/// What has become of an attempt.
pub(super) enum Attempted<T> {
    /// There is a connection. The attempt took so long.
    Connected(T, Duration),
    /// It has failed.
    Failed,
}

impl<A: Attempt> Attempts<A> {
    /// Attempts from one time to another, but at least one. `error` is that of an agent without
    /// an answer.
    pub(super) fn new(
        attempt: A,
        may_pass: fn(&A::Error) -> bool,
        (from, until): (Instant, Instant),
        error: A::Error,
    ) -> Self {
        let (next, running) = (Some(from), Vec::new());
        Self { attempt, may_pass, next, until, has_begun: false, running, error }
    }

    /// Begins the first attempt now.
    pub(super) fn end_head_start(&mut self) {
        if !self.has_begun {
            self.next = Some(Instant::now());
        }
    }

    /// Begins another attempt now, unless none could succeed.
    pub(super) fn hurry(&mut self) {
        if !self.is_over() {
            self.next = Some(Instant::now());
        }
    }

    /// Begins no attempt after this time.
    pub(super) fn end_by(&mut self, until: Instant) {
        self.until = self.until.min(until);
    }

    /// Whether no attempt is being made, nor will be.
    pub(super) const fn is_over(&self) -> bool {
        self.next.is_none() && self.running.is_empty()
    }

    /// Whether no attempt is being made now.
    pub(super) const fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Waits for the next one that succeeds or fails; `None` if all is over. May be dropped and
    /// called again.
    pub(super) async fn next(&mut self) -> Option<Attempted<A::Connection>> {
        while !self.is_over() {
            let now = Instant::now();
            if self.next.is_some_and(|at| at <= now) {
                self.begin(now);
            }
            let next = self.next;
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let (done, took) = tokio::select! {
                biased;
                done = first_done(&mut self.running) => done,
                () = due => continue,
            };
            return Some(match done {
                Ok(connection) => Attempted::Connected(connection, took),
                Err(error) => {
                    self.failed(error);
                    Attempted::Failed
                }
            });
        }
        None
    }

    fn begin(&mut self, now: Instant) {
        let left = self.until.saturating_duration_since(now);
        let least = if self.has_begun { Duration::ZERO } else { ATTEMPT_MIN };
        let attempt = Box::pin(self.attempt.begin(left.clamp(least, ATTEMPT)));
        self.running.push((now, attempt));
        self.has_begun = true;
        self.next = self.may_begin(now + INTERVAL);
    }

    fn failed(&mut self, error: A::Error) {
        if !(self.may_pass)(&error) {
            self.running.clear();
            self.next = None;
        } else if self.running.is_empty() {
            let soon = Instant::now() + PAUSE;
            let due = self.next.map_or(soon, |next| next.min(soon));
            self.next = self.may_begin(due);
        }
        self.error = error;
    }

    fn may_begin(&self, at: Instant) -> Option<Instant> {
        (at < self.until).then_some(at)
    }
}

/// The first attempt that is done, and how long it took.
async fn first_done<T, E, Made: Future<Output = Result<T, E>>>(
    running: &mut Vec<(Instant, Pin<Box<Made>>)>,
) -> (Result<T, E>, Duration) {
    std::future::poll_fn(|context| {
        for index in 0..running.len() {
            let (began, attempt) = &mut running[index];
            if let Poll::Ready(done) = attempt.as_mut().poll(context) {
                let took = began.elapsed();
                drop(running.remove(index));
                return Poll::Ready((done, took));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// When attempts begin and what time they get, until the first connection. Each fails after
    /// `takes` or at its limit, but one that begins at `there_from` or later succeeds.
    async fn begun(
        deadline: u64,
        takes: u64,
        there_from: u64,
        may_pass: fn(&u8) -> bool,
    ) -> (Vec<(u64, u64)>, Option<u64>) {
        let (began, log) = (Instant::now(), RefCell::new(Vec::new()));
        let since = || u64::try_from(began.elapsed().as_millis()).unwrap();
        let attempt = |limit: Duration| {
            let at = since();
            log.borrow_mut().push((at, u64::try_from(limit.as_millis()).unwrap()));
            async move {
                tokio::time::sleep(limit.min(Duration::from_millis(takes))).await;
                if at >= there_from { Ok(()) } else { Err(1) }
            }
        };
        let times = (began, began + Duration::from_millis(deadline));
        let mut attempts = Attempts::new(attempt, may_pass, times, 0);
        let mut connected = None;
        while let Some(done) = attempts.next().await {
            if matches!(done, Attempted::Connected(..)) {
                connected = Some(since());
                break;
            }
        }
        drop(attempts);
        (log.into_inner(), connected)
    }

    #[tokio::test(start_paused = true)]
    async fn one_begins_each_second_and_may_take_four() {
        const NEVER: u64 = u64::MAX;
        let (silent, connected) = begun(4500, NEVER, NEVER, |_| true).await;
        let expected = [(0, 4000), (1000, 3500), (2000, 2500), (3000, 1500), (4000, 500)];
        assert_eq!((silent, connected), (expected.to_vec(), None));
        // A network whose handshakes take three seconds.
        let (slow, connected) = begun(60_000, 3000, 0, |_| true).await;
        assert_eq!((slow.len(), connected), (3, Some(3000)));
        // An agent that listens after 3.5 seconds, whose host has dropped what came before.
        assert_eq!(begun(60_000, 4000, 3500, |_| true).await.1, Some(8000));
        assert_eq!(begun(60_000, 20, 3500, |_| true).await.1, Some(3520));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_at_once_the_next_one_follows_soon() {
        let (refused, connected) = begun(60_000, 0, 120, |_| true).await;
        assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 50, 100, 150]);
        assert_eq!(connected, Some(150));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_follows_a_failure_that_does_not_pass() {
        let (begun, connected) = begun(60_000, 2500, u64::MAX, |_| false).await;
        assert_eq!((begun.len(), connected), (3, None));
    }
}
