//! The audit record, and its evaluation for `cargo burst audit`.
//!
//! Every created or deleted server and volume and every command is one JSON object on a
//! line of `audit.jsonl` in the state directory. The record is not the source of truth: it
//! decides only whether the monthly budget is exceeded. Lines that cannot be parsed are
//! skipped.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::cost_model::{self, Life, Outcome, Rule, Session};
use super::server::ServerSummary;
use crate::directories::unusable;
use crate::error::Error;

/// Most seconds between two commands of one session of use.
const SESSION_GAP: i64 = 1;

/// The values of `keep_alive_secs` that the evaluation compares.
const KEEP_ALIVES: [i64; 5] = [60, 300, 900, 1800, 3600];

/// A line of the record. Times are unix seconds, by the API's clock for resources and by
/// the local clock for commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A server was created.
    ServerCreated {
        /// Its name at Hetzner.
        name: String,
        /// Type, location, creation and price.
        server: ServerSummary,
    },
    /// A server was deleted.
    ServerDeleted {
        /// Its name at Hetzner.
        name: String,
        /// Type, location, creation and price.
        server: ServerSummary,
        /// The time of the deletion.
        at: i64,
        /// The reason: `idle` or `down`.
        reason: String,
    },
    /// A volume was created or deleted.
    Volume {
        /// Its name at Hetzner.
        name: String,
        /// The time of the creation or deletion.
        at: i64,
        /// Whether it exists from then on.
        there: bool,
    },
    /// A command ran.
    Command(Box<Command>),
}

/// A command in the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// Its verb, such as `build`.
    pub(crate) verb: String,
    /// Its start.
    pub(crate) began: i64,
    /// Seconds until the server answered.
    pub(crate) reach_secs: f64,
    /// Seconds for the sync.
    pub(crate) sync_secs: f64,
    /// Seconds for cargo.
    pub(crate) run_secs: f64,
    /// Seconds in total.
    pub(crate) total_secs: f64,
    /// Whether a server had to be created.
    pub(crate) cold: bool,
}

/// The file of the record.
#[derive(Clone, Debug)]
pub(crate) struct AuditLog(PathBuf);

impl AuditLog {
    /// The record in a state directory.
    pub(crate) fn new(state: &Path) -> Self {
        Self(state.join("audit.jsonl"))
    }

    /// Appends a line. If that fails, it is logged, and the command continues.
    pub(crate) fn append(&self, entry: &Entry) {
        let Ok(mut line) = serde_json::to_vec(entry) else { return };
        line.push(b'\n');
        let mut options = std::fs::OpenOptions::new();
        let opened = options.append(true).create(true).mode(0o600).open(&self.0);
        if let Err(error) = opened.and_then(|mut file| file.write_all(&line)) {
            tracing::warn!("cannot write `{}`: {error}", self.0.display());
        }
    }

    /// All lines that can be parsed; none if there is no file.
    pub(crate) fn read(&self) -> Result<Vec<Entry>, Error> {
        match std::fs::read_to_string(&self.0) {
            Ok(text) => {
                Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unusable("read", &self.0, &error)),
        }
    }
}

/// The life of a server, and its price per started hour.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Billed {
    life: Life,
    hourly: f64,
}

/// The servers in the record, each until its deletion or until `now`.
fn billed(entries: &[Entry], now: i64) -> Vec<Billed> {
    let mut open: BTreeMap<(&str, i64), f64> = BTreeMap::new();
    let mut all = Vec::new();
    for entry in entries {
        match entry {
            Entry::ServerCreated { name, server } => {
                open.insert((name, server.created), server.hourly);
            }
            Entry::ServerDeleted { name, server, at, .. } => {
                open.remove(&(name.as_str(), server.created));
                let life = Life { created: server.created, deleted: *at };
                all.push(Billed { life, hourly: server.hourly });
            }
            Entry::Volume { .. } | Entry::Command(_) => {}
        }
    }
    all.extend(open.into_iter().map(|((_, created), hourly)| Billed {
        life: Life { created, deleted: now.max(created) },
        hourly,
    }));
    all
}

