//! `cargo burst audit`: commands that ran on servers, what was paid, and what other settings
//! would have cost.
//!
//! The JSON is documented here. Keys are stable: later versions only add some. Amounts are in
//! the `currency` of the document, without tax; `…_secs` are seconds, in `cold`, `warm` and
//! `verbs` means of one command.
//!
//! ```json
//! { "currency": "EUR", "servers", "started_hours", "cost", "commands", "best_hours",
//!   "cold": { "commands", "reach_secs", "sync_secs", "run_secs", "total_secs" },
//!   "warm": { as cold }, "verbs": { "build": { as cold } },
//!   "rules": [{ "keep_alive_secs", "keep_paid_hour", "started_hours", "cost",
//!               "cold_starts" }] }
//! ```

use serde_json::{Value, json};

use super::context::Context;
use super::render;
use crate::error::Error;
use crate::hetzner::audit::{self, AuditLog};

/// `cargo burst audit`.
pub(crate) fn audit(context: &Context<'_>, rate: Option<f64>) -> Result<(), Error> {
    let log = AuditLog::new(&context.directories.hetzner());
    let entries = log.read()?;
    let now = burst_hcloud::Timestamp::now().as_second();
    let found = audit::audit(&entries, rate, now);
    match context.json {
        true => context.print_json(&document(&found)),
        false => context.print(&render::audit(&found)),
    }
}

/// The JSON document.
fn document(found: &audit::Audit) -> Value {
    let mut value = json!(found);
    value["currency"] = "EUR".into();
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::audit::{Audit, Split, WhatIf};

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
            commands: 1,
            cold: Split::default(),
            warm,
            verbs: [("build".to_owned(), warm)].into(),
            rules: vec![rule],
            best_hours: 1,
        };
        let shown = json!({
            "commands": 1, "reach_secs": 0.5, "sync_secs": 1.5, "run_secs": 2.0, "total_secs": 4.0,
        });
        let none = json!({
            "commands": 0, "reach_secs": 0.0, "sync_secs": 0.0, "run_secs": 0.0, "total_secs": 0.0,
        });
        assert_eq!(
            document(&found),
            json!({
                "currency": "EUR", "servers": 1, "started_hours": 2, "cost": 1.0, "commands": 1,
                "best_hours": 1, "cold": none, "warm": shown, "verbs": { "build": shown },
                "rules": [{
                    "keep_alive_secs": 60, "keep_paid_hour": true, "started_hours": 2,
                    "cost": 1.0, "cold_starts": 1,
                }],
            })
        );
    }
}
