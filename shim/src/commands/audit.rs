//! `cargo burst audit`: commands that ran on servers, what was paid, and what other settings
//! would have cost.
//!
//! The keys of the JSON are those of [`audit::Audit`]; `currency` is added. Durations are
//! means in seconds.

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
        true => {
            let mut value = serde_json::json!(found);
            value["currency"] = "EUR".into();
            context.print_json(&value)
        }
        false => context.print(&render::audit(&found)),
    }
}