/// The start of the calendar month (UTC) that contains `now`, in unix seconds.
pub(crate) fn month_of(now: Timestamp) -> i64 {
    let now = now.to_zoned(TimeZone::UTC);
    let first = now.date().first_of_month();
    first.to_zoned(TimeZone::UTC).map_or(0, |first| first.timestamp().as_second())
}

/// The cost of all hours of servers that have started since a time, in EUR without tax.
/// Never negative.
pub(crate) fn spent_since(entries: &[Entry], since: i64, now: i64) -> f64 {
    let cost = |billed: &Billed| {
        let before = match billed.life.created < since {
            true => {
                cost_model::hours(Life { deleted: since.min(billed.life.deleted), ..billed.life })
            }
            false => 0,
        };
        (cost_model::hours(billed.life) - before).max(0) as f64 * billed.hourly
    };
    // The sum of no servers is -0.0.
    billed(entries, now).iter().map(cost).sum::<f64>() + 0.0
}

/// The evaluation of a record. Costs are in EUR without tax.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Audit {
    /// The number of created servers.
    pub(crate) servers: usize,
    /// Their started hours, each of which is billed.
    pub(crate) started_hours: i64,
    /// The cost of the started hours.
    pub(crate) cost: f64,
    /// The number of commands.
    pub(crate) commands: usize,
    /// The commands for which a server was created.
    pub(crate) cold: Split,
    /// The commands on a server that existed.
    pub(crate) warm: Split,
    /// The commands by verb.
    pub(crate) verbs: BTreeMap<String, Split>,
    /// The results of other settings for the same commands.
    pub(crate) rules: Vec<WhatIf>,
    /// The fewest started hours that could have served all commands, with perfect foresight.
    pub(crate) best_hours: i64,
}

/// The mean time of commands, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Split {
    /// The number of commands.
    pub(crate) commands: usize,
    /// Seconds until the server answered.
    pub(crate) reach_secs: f64,
    /// Seconds for the sync.
    pub(crate) sync_secs: f64,
    /// Seconds for cargo.
    pub(crate) run_secs: f64,
    /// Seconds in total.
    pub(crate) total_secs: f64,
}

/// The result of other settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct WhatIf {
    /// The value of `keep_alive_secs`.
    pub(crate) keep_alive_secs: i64,
    /// The value of `keep_paid_hour`.
    pub(crate) keep_paid_hour: bool,
    /// Started hours of all servers.
    pub(crate) started_hours: i64,
    /// The cost of the started hours, at the mean price.
    pub(crate) cost: f64,
    /// Commands that would have waited for a new server.
    pub(crate) cold_starts: usize,
}

fn split(commands: &[&Command]) -> Split {
    let count = commands.len().max(1) as f64;
    let mean =
        |of: fn(&Command) -> f64| (commands.iter().map(|one| of(one)).sum::<f64>() + 0.0) / count;
    Split {
        commands: commands.len(),
        reach_secs: mean(|one| one.reach_secs),
        sync_secs: mean(|one| one.sync_secs),
        run_secs: mean(|one| one.run_secs),
        total_secs: mean(|one| one.total_secs),
    }
}

