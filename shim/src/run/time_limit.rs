//! How long a run on a server may take: `max_run_secs`, and what other commands of the day have
//! left of `max_day_secs`. Days are those of UTC, and count the commands of this machine.
//!
//! While `max_day_secs` is set, a run is recorded as it goes on, each minute: one whose command is
//! killed has no other line in the record.
//!
//! At 80 % of a limit one line tells what is left. At the limit the run is interrupted as by
//! Ctrl-C, ten seconds later it is killed; its results come back, and the command fails. A
//! monthly budget that is reached during a run is told and ends nothing: what a build is worth
//! is the user's to say, by these limits. What is spent is read beside the run, when a server that
//! was created for it is in the record.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use burst_protocol::message::FromShim;
use burst_sync::wire::Outgoing;
use nix::sys::signal::Signal;

use crate::directories::Directories;
use crate::error::{Error, ErrorKind};
use crate::hetzner::audit::{AuditLog, Entry, Month, seconds_used, spent};
use crate::hetzner::lease::HOUR;
use crate::hetzner::server::ServerSummary;
use crate::settings::Settings;
use crate::terminal::{Terminal, amount, span};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// How long a run may take to end after it was interrupted.
const GRACE: Duration = Duration::from_secs(10);

/// How often a run that goes on is recorded.
const USE_INTERVAL: Duration = Duration::from_secs(60);

