//! How much a new server may cost: the smaller of `--max-cost` and what is left of the
//! monthly budget.

use crate::directories::Directories;
use crate::error::{Error, ErrorKind};
use crate::hetzner::audit::{self, AuditLog};
use crate::settings::Settings;
use crate::terminal::{Answer, Terminal, can_ask};

/// The most that the first hour of a new server may cost, in EUR without tax; `None`
/// without a limit. Asks on a terminal, and fails elsewhere, where the budget is used up.
pub(super) fn cost_limit(
    directories: &Directories,
    settings: &Settings,
    max_cost: Option<f64>,
    terminal: &Terminal,
) -> Result<Option<f64>, Error> {
    let Some(budget) = settings.monthly_budget else { return Ok(max_cost) };
    let left = budget - spent_this_month(directories)?;
    if left > 0.0 {
        return Ok(Some(max_cost.map_or(left, |max_cost| max_cost.min(left))));
    }
    let message = format!("the monthly budget is exceeded by EUR {:.2}", left.abs());
    if can_ask() && terminal.ask(&format!("{message}. Create a server anyway?"), Answer::No) {
        return Ok(max_cost);
    }
    Err(Error::new(
        ErrorKind::CostLimit,
        message,
        "raise `monthly_budget`, or wait for the next calendar month",
    )
    .cause(format!("`monthly_budget` is EUR {budget:.2}")))
}

/// What servers have cost in this calendar month, by the audit record.
fn spent_this_month(directories: &Directories) -> Result<f64, Error> {
    let log = AuditLog::new(&directories.hetzner());
    let entries = log.read()?;
    let now = burst_hcloud::Timestamp::now();
    Ok(audit::spent_since(&entries, audit::month_of(now), now.as_second()))
}
