//! When servers were used: the commands of the record as periods of time. Pure.

use super::record::{Command, Entry, Place, commands};
use crate::hetzner::cost_model::Session;

/// Most seconds between two commands of one session of use.
const SESSION_GAP: i64 = 1;

/// The commands that ran on servers.
pub(super) fn on_servers(entries: &[Entry]) -> impl Iterator<Item = &Command> {
    commands(entries).filter(|command| matches!(command.place, Place::Server { .. }))
}

/// Sessions of use: commands that overlap or follow each other closely are one.
pub(super) fn sessions<'a>(commands: impl Iterator<Item = &'a Command>) -> Vec<Session> {
    let mut all: Vec<Session> = commands
        .map(|one| Session { begin: one.began, end: one.began + one.total_secs.ceil() as i64 })
        .collect();
    all.sort_by_key(|session| session.begin);
    let mut merged: Vec<Session> = Vec::new();
    for session in all {
        match merged.last_mut() {
            Some(last) if session.begin <= last.end + SESSION_GAP => {
                last.end = last.end.max(session.end);
            }
            _ => merged.push(session),
        }
    }
    merged
}

/// Seconds since a time in which commands ran on servers; what overlaps counts once.
pub(crate) fn seconds_used(entries: &[Entry], since: i64) -> i64 {
    let used = |session: &Session| (session.end - session.begin.max(since)).max(0);
    sessions(on_servers(entries)).iter().map(used).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(began: i64, total_secs: f64, place: Place) -> Entry {
        Entry::Command(Box::new(Command { began, total_secs, place, ..Command::default() }))
    }

    #[test]
    fn overlapping_commands_on_servers_count_once() {
        let server = || Place::Server { server_type: "cx53".into(), location: "hel1".into() };
        let entries = [
            ran(100, 50.0, server()),
            ran(120, 9.5, server()),
            ran(140, 40.0, server()),
            ran(150, 500.0, Place::Here),
            ran(1000, 10.0, server()),
        ];
        assert_eq!(seconds_used(&entries, 0), 90);
        assert_eq!(seconds_used(&entries, 160), 30);
        assert_eq!(seconds_used(&entries, 2000), 0);
        assert_eq!(sessions(on_servers(&entries)).len(), 2);
    }
}
