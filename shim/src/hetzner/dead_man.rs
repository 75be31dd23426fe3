//! The dead man's switch: a server deletes itself when its lease expires, so that it does
//! not outlive a machine that is off or gone.
//!
//! The agent gets the lease and one prepared request, which it does not understand. It
//! keeps both in memory only.

use burst_hcloud::{Client, Id};
use burst_protocol::message::{FromShim, Lease, Will};

use super::lease::{self, Facts, Verdict};

/// The message that renews the lease of a server, whose own deletion follows `margin`
/// seconds after its end; `None` for a server that is kept until it is deleted by hand.
pub(super) fn renewal(
    client: &Client,
    server: Id,
    facts: Facts,
    margin: u64,
    now: i64,
) -> Option<FromShim> {
    let secs = remaining(facts, now)? + margin;
    let (url, headers) = client.deletion_of_server(server);
    let will = Will { method: "DELETE".into(), url, headers };
    Some(FromShim::Lease(Lease { secs, will: Some(will) }))
}

/// Seconds from `now` until a server is deleted if no command uses it any more; `None`
/// for one that is kept until it is deleted by hand.
fn remaining(facts: Facts, now: i64) -> Option<u64> {
    let secs = match lease::server(facts, now) {
        Verdict::Keep => return None,
        Verdict::Delete => 0,
        Verdict::KeepUntil(_) => {
            let idle_end = facts.last_use.max(now) + facts.keep_alive?;
            let end = match facts.keep_paid_hour {
                true => lease::paid_until(facts.created, idle_end),
                false => idle_end,
            };
            end - now
        }
    };
    Some(u64::try_from(secs).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_with_the_idle_time_or_the_paid_hour() {
        let facts = Facts {
            created: 0,
            last_use: 100,
            in_use: true,
            keep_alive: Some(300),
            keep_paid_hour: false,
        };
        assert_eq!(remaining(facts, 200), Some(300));
        assert_eq!(remaining(Facts { keep_paid_hour: true, ..facts }, 200), Some(3400));
        assert_eq!(remaining(Facts { in_use: false, ..facts }, 400), Some(0));
        assert_eq!(remaining(Facts { keep_alive: None, ..facts }, 200), None);
    }
}
