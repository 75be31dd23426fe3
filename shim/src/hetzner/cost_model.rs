//! What servers cost under a deletion rule: for the sessions of use in the audit record,
//! and with perfect foresight. Pure.
//!
//! The rules are those of `super::lease`, so the model cannot differ from the product.

use super::lease::{self, Facts, HOUR, Verdict};

/// A period of use, in unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The start of the first command.
    pub begin: i64,
    /// The end of the last command.
    pub end: i64,
}

/// The life of a server, in unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its creation.
    pub created: i64,
    /// Its deletion.
    pub deleted: i64,
}

/// A deletion rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Seconds that an idle server is kept.
    pub keep_alive: i64,
    /// Whether an idle server is kept until its paid hour ends.
    pub keep_paid_hour: bool,
}

/// The result of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Started hours, each of which is billed.
    pub hours: i64,
    /// Created servers: so often a command waits for a boot.
    pub cold_starts: usize,
}

/// Started hours of a life; at least one.
pub const fn hours(life: Life) -> i64 {
    let age = life.deleted - life.created;
    let age = if age < 1 { 1 } else { age };
    (age + HOUR - 1) / HOUR
}

/// The lives of servers under a rule, for sessions in order of time.
pub fn lives(sessions: &[Session], rule: Rule) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut open: Option<(i64, i64)> = None;
    for session in sessions {
        if let Some((created, last_use)) = open {
            let deleted = deletion(created, last_use, rule);
            if deleted <= session.begin {
                lives.push(Life { created, deleted });
                open = None;
            }
        }
        let (created, last_use) = open.unwrap_or((session.begin, session.end));
        open = Some((created, last_use.max(session.end)));
    }
    lives.extend(
        open.map(|(created, last_use)| Life {
            created,
            deleted: deletion(created, last_use, rule),
        }),
    );
    lives
}

/// When an idle server is deleted under a rule.
fn deletion(created: i64, last_use: i64, rule: Rule) -> i64 {
    let facts = Facts {
        created,
        last_use,
        in_use: false,
        keep_alive: Some(rule.keep_alive),
        keep_paid_hour: rule.keep_paid_hour,
    };
    let mut now = last_use;
    while let Verdict::KeepUntil(then) = lease::server(facts, now) {
        now = then;
    }
    now
}

/// The result of a rule for sessions in order of time.
pub fn outcome(sessions: &[Session], rule: Rule) -> Outcome {
    let lives = lives(sessions, rule);
    Outcome { hours: lives.iter().copied().map(hours).sum(), cold_starts: lives.len() }
}

/// The optimum with perfect foresight: the fewest started hours that serve all sessions,
/// and of those the fewest cold starts. Takes time quadratic in the number of sessions.
pub fn best(sessions: &[Session]) -> Outcome {
    // best[n] serves the first n sessions.
    let mut best = vec![Outcome::default()];
    for last in 0..sessions.len() {
        let served = (0..=last).map(|first| {
            let end = sessions[first..=last].iter().map(|one| one.end).max().unwrap_or(0);
            let life = Life { created: sessions[first].begin, deleted: end };
            Outcome {
                hours: best[first].hours + hours(life),
                cold_starts: best[first].cold_starts + 1,
            }
        });
        best.extend(served.min_by_key(|found| (found.hours, found.cold_starts)));
    }
    best.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::lease::TOO_LATE;
    use proptest::prelude::*;

    const OURS: Rule = Rule { keep_alive: 300, keep_paid_hour: true };
    const PLAIN: Rule = Rule { keep_alive: 300, keep_paid_hour: false };

    fn sessions(pairs: &[(i64, i64)]) -> Vec<Session> {
        pairs.iter().map(|(begin, end)| Session { begin: *begin, end: *end }).collect()
    }

    #[test]
    fn keeping_paid_hours_avoids_cold_starts() {
        // One command every ten minutes.
        let often = sessions(&[(0, 60), (600, 660), (1200, 1260), (1800, 1860), (2400, 2460)]);
        assert_eq!(outcome(&often, OURS), Outcome { hours: 1, cold_starts: 1 });
        assert_eq!(outcome(&often, PLAIN), Outcome { hours: 5, cold_starts: 5 });
        assert_eq!(best(&often), Outcome { hours: 1, cold_starts: 1 });
        // Far apart: one hour each under every rule.
        let rare = sessions(&[(0, 60), (20_000, 20_060)]);
        assert_eq!(outcome(&rare, OURS).hours, 2);
        assert_eq!(best(&rare), Outcome { hours: 2, cold_starts: 2 });
        assert_eq!(best(&[]), Outcome::default());
    }

    proptest! {
        #[test]
        fn no_rule_beats_foresight_and_ours_loses_only_the_ends_of_hours(
            gaps in prop::collection::vec((1..20_000_i64, 1..4000_i64), 0..40)
        ) {
            let mut at = 0;
            let all: Vec<Session> = gaps.into_iter().map(|(gap, length)| {
                let begin = at + gap;
                at = begin + length;
                Session { begin, end: at }
            }).collect();
            let (ours, plain, best) = (outcome(&all, OURS), outcome(&all, PLAIN), best(&all));
            prop_assert!(best.hours <= ours.hours);
            prop_assert!(best.hours <= plain.hours);
            // What costs more than it must, one hour each: a command that begins between our
            // deletion and the end of the paid hour, and one that ends too late for a deletion.
            let lives = lives(&all, OURS);
            let missed = lives.iter().zip(lives.iter().skip(1)).filter(|(life, next)| {
                next.created < life.created + hours(**life) * HOUR
            });
            let late = all.iter().filter(|session| {
                let life = lives.iter().rev().find(|life| life.created <= session.begin);
                life.is_some_and(|life| {
                    (session.end - life.created + TOO_LATE - 1) % HOUR < TOO_LATE
                })
            });
            let excess = (missed.count() + late.count()) as i64;
            prop_assert!(ours.hours <= best.hours + excess, "{lives:?}");
        }
    }
}
