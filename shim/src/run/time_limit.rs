//! How long a run on a server may take: `max_run_secs`, and what other commands of the day have
//! left of `max_day_secs`. Days are those of UTC, and count the commands of this machine.
//!
//! At 80 % of a limit one line tells what is left. At the limit the run is interrupted as by
//! Ctrl-C, ten seconds later it is killed; its results come back, and the command fails. A
//! monthly budget that is reached during a run is told and ends nothing: what a build is worth
//! is the user's to say, by these limits.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use burst_protocol::message::FromShim;
use burst_sync::wire::Outgoing;
use nix::sys::signal::Signal;

use crate::directories::Directories;
use crate::error::{Error, ErrorKind};
use crate::hetzner::audit::{AuditLog, Month, seconds_used, spent};
use crate::hetzner::lease::HOUR;
use crate::hetzner::server::ServerSummary;
use crate::settings::Settings;
use crate::terminal::{Terminal, amount, span};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// How long a run may take to end after it was interrupted.
const GRACE: Duration = Duration::from_secs(10);

/// The limits of one run on a server, and what was used before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct TimeLimits {
    max_run: Option<i64>,
    max_day: Option<i64>,
    /// Seconds of this day in which commands ran on servers.
    used_today: i64,
    budget: Option<f64>,
    /// EUR that are spent in this month.
    spent: f64,
}

/// What happens at a time of the run.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    /// The user is told.
    Warn(String),
    /// The run is ended, for this reason.
    End(String),
}

impl TimeLimits {
    /// The limits of the settings; none without a server. Fails if nothing is left of the day.
    pub(super) fn of(directories: &Directories, settings: &Settings) -> Result<Self, Error> {
        let Settings { max_run_secs, max_day_secs, monthly_budget, .. } = settings;
        let limits = (max_run_secs, max_day_secs, monthly_budget);
        if settings.hetzner_token.is_none() || limits == (&None, &None, &None) {
            return Ok(Self::default());
        }
        let entries = AuditLog::new(&directories.hetzner()).read()?;
        let now = burst_hcloud::Timestamp::now().as_second();
        let secs = |limit: Option<u64>| limit.and_then(|secs| i64::try_from(secs).ok());
        let limits = Self {
            max_run: secs(*max_run_secs),
            max_day: secs(*max_day_secs),
            used_today: seconds_used(&entries, now - now.rem_euclid(DAY)),
            budget: *monthly_budget,
            spent: spent(&entries, Month::of(now), now).total,
        };
        match limits.max_day.filter(|day| limits.used_today >= *day) {
            None => Ok(limits),
            Some(day) => Err(Error::new(
                ErrorKind::CostLimit,
                "the time on servers of this day is used up",
                "raise `max_day_secs`, or wait until 00:00 UTC",
            )
            .cause(format!(
                "`max_day_secs` is {day}, commands have run for {}",
                span(limits.used_today)
            ))),
        }
    }

    /// What happens in a run that begins now, in order, by seconds from its beginning. `server`
    /// has this age.
    fn acts(&self, server: &ServerSummary, age: i64) -> Vec<(i64, Act)> {
        let mut acts = Vec::new();
        let of_run = self.max_run.map(|max| ("max_run_secs", max, 0));
        let of_day = self.max_day.map(|max| ("max_day_secs", max, self.used_today));
        let limits = [of_run, of_day].into_iter().flatten();
        // The one that ends the run: of the other, no warning is needed.
        let first = limits.min_by_key(|(_, max, used)| max - used);
        if let Some((name, max, used)) = first {
            let (end, warned) = ((max - used).max(0), (max * 4 / 5 - used).max(0));
            let left = span(end - warned);
            acts.push((
                warned,
                Act::Warn(format!(
                    "the run is ended in {left}: `{name}` is {max}; for the next one, raise it"
                )),
            ));
            acts.push((end, Act::End(format!("`{name}` is {max}"))));
        }
        if let Some((at, budget)) = self.budget_reached(server, age) {
            let text = format!(
                "the monthly budget of EUR {} is used up in the hour that begins; the run goes on: \
                 Ctrl-C ends it, and `max_run_secs` would",
                amount(budget)
            );
            acts.push((at, Act::Warn(text)));
        }
        acts.sort_by_key(|(at, _)| *at);
        acts
    }

