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
    merged(commands.map(session).collect())
}

fn session(command: &Command) -> Session {
    Session { begin: command.began, end: command.began + command.total_secs.ceil() as i64 }
}

fn merged(mut all: Vec<Session>) -> Vec<Session> {
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

/// When commands used servers, whether or not they were killed; what overlaps is one.
pub(super) fn uses(entries: &[Entry]) -> Vec<Session> {
    let noted = entries.iter().filter_map(|entry| match entry {
        Entry::Used { began, until } => Some(Session { begin: *began, end: *until }),
        _ => None,
    });
    merged(on_servers(entries).map(session).chain(noted).collect())
}

/// Seconds since a time in which commands used servers.
pub(crate) fn seconds_used(entries: &[Entry], since: i64) -> i64 {
    let used = |session: &Session| (session.end - session.begin.max(since)).max(0);
    uses(entries).iter().map(used).sum()
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
        // A command that was killed, beside one that was not.
        let used = |began, until| Entry::Used { began, until };
        let killed = [used(110, 110), used(110, 170), used(110, 230), used(2000, 2060)];
        assert_eq!(seconds_used(&[&entries[..], &killed].concat(), 0), 130 + 10 + 60);
        assert_eq!(sessions(on_servers(&killed)).len(), 0);
    }
}
