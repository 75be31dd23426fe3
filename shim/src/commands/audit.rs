//! `cargo burst audit`: what was paid, commands that ran on servers and here, and what other
//! settings would have cost.
//!
//! The JSON is documented here. Keys are stable: later versions only add some. Amounts are in
//! the `currency` of the document, without tax; `…_secs` are seconds, in `cold`, `warm`, `here`
//! and `verbs` means of one command.
//!
//! ```json
//! { "currency": "EUR", "servers", "started_hours", "cost", "commands", "best_hours",
//!   "this_month": { "started_hours", "servers", "volumes", "images", "total" },
//!   "previous_month": { as this_month }, "monthly_budget", "budget_left",
//!   "cold": { "commands", "reach_secs", "sync_secs", "run_secs", "total_secs" },
//!   "warm": { as cold }, "here": { as cold }, "verbs": { "build": { as cold } },
//!   "rules": [{ "keep_alive_secs", "keep_paid_hour", "started_hours", "cost",
//!               "cold_starts" }],
//!   "holding": { "hours", "cold_starts", "secs" },
//!   "right_size": { "commands", "run_secs",
//!                   "cheapest": { "server_type", "cores", "cost", "run_secs" },
//!                   "fastest": { as cheapest } } }
//! ```
//!
//! `servers`, `started_hours`, `cost` and what follows from commands are of this installation
//! since its beginning. The months count everything of cargo-burst that it has seen, also of other
//! machines, up to now. `here` are commands by the agent on this machine; `commands`, `cold`,
//! `warm` and `verbs` are those on servers. `monthly_budget` and `budget_left` are `null` without
//! that setting; what is left is negative if more was spent. `holding` is what one more hour
//! after each with a use would have cost and saved, `right_size` is about commands with a known processor time,
//! of the workspace of the working directory, else of all; both are `null` with fewer than ten
//! commands, `right_size` also without today's prices from the API.

use serde_json::{Value, json};

use super::context::Context;
use super::render;
use crate::error::Error;
use crate::hetzner::audit::{self, AuditLog, Entry, RightSize};
use crate::hetzner::credentials::Credentials;
use crate::hetzner::offers::offers;

/// `cargo burst audit`.
pub(crate) fn audit(context: &Context<'_>, rate: Option<f64>) -> Result<(), Error> {
    let log = AuditLog::new(&context.directories.hetzner());
    let entries = log.read_all()?;
    let now = burst_hcloud::Timestamp::now().as_second();
    let found = audit::audit(&entries, rate, now);
    let settings = context.settings(None)?;
    let budget = settings.monthly_budget;
    let offers = Credentials::of(&settings)
        .and_then(|credentials| context.runtime.block_on(offers(&credentials, &settings.region)));
    let workspace = here(&entries);
    let size = offers.and_then(|offers| audit::right_size(&entries, workspace.as_deref(), &offers));
    match context.json {
        true => context.print_json(&document(&found, size.as_ref(), budget)),
        false => context.print(&render::audit(&found, size.as_ref(), workspace.as_deref(), budget)),
    }
}

/// The workspace of the record that the working directory is in; `None`: none is.
fn here(entries: &[Entry]) -> Option<String> {
    let directory = std::env::current_dir().ok()?;
    let workspaces = entries.iter().filter_map(|entry| match entry {
        Entry::Command(command) => Some(&command.workspace),
        _ => None,
    });
    let around = workspaces.filter(|one| !one.is_empty() && directory.starts_with(one));
    around.max_by_key(|one| one.len()).cloned()
}

/// The JSON document.
fn document(found: &audit::Audit, size: Option<&RightSize>, budget: Option<f64>) -> Value {
    let mut value = json!(found);
    value["right_size"] = json!(size);
    value["monthly_budget"] = json!(budget);
    value["budget_left"] = json!(budget.map(|budget| budget - found.this_month.total));
    value["currency"] = "EUR".into();
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::audit::{Audit, Holding, Spent, Split, WhatIf};

    #[test]
    fn the_document_has_the_documented_keys() {
        let warm =
            Split { commands: 1, reach_secs: 0.5, sync_secs: 1.5, run_secs: 2.0, total_secs: 4.0 };
        let rule = WhatIf {
            keep_alive_secs: 60,
            keep_paid_hour: true,
            started_hours: 2,
            cost: 1.0,
            cold_starts: 1,
        };
        let found = Audit {
            servers: 1,
            started_hours: 2,
            cost: 1.0,
            this_month: Spent {
                started_hours: 2,
                servers: 1.0,
                total: 1.5,
                volumes: 0.5,
                images: 0.0,
            },
            previous_month: Spent::default(),
            commands: 1,
            here: Split::default(),
            cold: Split::default(),
            warm,
            verbs: [("build".to_owned(), warm)].into(),
            rules: vec![rule],
            best_hours: 1,
            holding: Some(Holding { hours: 2, cold_starts: 1, secs: 30.0 }),
        };
        let shown = json!({
            "commands": 1, "reach_secs": 0.5, "sync_secs": 1.5, "run_secs": 2.0, "total_secs": 4.0,
        });
        let none: Value = json!({
            "commands": 0, "reach_secs": 0.0, "sync_secs": 0.0, "run_secs": 0.0, "total_secs": 0.0,
        });
        assert_eq!(
            document(&found, None, Some(40.0)),
            json!({
                "currency": "EUR", "servers": 1, "started_hours": 2, "cost": 1.0, "commands": 1,
                "this_month": {
                    "started_hours": 2, "servers": 1.0, "volumes": 0.5, "images": 0.0, "total": 1.5,
                },
                "previous_month": {
                    "started_hours": 0, "servers": 0.0, "volumes": 0.0, "images": 0.0, "total": 0.0,
                },
                "monthly_budget": 40.0, "budget_left": 38.5, "here": none, "right_size": null,
                "holding": { "hours": 2, "cold_starts": 1, "secs": 30.0 },
                "best_hours": 1, "cold": none, "warm": shown, "verbs": { "build": shown },
                "rules": [{
                    "keep_alive_secs": 60, "keep_paid_hour": true, "started_hours": 2,
                    "cost": 1.0, "cold_starts": 1,
                }],
            })
        );
    }
}