    /// When the hour begins with which the budget is used up, in seconds from now.
    fn budget_reached(&self, server: &ServerSummary, age: i64) -> Option<(i64, f64)> {
        let budget = self.budget.filter(|_| server.hourly > 0.0)?;
        let hours = ((budget - self.spent) / server.hourly).floor().max(0.0) as i64;
        let next_hour = HOUR - age.rem_euclid(HOUR);
        Some((hours.checked_mul(HOUR)?.checked_add(next_hour)?, budget))
    }

    /// Watches a run on a server until `over` is closed. Returns the reason if it has ended the
    /// run. Blocks.
    pub(super) fn watch(
        &self,
        server: &ServerSummary,
        outgoing: &Outgoing,
        terminal: &Terminal,
        over: &Receiver<()>,
    ) -> Option<String> {
        let age = burst_hcloud::Timestamp::now().as_second() - server.created;
        let began = Instant::now();
        for (at, act) in self.acts(server, age) {
            let at = Duration::from_secs(u64::try_from(at).unwrap_or(0));
            if !passes(over, at.saturating_sub(began.elapsed())) {
                return None;
            }
            match act {
                Act::Warn(text) => terminal.warn(&text),
                Act::End(reason) => {
                    terminal.warn(&format!("the run is interrupted: {reason}"));
                    // If the connection is lost, the agent ends the run by itself.
                    drop(outgoing.message(&FromShim::Signal(Signal::SIGINT as i32)));
                    if passes(over, GRACE) {
                        terminal.warn("the run has not ended: it is killed");
                        drop(outgoing.message(&FromShim::Kill));
                    }
                    return Some(reason);
                }
            }
        }
        None
    }
}

/// Waits; false if the run is over before.
fn passes(over: &Receiver<()>, time: Duration) -> bool {
    matches!(over.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

/// The error of a command whose run a limit has ended.
pub(super) fn ended_by_limit(reason: String) -> Error {
    Error::new(
        ErrorKind::CostLimit,
        "the run was ended, since it took as long as your settings allow",
        "raise the setting, or set it for one command by its variable",
    )
    .cause(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(limits: TimeLimits, age: i64) -> Vec<(i64, String)> {
        let (server_type, location) = ("cx53".into(), "hel1".into());
        let server = ServerSummary { server_type, location, created: 0, hourly: 0.5 };
        let shown = |act| match act {
            Act::Warn(text) => text,
            Act::End(reason) => format!("END {reason}"),
        };
        limits.acts(&server, age).into_iter().map(|(at, act)| (at, shown(act))).collect()
    }

    #[test]
    fn the_nearest_limit_is_told_at_four_fifths_and_ends_the_run() {
        let run = TimeLimits { max_run: Some(100), ..TimeLimits::default() };
        let warning = |left: &str, name: &str, max: i64| {
            format!("the run is ended in {left}: `{name}` is {max}; for the next one, raise it")
        };
        assert_eq!(
            acts(run, 0),
            [(80, warning("20 s", "max_run_secs", 100)), (100, "END `max_run_secs` is 100".into())]
        );
        let both = TimeLimits { max_day: Some(1000), used_today: 950, ..run };
        assert_eq!(
            acts(both, 0),
            [(0, warning("50 s", "max_day_secs", 1000)), (50, "END `max_day_secs` is 1000".into())]
        );
        let far = TimeLimits { max_day: Some(1000), used_today: 10, ..run };
        assert_eq!(acts(far, 0), acts(run, 0));
        assert_eq!(acts(TimeLimits::default(), 0), []);
    }

    #[test]
    fn the_hour_that_uses_up_the_budget_is_told() {
        let at = |spent, age| {
            let limits = TimeLimits { budget: Some(40.0), spent, ..TimeLimits::default() };
            acts(limits, age)[0].0
        };
        // Two more hours can be paid: the third is told.
        assert_eq!(at(39.0, 600), 3000 + 2 * HOUR);
        assert_eq!(at(39.6, 600), 3000);
        assert_eq!(at(45.0, 600), 3000);
        let [(_, text)] =
            acts(TimeLimits { budget: Some(40.0), spent: 45.0, ..TimeLimits::default() }, 600)
                .try_into()
                .unwrap();
        assert!(
            text.starts_with("the monthly budget of EUR 40.00 is used up in the hour"),
            "{text}"
        );
    }
}