/// The limits of one run on a server, and what was used before it.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeLimits {
    max_run: Option<i64>,
    max_day: Option<i64>,
    /// Seconds of this day in which commands ran on servers.
    used_today: i64,
    budget: Option<f64>,
    /// The record; `None` without a limit.
    log: Option<AuditLog>,
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
        let log = AuditLog::new(&directories.hetzner());
        let used_today = match max_day_secs {
            Some(_) => {
                let now = burst_hcloud::Timestamp::now().as_second();
                seconds_used(&log.read()?, now - now.rem_euclid(DAY))
            }
            None => 0,
        };
        let secs = |limit: Option<u64>| limit.and_then(|secs| i64::try_from(secs).ok());
        let limits = Self {
            max_run: secs(*max_run_secs),
            max_day: secs(*max_day_secs),
            used_today,
            budget: *monthly_budget,
            log: Some(log),
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

    /// What happens in a run that begins `now`, in order, by seconds from its beginning.
    fn acts(&self, server: &ServerSummary, now: i64) -> Vec<(i64, Act)> {
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
        if let Some((at, budget)) = self.budget_reached(server, now) {
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
    fn budget_reached(&self, server: &ServerSummary, now: i64) -> Option<(i64, f64)> {
        let budget = self.budget.filter(|_| server.hourly > 0.0)?;
        let entries = self.log.as_ref()?.read().ok()?;
        let spent = spent(&entries, Month::of(now), now).total;
        let hours = ((budget - spent) / server.hourly).floor().max(0.0) as i64;
        let next_hour = HOUR - (now - server.created).rem_euclid(HOUR);
        Some((hours.checked_mul(HOUR)?.checked_add(next_hour)?, budget))
    }

    /// Records that a run that began at this time goes on, where the day has a limit.
    fn note_use(&self, began: i64) {
        if let (Some(log), Some(_)) = (&self.log, self.max_day) {
            let until = burst_hcloud::Timestamp::now().as_second();
            log.append(&[Entry::Used { began, until }]);
        }
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
        let (now, began) = (burst_hcloud::Timestamp::now().as_second(), Instant::now());
        for (at, act) in self.acts(server, now) {
            let at = Duration::from_secs(u64::try_from(at).unwrap_or(0));
            let left = at.saturating_sub(began.elapsed());
            if !passes_noted(over, left, USE_INTERVAL, || self.note_use(now)) {
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

/// Waits, and calls `note` at the beginning and after each interval; false if the run is over
/// before.
fn passes_noted(
    over: &Receiver<()>,
    time: Duration,
    interval: Duration,
    mut note: impl FnMut(),
) -> bool {
    let mut left = time;
    loop {
        note();
        if left <= interval {
            return passes(over, left);
        }
        if !passes(over, interval) {
            return false;
        }
        left -= interval;
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
    use crate::hetzner::audit::Resource;

    /// A time in the middle of a month (2026-11-15, 12:00 UTC).
    const NOW: i64 = 1_794_744_000;

    /// The acts of a run on a server that was created at this time.
    fn acts(limits: &TimeLimits, created: i64) -> Vec<(i64, String)> {
        let (server_type, location) = ("cx53".into(), "hel1".into());
        let server = ServerSummary { server_type, location, created, hourly: 0.5 };
        let shown = |act| match act {
            Act::Warn(text) => text,
            Act::End(reason) => format!("END {reason}"),
        };
        limits.acts(&server, NOW).into_iter().map(|(at, act)| (at, shown(act))).collect()
    }

    /// A server in the record.
    fn opened(created: i64) -> Entry {
        Entry::Opened(Box::new(Resource::server_of_tests(1, created)))
    }

    #[test]
    fn the_nearest_limit_is_told_at_four_fifths_and_ends_the_run() {
        let run = TimeLimits { max_run: Some(100), ..TimeLimits::default() };
        let warning = |left: &str, name: &str, max: i64| {
            format!("the run is ended in {left}: `{name}` is {max}; for the next one, raise it")
        };
        assert_eq!(
            acts(&run, NOW),
            [(80, warning("20 s", "max_run_secs", 100)), (100, "END `max_run_secs` is 100".into())]
        );
        let both = TimeLimits { max_day: Some(1000), used_today: 950, ..run.clone() };
        assert_eq!(
            acts(&both, NOW),
            [(0, warning("50 s", "max_day_secs", 1000)), (50, "END `max_day_secs` is 1000".into())]
        );
        let far = TimeLimits { max_day: Some(1000), used_today: 10, ..run.clone() };
        assert_eq!(acts(&far, NOW), acts(&run, NOW));
        assert_eq!(acts(&TimeLimits::default(), NOW), []);
    }

    #[test]
    fn the_hour_that_uses_up_the_budget_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::new(directory.path());
        let limits = |budget| TimeLimits {
            budget: Some(budget),
            log: Some(log.clone()),
            ..TimeLimits::default()
        };
        let before = [0.5, 1.6, 2.2].map(limits);
        // The server is created for this very command: its first hour counts.
        let created = NOW - 600;
        log.append(&[opened(created)]);
        let at = before.each_ref().map(|limits| acts(limits, created)[0].0);
        assert_eq!(at, [3000, 3000 + 2 * HOUR, 3000 + 3 * HOUR]);
        let [(_, text)] = acts(&limits(0.4), created).try_into().unwrap();
        assert!(
            text.starts_with("the monthly budget of EUR 0.40 is used up in the hour"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_goes_on_is_recorded_where_the_day_has_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::new(directory.path());
        let of_run = TimeLimits { log: Some(log.clone()), ..TimeLimits::default() };
        of_run.note_use(NOW);
        assert_eq!(log.read().unwrap(), []);
        TimeLimits { max_day: Some(9), ..of_run }.note_use(NOW);
        let [Entry::Used { began: NOW, .. }] = log.read().unwrap()[..] else { panic!("no use") };
        // At the beginning, and after each interval that passes.
        let (running, over) = std::sync::mpsc::channel();
        let (mut noted, interval) = (0, Duration::from_millis(1));
        assert!(passes_noted(&over, 3 * interval, interval, || noted += 1));
        assert_eq!(noted, 3);
        drop(running);
        assert!(!passes_noted(&over, Duration::from_secs(86_400), interval, || noted += 1));
        assert_eq!(noted, 4);
    }
}
