//! `cargo burst audit`: what was run and paid.

use super::context::Context;
use super::render;
use crate::directories::unusable;
use crate::error::Error;
use crate::hetzner::audit::{self, AuditLog};

/// `cargo burst audit`.
pub(crate) fn audit(context: &Context<'_>, rate: Option<f64>) -> Result<(), Error> {
    let log = AuditLog::new(&context.directories.hetzner());
    let entries = log.read().map_err(|source| unusable("read", log.path(), &source))?;
    let now = burst_hcloud::Timestamp::now().as_second();
    let found = audit::audit(&entries, rate, now);
    match context.json {
        true => context.print_json(&serde_json::json!(found)),
        false => context.print(&render::audit(&found)),
    }
}
