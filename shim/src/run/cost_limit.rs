//! How much a new server may cost, and the question where one costs more: the limits are
//! `--max-cost` and what is left of the monthly budget.
//!
//! Invariant: nothing that costs more is created without a yes, on a terminal or by `--yes`. The
//! price is known to the keeper alone, which refuses a server beyond the limit before it creates
//! anything; so a server that exists already is used without a question. The keeper, too, lowers
//! the limit to what is left of the budget; here the record is read only for a question.

use crate::directories::Directories;
use crate::error::Error;
use crate::hetzner::audit::{self, AuditLog, Month};
use crate::terminal::{Answer, Terminal, amount, can_ask};

/// The limits of one command, in EUR without tax.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CostLimits {
    /// `--max-cost`, of a started hour.
    pub(super) max_cost: Option<f64>,
    /// `monthly_budget`
    pub(super) budget: Option<f64>,
}

impl CostLimits {
    /// The most that the first hour of a new server may cost while nothing of the budget is
    /// spent; `None` without a limit.
    pub(super) fn per_hour(&self) -> Option<f64> {
        self.max_cost.into_iter().chain(self.budget).reduce(f64::min)
    }

    /// Whether a server may be created that the keeper has refused because of its price: by
    /// `--yes`, or by an answer on a terminal. Otherwise the error that ends the command.
    pub(super) fn allow(
        &self,
        refusal: &Error,
        directories: &Directories,
        yes: bool,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        let figures = self.figures(spent_this_month(directories)?);
        let facts = format!("{refusal}; {}", figures.join("; "));
        if yes {
            terminal.say(&format!("{facts}: it is created, since `--yes` is given"));
            return Ok(());
        }
        if can_ask() && terminal.ask(&format!("{facts}. Create it anyway?"), Answer::No) {
            return Ok(());
        }
        let hint = format!("{}; `--yes` creates it all the same", refusal.hint());
        Err(figures.into_iter().fold(refusal.clone(), Error::cause).with_hint(hint))
    }

    /// The limits and what is spent, as shown.
    fn figures(&self, spent: f64) -> Vec<String> {
        let spent = amount(spent);
        let max_cost = self.max_cost.map(|max| format!("`--max-cost` is EUR {}", amount(max)));
        let budget = match self.budget {
            Some(budget) => format!(
                "`monthly_budget` is EUR {}, of which EUR {spent} are spent",
                amount(budget)
            ),
            None => format!("EUR {spent} are spent this month, without a `monthly_budget`"),
        };
        max_cost.into_iter().chain([budget]).collect()
    }
}

/// What everything has cost in this calendar month, by the audit record.
fn spent_this_month(directories: &Directories) -> Result<f64, Error> {
    let log = AuditLog::new(&directories.hetzner());
    let entries = log.read()?;
    let now = burst_hcloud::Timestamp::now().as_second();
    Ok(audit::spent(&entries, Month::of(now), now).total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_holds_and_both_are_shown_with_what_is_spent() {
        let limits = |max_cost, budget| CostLimits { max_cost, budget };
        assert_eq!(limits(None, None).per_hour(), None);
        assert_eq!(limits(Some(1.0), None).per_hour(), Some(1.0));
        assert_eq!(limits(Some(1.0), Some(0.5)).per_hour(), Some(0.5));
        assert_eq!(limits(Some(0.25), Some(40.0)).per_hour(), Some(0.25));
        assert_eq!(limits(None, Some(40.0)).per_hour(), Some(40.0));
        assert_eq!(
            limits(Some(0.25), Some(40.0)).figures(39.5),
            [
                "`--max-cost` is EUR 0.25",
                "`monthly_budget` is EUR 40.00, of which EUR 39.50 are spent"
            ]
        );
        assert_eq!(
            limits(Some(0.25), None).figures(3.0),
            [
                "`--max-cost` is EUR 0.25",
                "EUR 3.00 are spent this month, without a `monthly_budget`"
            ]
        );
    }
}