/// Sessions of use: commands that overlap or follow each other closely are one.
fn sessions(commands: &[&Command]) -> Vec<Session> {
    let mut all: Vec<Session> = commands
        .iter()
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

/// Evaluates a record at `now`. `rate` is a price in EUR per started hour, which replaces
/// those in the record.
pub(crate) fn audit(entries: &[Entry], rate: Option<f64>, now: i64) -> Audit {
    let billed = billed(entries, now);
    let commands: Vec<&Command> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Command(command) => Some(command.as_ref()),
            _ => None,
        })
        .collect();
    let started_hours: i64 = billed.iter().map(|one| cost_model::hours(one.life)).sum();
    // The sum of no servers is -0.0.
    let paid =
        billed.iter().map(|one| cost_model::hours(one.life) as f64 * one.hourly).sum::<f64>() + 0.0;
    let cost = rate.map_or(paid, |rate| started_hours as f64 * rate);
    let mean_price = rate.unwrap_or(match started_hours {
        0 => 0.0,
        hours => paid / hours as f64,
    });
    let of = |is_cold: bool| {
        let those: Vec<&Command> =
            commands.iter().copied().filter(|one| one.cold == is_cold).collect();
        split(&those)
    };
    let mut verbs: BTreeMap<String, Vec<&Command>> = BTreeMap::new();
    for command in &commands {
        verbs.entry(command.verb.clone()).or_default().push(command);
    }
    let sessions = sessions(&commands);
    let what_if = |keep_alive: i64, keep_paid_hour: bool| {
        let rule = Rule { keep_alive, keep_paid_hour };
        let Outcome { hours, cold_starts } = cost_model::outcome(&sessions, rule);
        WhatIf {
            keep_alive_secs: keep_alive,
            keep_paid_hour,
            started_hours: hours,
            cost: hours as f64 * mean_price,
            cold_starts,
        }
    };
    let rules = KEEP_ALIVES.iter().flat_map(|secs| [what_if(*secs, true), what_if(*secs, false)]);
    Audit {
        servers: billed.len(),
        started_hours,
        cost,
        commands: commands.len(),
        cold: of(true),
        warm: of(false),
        verbs: verbs.into_iter().map(|(verb, those)| (verb, split(&those))).collect(),
        rules: rules.collect(),
        best_hours: cost_model::best(&sessions).hours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(created: i64) -> ServerSummary {
        ServerSummary { server_type: "ccx63".into(), location: "hel1".into(), created, hourly: 0.5 }
    }

    fn command(began: i64, cold: bool) -> Entry {
        Entry::Command(Box::new(Command {
            verb: "build".into(),
            began,
            reach_secs: 10.0,
            sync_secs: 1.0,
            run_secs: 9.0,
            total_secs: 20.0,
            cold,
        }))
    }

    #[test]
    fn started_hours_are_billed() {
        let name = || "s".to_owned();
        let entries = [
            Entry::ServerCreated { name: name(), server: server(1000) },
            command(1000, true),
            command(1500, false),
            Entry::ServerDeleted {
                name: name(),
                server: server(1000),
                at: 1000 + 3500,
                reason: "idle".into(),
            },
            Entry::ServerCreated { name: name(), server: server(90_000) },
            command(90_000, true),
        ];
        let found = audit(&entries, None, 90_000 + 3700);
        assert_eq!((found.servers, found.started_hours), (2, 3));
        assert!((found.cost - 1.5).abs() < 1e-9);
        assert_eq!((found.cold.commands, found.warm.commands), (2, 1));
        assert!((found.verbs["build"].total_secs - 20.0).abs() < 1e-9);
        assert_eq!(found.best_hours, 2);
        assert!((audit(&entries, Some(2.0), 90_000 + 3700).cost - 6.0).abs() < 1e-9);
        // Only hours that started since then.
        assert!((spent_since(&entries, 50_000, 90_000 + 3700) - 1.0).abs() < 1e-9);
        assert!((spent_since(&entries, 0, 90_000 + 3700) - 1.5).abs() < 1e-9);
        // No negative zero, which would be printed as -0.00.
        assert!(spent_since(&[], 0, 9).is_sign_positive());
        assert!(audit(&[], None, 9).cost.is_sign_positive());
        // From the middle of a life: the hours that start later.
        assert!((spent_since(&entries, 90_100, 90_000 + 3700) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn damaged_lines_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::new(directory.path());
        assert!(log.read().unwrap().is_empty());
        log.append(&command(5, true));
        std::fs::OpenOptions::new()
            .append(true)
            .open(directory.path().join("audit.jsonl"))
            .and_then(|mut file| file.write_all(b"{\"event\":\"comm\n"))
            .unwrap();
        log.append(&command(6, false));
        assert_eq!(log.read().unwrap(), [command(5, true), command(6, false)]);
    }
}
