//! The dead man's switch: a server deletes itself when its lease expires, so that it does
//! not outlive a machine that is off or gone.
//!
//! The agent gets the lease and one prepared request, which it does not understand. It
//! keeps both in memory only.

use burst_hcloud::{Client, Id};
use burst_protocol::message::{FromShim, Lease, Will};

use super::lease::{self, Facts};
use super::uses::ServerLife;

/// Seconds before the end of a paid hour at which a lease ends at the latest: after the time at
/// which a keeper deletes the server, and early enough for three attempts.
pub(super) const PAID_HOUR_MARGIN: i64 = 90;

/// The lease of a server in use lasts so many times its grace time at least: it is renewed that
/// often before it ends.
const GRACES_IN_USE: i64 = 3;

/// The message that sets the lease of a server, and when the server deletes itself then. A server
/// that is kept until it is deleted by hand has no such time, and neither has one without a
/// switch: a lease that it had is revoked.
pub(super) fn renewal(
    client: &Client,
    server: Id,
    facts: Facts,
    life: ServerLife,
    now: i64,
) -> (FromShim, Option<i64>) {
    let end = life.dead_man.and_then(|grace| lease_end(facts, grace, life.reconnect_secs, now));
    let Some(end) = end else {
        return (FromShim::Lease(Lease { secs: 0, will: None }), None);
    };
    let (url, headers) = client.deletion_of_server(server);
    let will = Some(Will { method: "DELETE".into(), url, headers });
    let secs = u64::try_from(end - now).unwrap_or(0);
    (FromShim::Lease(Lease { secs, will }), Some(end))
}

/// When a server deletes itself if its lease is not renewed after `now`; `None` if it is kept
/// until it is deleted by hand. A keeper would delete it earlier, by up to `grace` seconds; but
/// no further hour begins for the sake of that. A run that goes on without its connection, as of a
/// machine that sleeps, is not cut off.
fn lease_end(facts: Facts, grace: u64, reconnect_secs: u64, now: i64) -> Option<i64> {
    let secs = |secs| i64::try_from(secs).unwrap_or(i64::MAX / 8);
    let (grace, reconnect_secs) = (secs(grace), secs(reconnect_secs));
    let shortest = match facts.in_use {
        true => now + reconnect_secs.max(GRACES_IN_USE * grace),
        false => now,
    };
    let by_keeper = lease::deletion(facts, lease::server, now)?.max(shortest);
    let last_moment = lease::paid_until(facts.created, by_keeper) - PAID_HOUR_MARGIN;
    Some((by_keeper + grace).min(last_moment.max(by_keeper)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::lease::{HOUR, Verdict};
    use proptest::prelude::*;

    const IDLE: Facts = Facts {
        created: 0,
        last_use: 100,
        in_use: false,
        keep_alive: Some(300),
        keep_paid_hour: false,
    };

    #[test]
    fn a_lease_ends_with_the_idle_time_or_shortly_before_the_paid_hour_does() {
        let used = Facts { in_use: true, ..IDLE };
        assert_eq!(lease_end(IDLE, 60, 120, 200), Some(460));
        assert_eq!(lease_end(used, 60, 120, 200), Some(560));
        assert_eq!(lease_end(Facts { keep_paid_hour: true, ..IDLE }, 60, 120, 200), Some(3510));
        // In use: until it was renewed three times, although the idle time is shorter.
        assert_eq!(lease_end(Facts { keep_alive: Some(5), ..used }, 60, 120, 200), Some(440));
        // In use by a run that goes on for an hour without its connection.
        assert_eq!(lease_end(used, 60, 3000, 200), Some(3260));
        // The idle time ends 20 seconds before the paid hour, and so does the lease.
        assert_eq!(lease_end(Facts { last_use: 3280, ..IDLE }, 60, 120, 3300), Some(3580));
        // Neither the keeper nor the server begins an hour for the rest of a short idle time.
        let late = Facts { last_use: 3400, keep_paid_hour: true, ..IDLE };
        assert_eq!(lease_end(late, 60, 120, 3450), Some(HOUR - 90));
        let long = Facts { keep_alive: Some(1800), ..late };
        assert_eq!(lease_end(long, 60, 120, 3450), Some(2 * HOUR - 90));
        assert_eq!(lease_end(Facts { keep_alive: None, ..IDLE }, 60, 120, 200), None);
    }

    proptest! {
        /// A server whose keeper is gone is gone, too, before an hour begins that its keeper
        /// would not have paid for; and its keeper is always earlier.
        #[test]
        fn a_server_that_deletes_itself_costs_no_hour_more(
            created in 0..10_000_i64, idle in 0..20_000_i64, since in 0..20_000_i64,
            keep in 0..5_000_i64, keep_paid_hour: bool, grace in 0..600_u64,
        ) {
            let last_use = created + idle;
            let facts =
                Facts { created, last_use, in_use: false, keep_alive: Some(keep), keep_paid_hour };
            let now = last_use + since;
            let mut deleted = now;
            while let Verdict::KeepUntil(then) = lease::server(facts, deleted) {
                deleted = then;
            }
            let end = lease_end(facts, grace, 3600, now).unwrap();
            prop_assert!(end >= deleted);
            prop_assert!(end < lease::paid_until(created, deleted));
        }

        #[test]
        fn a_server_in_use_keeps_a_lease(
            created in 0..10_000_i64, age in 0..20_000_i64, keep in 0..5_000_i64,
            keep_paid_hour: bool,
        ) {
            let now = created + age;
            let keep_alive = Some(keep);
            let last_use = created;
            let facts = Facts { created, last_use, in_use: true, keep_alive, keep_paid_hour };
            prop_assert!(lease_end(facts, 60, 120, now).unwrap() >= now + 180);
        }
    }
}
