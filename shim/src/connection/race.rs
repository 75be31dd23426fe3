//! Which transport is tried first, and which one wins.
//!
//! QUIC is tried first, unless the network is remembered to block UDP; the other one follows
//! after a head start, and the first that answers wins. An agent that has begun to listen only
//! a moment ago may have missed the first packet of QUIC, which is not sent again for a second:
//! so before TCP wins over QUIC, a new handshake of QUIC gets a last chance, now that the agent
//! is known to be there. Neither failure counts before the other one. What wins says nothing
//! about the network: a [`udp_probe`](super::udp_probe) does.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::attempts::{ATTEMPT, Attempt, Attempted, Attempts};

/// How much earlier the first transport begins. A handshake of QUIC takes one round trip: this is
/// three of the slowest usual ones.
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

/// Tries both transports for `limit`. Whether another attempt may succeed after a failure is told
/// by QUIC: an answer over TCP may come from the network.
pub(super) async fn race<Q, T, E>(
    first: First,
    limit: Duration,
    (quic, tcp): (impl Attempt<Connection = Q, Error = E>, impl Attempt<Connection = T, Error = E>),
    may_pass: fn(&E) -> bool,
    unanswered: impl Fn() -> E,
) -> Result<Won<Q, T>, Lost<E>> {
    let now = Instant::now();
    let (late, until) = (now + HEAD_START, now + limit);
    let (quic_from, tcp_from) = match first {
        First::Quic => (now, late),
        First::Tcp => (late, now),
    };
    let mut quic = Attempts::new(quic, may_pass, (quic_from, until), unanswered());
    let mut tcp = Attempts::new(tcp, |_| true, (tcp_from, until), unanswered());
    loop {
        tokio::select! {
            biased;
            Some(attempted) = quic.next() => match attempted {
                Attempted::Connected(quic, _) => return Ok(Won::Quic(quic)),
                Attempted::Failed => {
                    tcp.end_head_start();
                    if quic.is_over() {
                        tcp.end_by(Instant::now() + ATTEMPT);
                    }
                }
            },
            Some(attempted) = tcp.next() => match attempted {
                Attempted::Connected(tcp, took) => {
                    let quic = match first {
                        First::Quic => last_attempt(&mut quic, last_chance(took)).await,
                        First::Tcp => None,
                    };
                    return Ok(quic.map_or(Won::Tcp(tcp), Won::Quic));
                }
                Attempted::Failed => quic.end_head_start(),
            },
            else => return Err(Lost { quic: quic.error, tcp: tcp.error }),
        }
    }
}

/// A new attempt of QUIC, beside those that are being made, once TCP has shown that the agent is
/// there.
async fn last_attempt<A: Attempt>(
    quic: &mut Attempts<A>,
    chance: Duration,
) -> Option<A::Connection> {
    quic.hurry();
    let connected = async {
        loop {
            match quic.next().await? {
                Attempted::Connected(quic, _) => return Some(quic),
                Attempted::Failed if quic.is_idle() => return None,
                Attempted::Failed => {}
            }
        }
    };
    timeout(chance, connected).await.ok().flatten()
}

/// How long QUIC may take once TCP has answered, which took so long: TCP with TLS needs two round
/// trips, QUIC one.
fn last_chance(tcp_took: Duration) -> Duration {
    (tcp_took * 2).clamp(LAST_CHANCE_MIN, LAST_CHANCE_MAX)
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
        let quic = |limit| log.attempt("quic", quic.0, quic.1, limit);
        let tcp = |limit| log.attempt("tcp", tcp.0, tcp.1, limit);
        let won = race(first, LIMIT, (quic, tcp), |_| true, || "unanswered").await;
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

    /// TCP with TLS needs two round trips.
    #[tokio::test(start_paused = true)]
    async fn a_slow_network_that_blocks_udp_is_passed_at_the_first_attempt() {
        for round_trip in [300, 600, 800, 1200] {
            let tcp = (NOW, millis(2 * round_trip));
            let (won, took, tried) = outcome(First::Quic, (NEVER, NOW), tcp).await;
            assert_eq!(won, Ok(Won::Tcp("tcp")), "{round_trip}");
            assert_eq!(took, HEAD_START + tcp.1 + last_chance(tcp.1), "{round_trip}");
            assert_eq!(tried[..2], [("quic", NOW), ("tcp", HEAD_START)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_at_once_starts_the_other_and_ends_nothing() {
        let refused = |_| std::future::ready(Err::<(), _>("refused"));
        let later = |_| async {
            tokio::time::sleep(millis(900)).await;
            Ok::<_, &str>(7)
        };
        let silent = || "unanswered";
        let began = Instant::now();
        let won = race(First::Tcp, LIMIT, (later, refused), |_| true, silent).await;
        assert_eq!((won, began.elapsed()), (Ok(Won::Quic(7)), millis(900)));
        let won = race(First::Quic, LIMIT, (later, refused), |_| true, silent).await;
        assert_eq!((won, began.elapsed()), (Ok(Won::Quic(7)), millis(1800)));
        let won = race(First::Quic, LIMIT, (refused, later), |_| true, silent).await;
        assert_eq!((won, began.elapsed()), (Ok(Won::Tcp(7)), millis(2700)));
        let lost = Lost { quic: "refused", tcp: "refused" };
        let failed = race(First::Quic, LIMIT, (refused, refused), |_| true, silent).await;
        // Refused until no other attempt may begin, every 50 ms.
        assert_eq!((failed, began.elapsed()), (Err(lost), millis(2700 + 3950)));
    }

    /// Another agent answers over QUIC: TCP gets the time of one attempt.
    #[tokio::test(start_paused = true)]
    async fn a_failure_of_quic_that_does_not_pass_ends_the_race() {
        let (began, hour) = (Instant::now(), millis(3_600_000));
        let foreign = |_| std::future::ready(Err::<(), _>("foreign"));
        let silent = |limit| async move {
            tokio::time::sleep(limit).await;
            Err::<(), _>("silent")
        };
        let lost = race(First::Quic, hour, (foreign, silent), |_| false, || "").await;
        assert_eq!(lost, Err(Lost { quic: "foreign", tcp: "silent" }));
        assert!(began.elapsed() <= ATTEMPT * 2, "{:?}", began.elapsed());
    }

    #[test]
    fn the_last_chance_follows_the_round_trip() {
        assert_eq!(last_chance(millis(3)), LAST_CHANCE_MIN);
        assert_eq!(last_chance(millis(300)), millis(600));
        assert_eq!(last_chance(millis(3000)), LAST_CHANCE_MAX);
    }
}
