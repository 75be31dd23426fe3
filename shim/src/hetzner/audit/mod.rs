//! The books: what exists and existed at Hetzner, what was billed for it, and which commands
//! ran.
//!
//! `record` is the file, `bill` what Hetzner charges for a line of it, `reconciliation` how a
//! listing of the API corrects it, `evaluation` and
//! `right_size` what `cargo burst audit` says. All but the
//! file are pure. The record is never the source of truth about what exists: the API is. It
//! decides what was spent.

mod bill;
mod evaluation;
mod reconciliation;
mod record;
mod right_size;
mod sessions;

pub(crate) use self::bill::{Month, Spent, cost, spent};
#[cfg(test)]
pub(crate) use self::evaluation::WhatIf;
pub(crate) use self::evaluation::{Audit, Split, audit};
pub(super) use self::reconciliation::{Listing, has_unknown_end, reconcile, with_deletions};
pub(super) use self::record::recorded;
pub(crate) use self::record::{AuditLog, Closed, Command, Entry, Kind, Place, Rate, Resource};
pub(crate) use self::right_size::{Fit, Holding, Offer, RightSize, right_size};
pub(crate) use self::sessions::seconds_used;
