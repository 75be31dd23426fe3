//! Which transport is tried first, and which one wins.
//!
//! QUIC is tried first, unless the network is remembered to block UDP; the other one follows
//! after a head start, and the first that answers wins. An agent that has begun to listen only
//! a moment ago may have missed the first packet of QUIC, which is not sent again for a second:
//! so before TCP wins over QUIC, a new handshake of QUIC gets a last chance, now that the agent
//! is known to be there. Neither failure counts before the other one.

use std::time::Duration;

use tokio::time::{Instant, timeout};

/// How much earlier the first transport begins. A handshake of QUIC takes one round trip: this is
/// three of the slowest usual ones, and short against what it costs to be wrong, since the answer
/// is remembered.
const HEAD_START: Duration = Duration::from_millis(500);

/// The shortest last chance.
const LAST_CHANCE_MIN: Duration = Duration::from_millis(200);

/// The longest last chance.
const LAST_CHANCE_MAX: Duration = Duration::from_secs(1);

/// The transport that is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// QUIC.
    Quic,
    /// TCP: the network has blocked UDP not long ago.
    Tcp,
}

/// The transport that has won, with its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Won<Q, T> {
    /// QUIC.
    Quic(Q),
    /// TCP.
    Tcp(T),
}

/// Neither transport has an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost<E> {
    /// The error of QUIC.
    pub(super) quic: E,
    /// The error of TCP.
    pub(super) tcp: E,
}

/// Begins an attempt, which gets so much time.
pub(super) trait Attempt<T, E> {
    /// The attempt.
    type Made: Future<Output = Result<T, E>>;

    /// Begins it.
    fn begin(&self, limit: Duration) -> Self::Made;
}

impl<T, E, Made: Future<Output = Result<T, E>>, F: Fn(Duration) -> Made> Attempt<T, E> for F {
    type Made = Made;

    fn begin(&self, limit: Duration) -> Made {
        self(limit)
    }
}

/// One of two attempts.
enum Either<A, B> {
    Early(A),
    Late(B),
}

/// Tries both transports for `limit`. They get the time that is left to them.
pub(super) async fn race<Q, T, E>(
    first: First,
    limit: Duration,
    quic: impl Attempt<Q, E>,
    tcp: impl Attempt<T, E>,
) -> Result<Won<Q, T>, Lost<E>> {
    match first {
        First::Tcp => match staggered(limit, tcp, quic).await {
            Ok(Either::Early(tcp)) => Ok(Won::Tcp(tcp)),
            Ok(Either::Late(quic)) => Ok(Won::Quic(quic)),
            Err((tcp, quic)) => Err(Lost { quic, tcp }),
        },
        First::Quic => {
            let timed = |left| {
                let (attempt, began) = (tcp.begin(left), Instant::now());
                async move { attempt.await.map(|tcp| (tcp, began.elapsed())) }
            };
            match staggered(limit, |left| quic.begin(left), timed).await {
                Ok(Either::Early(quic)) => Ok(Won::Quic(quic)),
                Ok(Either::Late((tcp, took))) => {
                    let chance = last_chance(took);
                    match timeout(chance, quic.begin(chance)).await {
                        Ok(Ok(quic)) => Ok(Won::Quic(quic)),
                        Ok(Err(_)) | Err(_) => Ok(Won::Tcp(tcp)),
                    }
                }
                Err((quic, tcp)) => Err(Lost { quic, tcp }),
            }
        }
    }
}

/// How long QUIC may take once TCP has answered, which took so long: TCP with TLS needs two round
/// trips, QUIC one.
fn last_chance(tcp_took: Duration) -> Duration {
    (tcp_took * 2).clamp(LAST_CHANCE_MIN, LAST_CHANCE_MAX)
}

