//! What `cargo burst audit` says of a record: what was paid, how long commands took, and what
//! other settings would have cost. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bill::{Month, Spent, cost, life, spent};
use super::record::{Command, Entry, Kind, Place, commands, standings};
use super::right_size::{Holding, holding};
use super::sessions::{on_servers, sessions};
use crate::hetzner::cost_model::{self, Outcome, Rule};

/// The values of `keep_alive_secs` that the evaluation compares.
const KEEP_ALIVES: [i64; 5] = [60, 300, 900, 1800, 3600];

/// The evaluation of a record. Costs are in EUR without tax.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Audit {
    /// The number of servers that this installation created.
    pub(crate) servers: usize,
    /// Their started hours, each of which is billed.
    pub(crate) started_hours: i64,
    /// The cost of these servers with their addresses.
    pub(crate) cost: f64,
    /// What everything cost in this calendar month: servers, volumes and images of this
    /// installation and of others that it has seen.
    pub(crate) this_month: Spent,
    /// The same of the month before.
    pub(crate) previous_month: Spent,
    /// The number of commands that ran on servers.
    pub(crate) commands: usize,
    /// The commands that ran by the agent on this machine.
    pub(crate) here: Split,
    /// The commands for which a server was created.
    pub(crate) cold: Split,
    /// The commands on a server that existed.
    pub(crate) warm: Split,
    /// The commands on servers, by verb.
    pub(crate) verbs: BTreeMap<String, Split>,
    /// The results of other settings for the same commands.
    pub(crate) rules: Vec<WhatIf>,
    /// The fewest started hours that could have served all commands, with perfect foresight.
    pub(crate) best_hours: i64,
    /// What a further hour after each use would have given; `None` with too few commands.
    pub(crate) holding: Option<Holding>,
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

/// Evaluates a record at `now`. `rate` is a price in EUR per started hour, which replaces
/// those in the record.
pub(crate) fn audit(entries: &[Entry], rate: Option<f64>, now: i64) -> Audit {
    let month = Month::of(now);
    let standings = standings(entries);
    let servers: Vec<_> = standings
        .values()
        .filter(|one| one.resource.kind == Kind::Server && one.resource.own)
        .map(|one| (one.resource, life(one, now)))
        .collect();
    let commands: Vec<&Command> = on_servers(entries).collect();
    let here: Vec<&Command> =
        self::commands(entries).filter(|one| one.place == Place::Here).collect();
    let started_hours: i64 = servers.iter().map(|(_, life)| cost_model::hours(*life)).sum();
    // The sum of no servers is -0.0.
    let paid = servers.iter().map(|(server, life)| cost(server, *life)).sum::<f64>() + 0.0;
    let total = rate.map_or(paid, |rate| started_hours as f64 * rate);
    let mean_price = rate.unwrap_or(match started_hours {
        0 => 0.0,
        hours => paid / hours as f64,
    });
    let of = |is_cold: bool| {
        let those: Vec<&Command> =
            commands.iter().copied().filter(|one| one.cold == is_cold).collect();
        split(&those)
    };
    let cold = of(true);
    let mut verbs: BTreeMap<String, Vec<&Command>> = BTreeMap::new();
    for command in &commands {
        verbs.entry(command.verb.clone()).or_default().push(command);
    }
    let sessions = sessions(commands.iter().copied());
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
        servers: servers.len(),
        started_hours,
        cost: total,
        this_month: spent(entries, month, now),
        previous_month: spent(entries, month.previous(), now),
        commands: commands.len(),
        here: split(&here),
        cold,
        warm: of(false),
        verbs: verbs.into_iter().map(|(verb, those)| (verb, split(&those))).collect(),
        rules: rules.collect(),
        best_hours: cost_model::best(&sessions).hours,
        holding: holding(&commands, cold.reach_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::audit::record::{Closed, Rate, Resource};

    fn opened(id: u64, created: i64, own: bool) -> Entry {
        Entry::Opened(Box::new(Resource {
            kind: Kind::Server,
            id,
            name: "s".into(),
            account: "a".into(),
            own,
            location: "hel1".into(),
            server_type: Some("ccx63".into()),
            created,
            rates: vec![Rate { hourly: Some(0.5), monthly: None }],
        }))
    }

    fn command(began: i64, cold: bool, place: Place) -> Entry {
        Entry::Command(Box::new(Command {
            verb: "build".into(),
            place,
            began,
            reach_secs: 10.0,
            sync_secs: 1.0,
            run_secs: 9.0,
            total_secs: 20.0,
            cold,
            ..Command::default()
        }))
    }

    #[test]
    fn commands_on_servers_are_compared_and_local_ones_are_counted() {
        let server = || Place::Server { server_type: "ccx63".into(), location: "hel1".into() };
        let entries = [
            opened(1, 1000, true),
            command(1000, true, server()),
            command(1500, false, server()),
            command(2000, false, Place::Here),
            Entry::Closed(Closed {
                kind: Kind::Server,
                id: 1,
                at: 1000 + 3500,
                seen: None,
                reason: "idle".into(),
            }),
            opened(2, 90_000, true),
            // Of another machine: part of the month, not of the comparison.
            opened(3, 90_000, false),
            command(90_000, true, server()),
        ];
        let found = audit(&entries, None, 90_000 + 3700);
        assert_eq!((found.servers, found.started_hours), (2, 3));
        assert!((found.cost - 1.5).abs() < 1e-9);
        assert_eq!((found.this_month.started_hours, found.previous_month.started_hours), (5, 0));
        assert!((found.this_month.total - 2.5).abs() < 1e-9);
        assert_eq!((found.commands, found.here.commands), (3, 1));
        assert_eq!((found.cold.commands, found.warm.commands), (2, 1));
        assert!((found.verbs["build"].total_secs - 20.0).abs() < 1e-9);
        assert_eq!(found.best_hours, 2);
        assert!((audit(&entries, Some(2.0), 90_000 + 3700).cost - 6.0).abs() < 1e-9);
        // No negative zero, which would be printed as -0.00.
        assert!(audit(&[], None, 9).cost.is_sign_positive());
    }
}
