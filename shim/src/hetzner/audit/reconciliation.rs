//! How a listing of the API corrects the record. Pure.
//!
//! What the record has as existing and the API does not list was deleted by someone else:
//! its dead man's switch, the console, another machine, or a process that was killed before it
//! could write. What the API lists and the record does not have was created by a process that
//! was killed, or by another owner, or the record was lost. A listing says only something about
//! its own account. The time of a deletion is the latest that is possible, unless the API knows it.

use super::record::{Closed, Entry, Kind, Resource, standings};

/// The latest resources that a listing may miss: it was created while the API answered.
const IN_FLIGHT_SECS: i64 = 60;

/// Seconds after which a listing is recorded again, for the time at which something was seen.
const LISTED_SECS: i64 = 1800;

/// The reason of an end that was found out from a listing.
const GONE: &str = "gone";

/// What the API has listed.
#[derive(Debug)]
pub(in crate::hetzner) struct Listing {
    /// The account that was asked.
    pub(in crate::hetzner) account: String,
    /// The time of the request, by the API's clock.
    pub(in crate::hetzner) asked_at: i64,
    /// The time now, by the API's clock.
    pub(in crate::hetzner) now: i64,
    /// The kinds that were asked for.
    pub(in crate::hetzner) kinds: Vec<Kind>,
    /// All resources of these kinds, of all owners.
    pub(in crate::hetzner) resources: Vec<Resource>,
    /// Resources that are listed and already being deleted, by kind and id.
    pub(in crate::hetzner) going: Vec<(Kind, u64)>,
}

/// The lines that the record lacks.
pub(in crate::hetzner) fn reconcile(entries: &[Entry], listing: &Listing) -> Vec<Entry> {
    let known = standings(entries);
    let mut lines = Vec::new();
    for resource in &listing.resources {
        let is_right = known.get(&(resource.kind, resource.id)).is_some_and(|standing| {
            // What was deleted by us may be listed for a moment.
            let is_open = standing.closed.is_none_or(|closed| closed.reason != GONE);
            let account = &standing.resource.account;
            // Of two tokens in use, one notices the end.
            let is_listed = || {
                let last = last_listed(entries, account);
                last.is_some_and(|last| listing.now - last < 2 * LISTED_SECS)
            };
            is_open && (*account == listing.account || is_listed())
        });
        if !is_right {
            lines.push(Entry::Opened(Box::new(resource.clone())));
        }
    }
    let seen = last_listed(entries, &listing.account);
    let mut is_any_left = !lines.is_empty();
    for ((kind, id), standing) in &known {
        let Resource { account, created, .. } = standing.resource;
        let is_listed = listing.resources.iter().any(|one| (one.kind, one.id) == (*kind, *id))
            || listing.going.contains(&(*kind, *id));
        let is_asked_for = *account == listing.account && listing.kinds.contains(kind);
        if standing.closed.is_some() || !is_asked_for {
            continue;
        }
        if is_listed || created + IN_FLIGHT_SECS > listing.asked_at {
            is_any_left = true;
            continue;
        }
        let seen = seen.map_or(*created, |seen| seen.max(*created));
        lines.push(Entry::Closed(Closed {
            kind: *kind,
            id: *id,
            at: listing.now,
            seen: Some(seen),
            reason: GONE.to_owned(),
        }));
    }
    let is_recent = seen.is_some_and(|seen| listing.now - seen < LISTED_SECS);
    if is_any_left && !is_recent {
        lines.push(Entry::Listed { account: listing.account.clone(), at: listing.now });
    }
    lines
}

/// Puts the times of deletions, by the ids of servers, in place of the latest that are possible.
pub(in crate::hetzner) fn with_deletions(lines: &mut [Entry], deletions: &[(u64, i64)]) {
    for line in lines {
        let Entry::Closed(closed) = line else { continue };
        let own = deletions.iter().find(|(id, _)| closed.kind == Kind::Server && *id == closed.id);
        if let Some((_, at)) = own {
            closed.at = closed.at.min(*at).max(closed.seen.unwrap_or(*at));
        }
    }
}

/// Whether the time of a server's deletion is not known.
pub(in crate::hetzner) fn has_unknown_end(lines: &[Entry]) -> bool {
    lines
        .iter()
        .any(|line| matches!(line, Entry::Closed(Closed { kind: Kind::Server, seen: Some(_), .. })))
}

