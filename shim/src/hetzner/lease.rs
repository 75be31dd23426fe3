//! When servers and volumes expire. Pure.
//!
//! Hetzner bills every started hour of a server until its deletion. An idle server is
//! therefore kept until shortly before its paid hour ends, in every hour: that costs
//! nothing, and the next command finds it warm. All times are unix seconds by the API's
//! clock.

/// Seconds in a billed hour.
pub(crate) const HOUR: i64 = 3600;

/// Seconds before the end of a paid hour at which an idle server is deleted. The deletion
/// itself takes some, and it may have to be retried.
pub(crate) const HOUR_MARGIN: i64 = 120;

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
    if now < idle_until {
        return Verdict::KeepUntil(idle_until);
    }
    let last_moment = paid_until(facts.created, now) - HOUR_MARGIN;
    if facts.keep_paid_hour && now < last_moment {
        return Verdict::KeepUntil(last_moment);
    }
    Verdict::Delete
}

/// Whether a volume is deleted at `now`. Volumes are billed by the second.
pub(crate) fn volume(facts: Facts, now: i64) -> Verdict {
    server(Facts { keep_paid_hour: false, ..facts }, now)
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
        assert_eq!(server(IDLE, 1100), Verdict::KeepUntil(1300));
        assert_eq!(server(IDLE, 1300), Verdict::KeepUntil(1000 + HOUR - HOUR_MARGIN));
        assert_eq!(server(IDLE, 1000 + HOUR - HOUR_MARGIN), Verdict::Delete);
        // The same in the third hour.
        let used = Facts { last_use: 1000 + 2 * HOUR + 10, ..IDLE };
        let last = 1000 + 3 * HOUR - HOUR_MARGIN;
        assert_eq!(server(used, 1000 + 2 * HOUR + 400), Verdict::KeepUntil(last));
        assert_eq!(server(used, last), Verdict::Delete);
        // A use shortly before the end of an hour: the idle time is kept.
        let just = Facts { last_use: 1000 + HOUR - 130, ..IDLE };
        assert_eq!(server(just, 1000 + HOUR - 100), Verdict::KeepUntil(1000 + HOUR + 170));
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
        fn used_and_recently_used_resources_are_kept((facts, now) in facts()) {
            let stays = facts.in_use || now < facts.last_use + facts.keep_alive.unwrap();
            prop_assert!(!stays || server(facts, now) != Verdict::Delete);
            prop_assert!(!stays || volume(facts, now) != Verdict::Delete);
        }

        #[test]
        fn repeated_decisions_end_with_a_deletion_in_the_paid_hour((facts, now) in facts()) {
            let facts = Facts { in_use: false, ..facts };
            let mut now = now;
            let limit = now.max(facts.last_use + 10_000) + 2 * HOUR;
            while let Verdict::KeepUntil(then) = server(facts, now) {
                prop_assert!(then > now && then <= limit);
                now = then;
            }
            prop_assert_eq!(server(facts, now), Verdict::Delete);
            // No further hour has begun since it became idle.
            let idle_from = facts.last_use + facts.keep_alive.unwrap();
            prop_assert!(now <= paid_until(facts.created, now.min(idle_from.max(facts.created))).max(now.min(limit)));
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
    fn resources_of_others_are_kept_for_twenty_minutes_more() {
        assert_eq!(of_others(IDLE), Facts { last_use: 1000 + 1200, ..IDLE });
    }
}
