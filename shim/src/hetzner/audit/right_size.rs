//! Which server type would have been cheapest and which fastest for recorded commands, and
//! whether a further hour after each use would have paid. Pure.
//!
//! The model: a run of `run_secs` on `p` cores that has used `cpu_secs` of processor time has a
//! span of `run_secs - cpu_secs / p`, which no further core shortens, and on `q` cores takes
//! `span + cpu_secs / q`. It knows neither memory nor disks, takes a core of each type for as fast
//! as that of the one that was used, and a span that waits for memory or the network for one of
//! the build. So it compares types that are alike; it does not promise times.

use serde::Serialize;

use super::record::{Command, Entry, Place, commands};
use super::sessions::sessions;
use crate::hetzner::cost_model::{self, Outcome, Rule};

/// Fewer measured commands say too little.
const COMMANDS_MIN: usize = 10;

/// The rule that the product follows by default.
const OURS: Rule = Rule { keep_alive: 300, keep_paid_hour: true };

/// The same, with one more hour after each hour with a use.
const HOLDING: Rule = Rule { keep_alive: 3600 + 600, keep_paid_hour: true };

/// A server type of today.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    /// Its name.
    pub(crate) server_type: String,
    /// Its cores.
    pub(crate) cores: f64,
    /// EUR per started hour, without tax, with an address.
    pub(crate) hourly: f64,
    /// Whether it can be ordered now.
    pub(crate) is_available: bool,
}

/// What a type would have given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Fit {
    /// The server type.
    pub(crate) server_type: String,
    /// Its cores.
    pub(crate) cores: f64,
    /// The cost of all its started hours.
    pub(crate) cost: f64,
    /// The mean seconds of cargo in a command.
    pub(crate) run_secs: f64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RightSize {
    /// The measured commands that it is about.
    pub(crate) commands: usize,
    /// The mean seconds of cargo in one of them, as they ran.
    pub(crate) run_secs: f64,
    /// The cheapest type.
    pub(crate) cheapest: Fit,
    /// The fastest type; of equals the cheapest.
    pub(crate) fastest: Fit,
}

/// What one more hour after each hour with a use would have given, by all commands on servers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Holding {
    /// Started hours more.
    pub(crate) hours: i64,
    /// Cold starts fewer.
    pub(crate) cold_starts: i64,
    /// Seconds of waiting for a server fewer.
    pub(crate) secs: f64,
}

/// Measures the commands in a directory's workspace, or with `None` in all. `None` where there are
/// too few.
pub(crate) fn right_size(
    entries: &[Entry],
    workspace: Option<&str>,
    offers: &[Offer],
) -> Option<RightSize> {
    let cores =
        |name: &str| offers.iter().find(|offer| offer.server_type == name).map(|offer| offer.cores);
    let measured: Vec<(&Command, f64, f64)> = commands(entries)
        .filter(|command| workspace.is_none_or(|workspace| command.workspace == workspace))
        .filter_map(|command| match &command.place {
            Place::Server { server_type, .. } => {
                Some((command, command.cpu_secs?, cores(server_type)?))
            }
            Place::Here => None,
        })
        .collect();
    if measured.len() < COMMANDS_MIN {
        return None;
    }
    let count = measured.len() as f64;
    let fit = |offer: &Offer| {
        let run = |(command, cpu, cores): &(&Command, f64, f64)| {
            (command.run_secs - cpu / cores).max(0.0) + cpu / offer.cores
        };
        let moved: Vec<Command> = measured
            .iter()
            .map(|one| Command {
                began: one.0.began,
                total_secs: (one.0.total_secs - one.0.run_secs).max(0.0) + run(one),
                ..Command::default()
            })
            .collect();
        let hours = cost_model::outcome(&sessions(moved.iter()), OURS).hours;
        Fit {
            server_type: offer.server_type.clone(),
            cores: offer.cores,
            cost: hours as f64 * offer.hourly,
            run_secs: measured.iter().map(run).sum::<f64>() / count,
        }
    };
    let fits: Vec<Fit> =
        offers.iter().filter(|offer| offer.is_available && offer.cores > 0.0).map(fit).collect();
    let by_cost = |a: &&Fit, b: &&Fit| a.cost.total_cmp(&b.cost);
    let by_time = |a: &&Fit, b: &&Fit| a.run_secs.total_cmp(&b.run_secs);
    Some(RightSize {
        commands: measured.len(),
        run_secs: measured.iter().map(|one| one.0.run_secs).sum::<f64>() / count,
        cheapest: fits.iter().min_by(|a, b| by_cost(a, b).then(by_time(a, b)))?.clone(),
        fastest: fits.iter().min_by(|a, b| by_time(a, b).then(by_cost(a, b)))?.clone(),
    })
}

