//! Transfers between the two ends: sources go up, results come down.

pub(crate) mod download;
pub(crate) mod error;
pub(crate) mod upload;
