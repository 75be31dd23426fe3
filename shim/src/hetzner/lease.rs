//! When servers and volumes expire. Pure.
//!
//! Hetzner bills every started hour of a server until its deletion. An idle server is
//! therefore kept until shortly before its paid hour ends, in every hour: that costs
//! nothing, and the next command finds it warm. It is deleted then, also if it was used a
//! minute ago: whenever the next command comes, one more hour is paid in either case, and the
//! hour of a new server starts later. The price is a cold start, so a longer idle time that the
//! user has set is kept (`HOUR_BEGUN_FOR`). What the rule costs against the best in hindsight is
//! counted by the bench `month`. All times are unix seconds by the API's clock.

/// Seconds in a billed hour.
pub(crate) const HOUR: i64 = 3600;

/// Seconds before the end of a paid hour at which an idle server is deleted. They cover the
/// deadlines of a deletion (connecting to its agent 5, ending that 20, retries while the server
/// is locked 15), and then an attempt of the server itself, where the keeper is gone.
pub(crate) const HOUR_MARGIN: i64 = 120;

/// Seconds before the end of a paid hour in which a deletion is not begun any more: it might
/// come too late, and the next hour be paid for nothing.
pub(crate) const TOO_LATE: i64 = 10;

/// For at most so many seconds of idle time that are left, no further hour is begun.
pub(crate) const HOUR_BEGUN_FOR: i64 = 600;

/// Seconds added to the idle time of resources of other owners, whose labels lag behind.
/// A keeper renews its labels twice in this time.
pub(crate) const OTHERS_MARGIN: i64 = 20 * 60;

/// What decides about the deletion of a server or volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its creation.
    pub(crate) created: i64,
    /// Its last use.
    pub(crate) last_use: i64,
    /// Whether a command uses it now.
    pub(crate) in_use: bool,
    /// Seconds that it is kept when idle; `None`: until it is deleted by hand.
    pub(crate) keep_alive: Option<i64>,
    /// Whether it is kept until its paid hour ends.
    pub(crate) keep_paid_hour: bool,
}

impl Facts {
    /// The last use, which is `now` for a resource in use.
    pub(crate) const fn last_use_at(self, now: i64) -> i64 {
        if self.in_use { now } else { self.last_use }
    }
}

/// Whether a resource is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not before this time, at which the decision has to be repeated.
    KeepUntil(i64),
    /// Only by hand.
    Keep,
    /// It is expired and is deleted now.
    Delete,
}

/// The end of the billed hour that contains `now`.
pub(crate) fn paid_until(created: i64, now: i64) -> i64 {
    let age = (now - created).max(0);
    created + (age / HOUR + 1) * HOUR
}

/// Whether a server is deleted at `now`.
pub(crate) fn server(facts: Facts, now: i64) -> Verdict {
    let Some(keep_alive) = facts.keep_alive else { return Verdict::Keep };
    let idle_until = facts.last_use.max(facts.created) + keep_alive;
    if facts.in_use {
        return Verdict::KeepUntil(now.max(idle_until) + 1);
    }
    if !facts.keep_paid_hour {
        return if now < idle_until { Verdict::KeepUntil(idle_until) } else { Verdict::Delete };
    }
    if now >= idle_until + HOUR {
        // Its moment was missed. A timer that looks every ten minutes would miss the next, too.
        return Verdict::Delete;
    }
    let mut end = paid_until(facts.created, now);
    // For a deletion that comes too late, and for enough idle time, the next hour is paid.
    while end - now < TOO_LATE || idle_until - (end - HOUR_MARGIN) > HOUR_BEGUN_FOR {
        end += HOUR;
    }
    let last_moment = end - HOUR_MARGIN;
    if now < last_moment { Verdict::KeepUntil(last_moment) } else { Verdict::Delete }
}

