//! Keeping the file of the record small: commands and limits read all of it.
//!
//! A file that has grown beyond its limit becomes `audit-1.jsonl`, `audit-2.jsonl` and so on, which
//! only `cargo burst audit` reads. The new file begins with what the older one says of the resources
//! that exist or existed since the beginning of the previous month, of listings, and of the uses of
//! the last day; commands are only in the older ones.
//!
//! Invariant: no line is lost, and no command is read twice. The file is linked to its new name
//! before another one takes its place; if that is interrupted, both names are the same file, which is
//! read once.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::bill::Month;
use super::record::{Entry, standings};
use super::sessions::uses;

/// The size of a file that is archived: that of the lines of about 15 000 commands.
pub(super) const SIZE_MAX: u64 = 4 << 20;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Archives the file at `path`, which the caller has locked, and begins a new one with `entries`.
pub(super) fn archive(path: &Path, file: &File, entries: &[Entry]) -> io::Result<()> {
    let older = archived(path);
    let is_linked = match older.last() {
        Some(last) => is_same(&fs::metadata(last)?, &file.metadata()?),
        None => false,
    };
    if !is_linked {
        fs::hard_link(path, numbered(path, older.len() + 1))?;
    }
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    written.write_all(&lines(entries))?;
    written.sync_all()?;
    fs::rename(&new, path)
}

/// The archived files, the oldest one first.
pub(super) fn archived(path: &Path) -> Vec<PathBuf> {
    (1..).map(|number| numbered(path, number)).take_while(|path| path.exists()).collect()
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    path.with_file_name(format!("audit-{number}.jsonl"))
}

/// Whether both are the same file.
pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Entries as lines.
pub(super) fn lines(entries: &[Entry]) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in entries {
        let Ok(line) = serde_json::to_vec(entry) else { continue };
        lines.extend(line);
        lines.push(b'\n');
    }
    lines
}

/// What a new file begins with. Pure.
pub(super) fn carried(entries: &[Entry], now: i64) -> Vec<Entry> {
    let since = Month::of(now).previous().begin;
    let mut carried = Vec::new();
    for standing in standings(entries).values() {
        if standing.closed.is_none_or(|closed| closed.at >= since) {
            carried.push(Entry::Opened(Box::new(standing.resource.clone())));
            carried.extend(standing.closed.cloned().map(Entry::Closed));
        }
    }
    let mut listed = BTreeMap::new();
    for entry in entries {
        if let Entry::Listed { account, at } = entry {
            let last = listed.entry(account).or_insert(*at);
            *last = (*last).max(*at);
        }
    }
    let listed = listed.into_iter().map(|(account, at)| (account.clone(), at));
    carried.extend(listed.map(|(account, at)| Entry::Listed { account, at }));
    let recent = uses(entries).into_iter().filter(|session| session.end >= now - DAY);
    carried.extend(recent.map(|one| Entry::Used { began: one.begin, until: one.end }));
    carried
}

#[cfg(test)]
mod tests {
    use super::super::record::{Closed, Command, Kind, Place, Resource};
    use super::super::{seconds_used, spent};
    use super::*;

    fn server(id: u64, created: i64) -> Entry {
        Entry::Opened(Box::new(Resource::server_of_tests(id, created)))
    }

    fn closed(id: u64, at: i64) -> Entry {
        let (kind, seen, reason) = (Kind::Server, None, "idle".to_owned());
        Entry::Closed(Closed { kind, id, at, seen, reason })
    }

    fn command(began: i64) -> Entry {
        Entry::Command(Box::new(Command {
            place: Place::Server { server_type: "cx53".into(), location: "hel1".into() },
            began,
            total_secs: 60.0,
            ..Command::default()
        }))
    }

    /// A record until `now`.
    fn entries(now: i64) -> Vec<Entry> {
        let listed = |at| Entry::Listed { account: "a".into(), at };
        vec![
            server(1, now - 100 * DAY),
            closed(1, now - 99 * DAY),
            server(2, now - 90 * DAY),
            listed(now - 80 * DAY),
            server(3, now - 7200),
            command(now - 99 * DAY),
            command(now - 600),
            Entry::Used { began: now - 300, until: now - 200 },
            closed(3, now - 100),
            listed(now - 50),
        ]
    }

    #[test]
    fn sums_stay_and_what_audit_alone_needs_goes() {
        // 2026-11-15, 12:00 UTC.
        let now = 1_794_744_000;
        let all = entries(now);
        let carried = carried(&all, now);
        assert_eq!(
            carried,
            [
                server(2, now - 90 * DAY),
                server(3, now - 7200),
                closed(3, now - 100),
                Entry::Listed { account: "a".into(), at: now - 50 },
                Entry::Used { began: now - 600, until: now - 540 },
                Entry::Used { began: now - 300, until: now - 200 },
            ]
        );
        let month = Month::of(now);
        assert_eq!(spent(&carried, month, now), spent(&all, month, now));
        assert_eq!(seconds_used(&carried, now - DAY / 2), seconds_used(&all, now - DAY / 2));
    }
}