/// What a further hour after each use would have given; `None` with too few commands.
pub(super) fn holding(commands: &[&Command], cold_secs: f64) -> Option<Holding> {
    if commands.len() < COMMANDS_MIN {
        return None;
    }
    let sessions = sessions(commands.iter().copied());
    let Outcome { hours, cold_starts } = cost_model::outcome(&sessions, OURS);
    let held = cost_model::outcome(&sessions, HOLDING);
    let fewer = cold_starts as i64 - held.cold_starts as i64;
    Some(Holding { hours: held.hours - hours, cold_starts: fewer, secs: fewer as f64 * cold_secs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(name: &str, cores: f64, hourly: f64) -> Offer {
        Offer { server_type: name.into(), cores, hourly, is_available: true }
    }

    /// Runs of 10 s on 16 cores, one a day; 4 s of each are the span.
    fn entries(count: i64) -> Vec<Entry> {
        let command = |number: i64| {
            Entry::Command(Box::new(Command {
                verb: "build".into(),
                workspace: "/w".into(),
                place: Place::Server { server_type: "cx53".into(), location: "hel1".into() },
                began: number * 86_400,
                run_secs: 10.0,
                total_secs: 11.0,
                cpu_secs: Some(96.0),
                ..Command::default()
            }))
        };
        (0..count).map(command).collect()
    }

    #[test]
    fn the_span_stays_and_the_work_is_divided() {
        let offers = [
            offer("cx53", 16.0, 0.05),
            offer("cx23", 2.0, 0.01),
            offer("ccx63", 48.0, 1.5),
            Offer { is_available: false, ..offer("cx00", 96.0, 0.001) },
        ];
        let found = right_size(&entries(10), Some("/w"), &offers).unwrap();
        assert_eq!((found.commands, found.run_secs), (10, 10.0));
        let (cheapest, fastest) = (&found.cheapest, &found.fastest);
        assert_eq!((cheapest.server_type.as_str(), cheapest.run_secs), ("cx23", 52.0));
        assert!((cheapest.cost - 0.1).abs() < 1e-9);
        assert_eq!((fastest.server_type.as_str(), fastest.run_secs), ("ccx63", 6.0));
        assert!((fastest.cost - 15.0).abs() < 1e-9);
        // Of two that are equally fast, the cheaper one.
        let dear = [offer("dear", 16.0, 9.0), offer("cx53", 16.0, 0.05)];
        let found = right_size(&entries(10), None, &dear).unwrap();
        assert_eq!(found.fastest.server_type, "cx53");
    }

    #[test]
    fn too_little_data_says_nothing() {
        let offers = [offer("cx53", 16.0, 0.05)];
        assert_eq!(right_size(&entries(9), None, &offers), None);
        assert_eq!(right_size(&entries(10), Some("/other"), &offers), None);
        assert_eq!(right_size(&entries(10), None, &[offer("other", 2.0, 0.01)]), None);
        assert_eq!(right_size(&entries(10), None, &[]), None);
    }

    #[test]
    fn a_further_hour_costs_hours_and_saves_cold_starts() {
        let every = |secs: i64| {
            let one = |number: i64| Command {
                began: number * secs,
                total_secs: 60.0,
                ..Command::default()
            };
            (0..10).map(one).collect::<Vec<_>>()
        };
        let holding =
            |commands: &[Command]| holding(&commands.iter().collect::<Vec<_>>(), 30.0).unwrap();
        // One command a day: ten hours for nothing.
        let rare = holding(&every(86_400));
        assert_eq!(rare, Holding { hours: 10, cold_starts: 0, secs: 0.0 });
        // One each 70 minutes: the same server, but for one hour's end that comes too late.
        let often = holding(&every(4200));
        assert_eq!((often.cold_starts, often.secs), (8, 240.0));
    }
}