/// Whether a volume is deleted at `now`. Volumes are billed by the second.
pub(crate) fn volume(facts: Facts, now: i64) -> Verdict {
    server(Facts { keep_paid_hour: false, ..facts }, now)
}

/// When a resource is deleted if no command uses it from `now` on; `None`: never.
pub(crate) fn deletion(facts: Facts, verdict: fn(Facts, i64) -> Verdict, now: i64) -> Option<i64> {
    let unused = Facts { last_use: facts.last_use_at(now), in_use: false, ..facts };
    // The idle time, the end of the paid hour, and one more where an hour begins between.
    const STEPS_MAX: usize = 4;
    let mut at = now;
    for _ in 0..STEPS_MAX {
        match verdict(unused, at) {
            Verdict::Keep => return None,
            Verdict::Delete => return Some(at),
            Verdict::KeepUntil(then) => at = then,
        }
    }
    Some(at)
}

/// The facts about a resource of another owner, from its labels: with a margin, because
/// labels lag behind.
pub(crate) fn of_others(facts: Facts) -> Facts {
    Facts { last_use: facts.last_use + OTHERS_MARGIN, ..facts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: Facts = Facts {
        created: 1000,
        last_use: 1000,
        in_use: false,
        keep_alive: Some(300),
        keep_paid_hour: true,
    };

    #[test]
    fn an_idle_server_lives_until_its_hour_is_nearly_over() {
        let last = 1000 + HOUR - HOUR_MARGIN;
        assert_eq!(server(IDLE, 1100), Verdict::KeepUntil(last));
        assert_eq!(server(IDLE, last - 1), Verdict::KeepUntil(last));
        assert_eq!(server(IDLE, last), Verdict::Delete);
        // The same in the third hour.
        let used = Facts { last_use: 1000 + 2 * HOUR + 10, ..IDLE };
        let last = 1000 + 3 * HOUR - HOUR_MARGIN;
        assert_eq!(server(used, 1000 + 2 * HOUR + 400), Verdict::KeepUntil(last));
        assert_eq!(server(used, last), Verdict::Delete);
    }

    #[test]
    fn no_hour_is_begun_for_a_short_idle_time() {
        let end = 1000 + HOUR;
        let just = Facts { last_use: end - 130, ..IDLE };
        assert_eq!(server(just, end - 125), Verdict::KeepUntil(end - HOUR_MARGIN));
        assert_eq!(server(just, end - HOUR_MARGIN), Verdict::Delete);
        assert_eq!(server(just, end - TOO_LATE), Verdict::Delete);
        // A deletion that is begun now could come after the end.
        let next = Verdict::KeepUntil(end + HOUR - HOUR_MARGIN);
        assert_eq!(server(just, end - TOO_LATE + 1), next);
        assert_eq!(server(just, end), next);
        // More idle time than ten minutes.
        let last_use = end - HOUR_MARGIN - 100;
        let long = |secs| Facts { last_use, keep_alive: Some(secs), ..IDLE };
        assert_eq!(server(long(HOUR_BEGUN_FOR + 100), end - HOUR_MARGIN), Verdict::Delete);
        assert_eq!(server(long(HOUR_BEGUN_FOR + 101), end - HOUR_MARGIN), next);
        let two_hours = Verdict::KeepUntil(end + 2 * HOUR - HOUR_MARGIN);
        assert_eq!(server(long(HOUR), end - HOUR_MARGIN), next);
        assert_eq!(server(long(2 * HOUR), end - HOUR_MARGIN), two_hours);
    }

    #[test]
    fn a_server_whose_moment_was_missed_is_deleted_at_any_time() {
        let overdue = IDLE.last_use + 300 + HOUR;
        let last = 1000 + 2 * HOUR - HOUR_MARGIN;
        assert_eq!(server(IDLE, overdue - 1), Verdict::KeepUntil(last));
        assert_eq!(server(IDLE, overdue), Verdict::Delete);
    }

    #[test]
    fn without_keep_paid_hour_only_the_idle_time_counts() {
        let facts = Facts { keep_paid_hour: false, ..IDLE };
        assert_eq!(server(facts, 1299), Verdict::KeepUntil(1300));
        assert_eq!(server(facts, 1300), Verdict::Delete);
        assert_eq!(volume(IDLE, 1300), Verdict::Delete);
        assert_eq!(server(Facts { keep_alive: None, ..IDLE }, i64::MAX), Verdict::Keep);
    }

    fn facts() -> impl Strategy<Value = (Facts, i64)> {
        (
            0..100_000_i64,
            0..100_000_i64,
            any::<bool>(),
            0..10_000_i64,
            any::<bool>(),
            0..300_000_i64,
        )
            .prop_map(|(created, idle, in_use, keep, keep_paid_hour, now)| {
                let keep_alive = Some(keep);
                let last_use = created + idle;
                (Facts { created, last_use, in_use, keep_alive, keep_paid_hour }, now)
            })
    }

    proptest! {
        #[test]
        fn resources_in_use_are_kept((facts, now) in facts()) {
            let stays = facts.in_use || now < facts.last_use + facts.keep_alive.unwrap();
            prop_assert!(!facts.in_use || server(facts, now) != Verdict::Delete);
            prop_assert!(!stays || volume(facts, now) != Verdict::Delete);
            let idle = Facts { keep_paid_hour: false, ..facts };
            prop_assert!(!stays || server(idle, now) != Verdict::Delete);
        }

        #[test]
        fn repeated_decisions_end_with_a_deletion_in_the_paid_hour((facts, now) in facts()) {
            let facts = Facts { in_use: false, ..facts };
            let mut now = now.max(facts.created);
            let begin = now;
            while let Verdict::KeepUntil(then) = server(facts, now) {
                prop_assert!(then > now);
                now = then;
            }
            prop_assert_eq!(server(facts, now), Verdict::Delete);
            // No further hour has begun, unless there was no time or enough idle time.
            let idle_until = facts.last_use + facts.keep_alive.unwrap();
            let end = paid_until(facts.created, begin);
            if facts.keep_paid_hour && end - begin >= TOO_LATE && idle_until <= end {
                prop_assert!(now < end);
            }
        }
    }

    #[test]
    fn a_resource_in_use_is_kept_beyond_its_idle_time() {
        let used = Facts { in_use: true, ..IDLE };
        assert_eq!(server(used, 1100), Verdict::KeepUntil(1301));
        assert_eq!(server(used, 9000), Verdict::KeepUntil(9001));
        assert_eq!((used.last_use_at(9000), IDLE.last_use_at(9000)), (9000, 1000));
    }

    #[test]
    fn the_paid_hour_is_the_one_that_contains_the_time() {
        for (now, hours) in [(0, 1), (1000, 1), (4599, 1), (4600, 2), (8200, 3)] {
            assert_eq!(paid_until(1000, now), 1000 + hours * 3600, "{now}");
        }
    }

    #[test]
    fn deletions_are_predicted() {
        let facts = Facts { created: 0, last_use: 100, ..IDLE };
        let last = HOUR - HOUR_MARGIN;
        assert_eq!(deletion(facts, server, 200), Some(last));
        assert_eq!(deletion(facts, volume, 200), Some(400));
        // If the command that uses it ended now.
        let used = Facts { in_use: true, ..facts };
        assert_eq!(deletion(used, server, 200), Some(last));
        assert_eq!(deletion(used, volume, 200), Some(500));
        assert_eq!(deletion(used, server, last + 10), Some(last + 10));
        assert_eq!(deletion(Facts { keep_alive: None, ..facts }, server, 0), None);
    }

    #[test]
    fn resources_of_others_are_kept_for_twenty_minutes_more() {
        assert_eq!(of_others(IDLE), Facts { last_use: 1000 + 1200, ..IDLE });
    }
}