/// When an account was listed last.
fn last_listed(entries: &[Entry], account: &str) -> Option<i64> {
    let times = entries.iter().filter_map(|entry| match entry {
        Entry::Listed { account: listed, at } if listed == account => Some(*at),
        _ => None,
    });
    times.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(kind: Kind, id: u64, created: i64) -> Resource {
        Resource {
            kind,
            id,
            name: format!("r{id}"),
            account: "a".into(),
            own: true,
            location: "hel1".into(),
            server_type: None,
            created,
            rates: Vec::new(),
        }
    }

    fn opened(kind: Kind, id: u64, created: i64) -> Entry {
        Entry::Opened(Box::new(resource(kind, id, created)))
    }

    fn listing(now: i64, resources: &[Resource]) -> Listing {
        Listing {
            account: "a".into(),
            asked_at: now,
            now,
            kinds: vec![Kind::Server, Kind::Volume],
            resources: resources.to_vec(),
            going: Vec::new(),
        }
    }

    fn gone(kind: Kind, id: u64, seen: i64, at: i64) -> Entry {
        let (seen, reason) = (Some(seen), GONE.to_owned());
        Entry::Closed(Closed { kind, id, at, seen, reason })
    }

    fn listed(at: i64) -> Entry {
        Entry::Listed { account: "a".into(), at }
    }

    #[test]
    fn what_is_gone_is_closed_at_the_latest_time() {
        let entries = [opened(Kind::Server, 1, 100), opened(Kind::Volume, 1, 100), listed(2000)];
        let volume = resource(Kind::Volume, 1, 100);
        let found = reconcile(&entries, &listing(3000, std::slice::from_ref(&volume)));
        assert_eq!(found, [gone(Kind::Server, 1, 2000, 3000)]);
        // The same listing once more changes nothing.
        let entries = [entries.as_slice(), &found].concat();
        assert_eq!(reconcile(&entries, &listing(3001, &[volume])), []);
        // Never listed: last seen when it was created.
        let entries = [opened(Kind::Server, 1, 100)];
        assert_eq!(reconcile(&entries, &listing(3000, &[])), [gone(Kind::Server, 1, 100, 3000)]);
    }

    #[test]
    fn the_time_of_a_deletion_that_the_api_knows_is_billed() {
        let ended = |deletions: &[(u64, i64)]| {
            let mut lines = vec![
                opened(Kind::Server, 1, 100),
                gone(Kind::Server, 1, 2000, 90_000),
                gone(Kind::Volume, 1, 2000, 90_000),
            ];
            assert!(has_unknown_end(&lines) && !has_unknown_end(&lines[2..]));
            with_deletions(&mut lines, deletions);
            let ends = lines.iter().filter_map(|line| match line {
                Entry::Closed(closed) => Some(closed.at),
                _ => None,
            });
            ends.collect::<Vec<_>>()
        };
        assert_eq!(ended(&[(2, 3000), (1, 3600)]), [3600, 90_000]);
        assert_eq!(ended(&[]), [90_000, 90_000]);
        // A clock that is wrong.
        assert_eq!(ended(&[(1, 1000)]), [2000, 90_000]);
        assert_eq!(ended(&[(1, 99_000)]), [90_000, 90_000]);
    }

    #[test]
    fn what_a_listing_cannot_know_is_left_alone() {
        // Created while the API answered, of another account, of a kind that was not asked for.
        let other = Resource { account: "b".into(), ..resource(Kind::Server, 2, 100) };
        let entries = [
            opened(Kind::Server, 1, 2950),
            Entry::Opened(Box::new(other)),
            opened(Kind::Image, 3, 100),
            listed(2900),
        ];
        assert_eq!(reconcile(&entries, &listing(3000, &[])), []);
        // Being deleted: it still exists.
        let entries = [opened(Kind::Server, 4, 100), listed(2900)];
        let going = Listing { going: vec![(Kind::Server, 4)], ..listing(3000, &[]) };
        assert_eq!(reconcile(&entries, &going), []);
    }

    #[test]
    fn what_is_not_in_the_record_is_opened() {
        let server = resource(Kind::Server, 1, 100);
        let found = reconcile(&[], &listing(3000, std::slice::from_ref(&server)));
        assert_eq!(found, [opened(Kind::Server, 1, 100), listed(3000)]);
        // Closed by mistake: the API knows better.
        let wrong = [opened(Kind::Server, 1, 100), listed(2900), gone(Kind::Server, 1, 100, 2900)];
        let again = reconcile(&wrong, &listing(3000, std::slice::from_ref(&server)));
        assert_eq!(again, [opened(Kind::Server, 1, 100)]);
        // Deleted by us, and listed for a moment.
        let reason = "idle".to_owned();
        let own = Closed { kind: Kind::Server, id: 1, at: 2990, seen: None, reason };
        let deleted = [opened(Kind::Server, 1, 100), listed(2900), Entry::Closed(own)];
        assert_eq!(reconcile(&deleted, &listing(3000, &[server])), []);
    }

    #[test]
    fn a_resource_that_another_token_lists_too_is_one() {
        let server = Resource { account: "b".into(), ..resource(Kind::Server, 1, 100) };
        let entries = [opened(Kind::Server, 1, 100)];
        let other = Listing { account: "b".into(), ..listing(3000, std::slice::from_ref(&server)) };
        assert_eq!(reconcile(&[entries[0].clone(), listed(2900)], &other), []);
        let found = reconcile(&entries, &other);
        let moved = Entry::Opened(Box::new(server));
        assert_eq!(found, [moved, Entry::Listed { account: "b".into(), at: 3000 }]);
        let entries = [entries.as_slice(), &found].concat();
        // The first token is revoked; the second one notices the end.
        let empty = Listing { account: "b".into(), ..listing(9000, &[]) };
        assert_eq!(reconcile(&entries, &empty), [gone(Kind::Server, 1, 3000, 9000)]);
    }

    #[test]
    fn a_listing_is_recorded_twice_an_hour_while_something_exists() {
        let server = [resource(Kind::Server, 1, 100)];
        let entries = [opened(Kind::Server, 1, 100), listed(3000)];
        assert_eq!(reconcile(&entries, &listing(3000 + LISTED_SECS - 1, &server)), []);
        let later = 3000 + LISTED_SECS;
        assert_eq!(reconcile(&entries, &listing(later, &server)), [listed(later)]);
        assert_eq!(reconcile(&[listed(3000)], &listing(later, &[])), []);
    }
}