/// Makes two attempts, the late one after a head start or after the failure of the early one.
async fn staggered<A, B, E>(
    limit: Duration,
    early: impl Attempt<A, E>,
    late: impl Attempt<B, E>,
) -> Result<Either<A, B>, (E, E)> {
    let began = Instant::now();
    let left = || limit.saturating_sub(began.elapsed());
    let mut early = std::pin::pin!(early.begin(limit));
    let failed = match timeout(HEAD_START, &mut early).await {
        Ok(Ok(won)) => return Ok(Either::Early(won)),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let mut late = std::pin::pin!(late.begin(left()));
    let error = match failed {
        Some(error) => error,
        None => tokio::select! {
            biased;
            done = &mut early => match done {
                Ok(won) => return Ok(Either::Early(won)),
                Err(error) => error,
            },
            done = &mut late => return match done {
                Ok(won) => Ok(Either::Late(won)),
                Err(late) => early.await.map(Either::Early).map_err(|early| (early, late)),
            },
        },
    };
    late.await.map(Either::Late).map_err(|late| (error, late))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What has been tried, and when.
    struct Log {
        began: Instant,
        lines: Mutex<Vec<(&'static str, Duration)>>,
    }

    impl Log {
        fn new() -> Self {
            Self { began: Instant::now(), lines: Mutex::default() }
        }

        /// Answers at a time since the beginning, if it was asked before, and never else. An
        /// answer takes `takes` from then on.
        async fn attempt(
            &self,
            name: &'static str,
            there_from: Duration,
            takes: Duration,
            limit: Duration,
        ) -> Result<&'static str, &'static str> {
            let at = self.began.elapsed();
            self.lines.lock().unwrap().push((name, at));
            let answer = async {
                if at < there_from {
                    // Its first packet is lost, and not sent again in this test.
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(takes).await;
            };
            timeout(limit, answer).await.map(|()| name).map_err(|_| name)
        }

        fn tried(self) -> Vec<(&'static str, Duration)> {
            self.lines.into_inner().unwrap()
        }
    }

    /// What wins if each is there from a time on and takes another to answer.
    async fn outcome(
        first: First,
        quic: (Duration, Duration),
        tcp: (Duration, Duration),
    ) -> (
        Result<Won<&'static str, &'static str>, Lost<&'static str>>,
        Duration,
        Vec<(&'static str, Duration)>,
    ) {
        let log = Log::new();
        let won = race(
            first,
            LIMIT,
            |limit| log.attempt("quic", quic.0, quic.1, limit),
            |limit| log.attempt("tcp", tcp.0, tcp.1, limit),
        )
        .await;
        let took = log.began.elapsed();
        (won, took, log.tried())
    }

    const NOW: Duration = Duration::ZERO;
    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn where_udp_passes_tcp_is_not_tried() {
        let found = outcome(First::Quic, (NOW, millis(300)), (NOW, millis(1))).await;
        assert_eq!(found, (Ok(Won::Quic("quic")), millis(300), vec![("quic", NOW)]));
    }

    #[tokio::test(start_paused = true)]
    async fn where_udp_is_blocked_tcp_wins_after_a_last_chance_of_quic() {
        let tried = vec![("quic", NOW), ("tcp", millis(500)), ("quic", millis(700))];
        let found = outcome(First::Quic, (NEVER, NOW), (NOW, millis(200))).await;
        assert_eq!(found, (Ok(Won::Tcp("tcp")), millis(1100), tried));
    }

    /// The agent begins to listen just before the head start is over.
    #[tokio::test(start_paused = true)]
    async fn an_agent_that_has_just_started_is_reached_by_quic() {
        let there = millis(450);
        let (won, took, _) = outcome(First::Quic, (there, millis(30)), (there, millis(60))).await;
        assert_eq!((won, took), (Ok(Won::Quic("quic")), millis(590)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_network_does_not_count_as_blocked() {
        let (won, took, _) = outcome(First::Quic, (NOW, millis(900)), (NOW, millis(1800))).await;
        assert_eq!((won, took), (Ok(Won::Quic("quic")), millis(900)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_udp_was_blocked_tcp_is_first_and_quic_follows() {
        let found = outcome(First::Tcp, (NEVER, NOW), (NOW, millis(200))).await;
        assert_eq!(found, (Ok(Won::Tcp("tcp")), millis(200), vec![("tcp", NOW)]));
        let tried = vec![("tcp", NOW), ("quic", millis(500))];
        let found = outcome(First::Tcp, (NOW, millis(40)), (NEVER, NOW)).await;
        assert_eq!(found, (Ok(Won::Quic("quic")), millis(540), tried));
    }

    #[tokio::test(start_paused = true)]
    async fn both_fail_at_the_limit() {
        for first in [First::Quic, First::Tcp] {
            let (won, took, _) = outcome(first, (NEVER, NOW), (NEVER, NOW)).await;
            assert_eq!((won, took), (Err(Lost { quic: "quic", tcp: "tcp" }), LIMIT));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_at_once_starts_the_other_and_ends_nothing() {
        let refused = |_| std::future::ready(Err::<(), _>("refused"));
        let later = |_| async {
            tokio::time::sleep(millis(900)).await;
            Ok::<_, &str>(7)
        };
        let began = Instant::now();
        assert_eq!(race(First::Tcp, LIMIT, later, refused).await, Ok(Won::Quic(7)));
        assert_eq!(race(First::Quic, LIMIT, later, refused).await, Ok(Won::Quic(7)));
        assert_eq!(race(First::Quic, LIMIT, refused, later).await, Ok(Won::Tcp(7)));
        assert_eq!(began.elapsed(), millis(2700));
        let lost = Lost { quic: "refused", tcp: "refused" };
        assert_eq!(race(First::Quic, LIMIT, refused, refused).await, Err(lost));
        assert_eq!(began.elapsed(), millis(2700));
    }

    #[test]
    fn the_last_chance_follows_the_round_trip() {
        assert_eq!(last_chance(millis(3)), LAST_CHANCE_MIN);
        assert_eq!(last_chance(millis(300)), millis(600));
        assert_eq!(last_chance(millis(3000)), LAST_CHANCE_MAX);
    }
}
