//! The books: what exists and existed at Hetzner, what was billed for it, and which commands
//! ran.
//!
//! `record` has the lines, `log` their file, which `archive` keeps small; `bill` is what Hetzner
//! charges for a line, `reconciliation` how a listing of the API corrects the record, `evaluation`
//! and `right_size` what `cargo burst audit` says. All but the file and its archive are pure. The
//! record is never the source of truth about what exists: the API is. It decides what was spent.

mod archive;
mod bill;
mod evaluation;
mod log;
mod reconciliation;
mod record;
mod right_size;
mod sessions;

pub(crate) use self::bill::{Month, Spent, cost, spent};
#[cfg(test)]
pub(crate) use self::evaluation::WhatIf;
pub(crate) use self::evaluation::{Audit, Split, audit};
pub(crate) use self::log::AuditLog;
pub(super) use self::reconciliation::{Listing, has_unknown_end, reconcile, with_deletions};
pub(super) use self::record::recorded;
pub(crate) use self::record::{Closed, Command, Entry, Kind, Place, Rate, Resource};
pub(crate) use self::right_size::{Fit, Holding, Offer, RightSize, right_size};
pub(crate) use self::sessions::seconds_used;
