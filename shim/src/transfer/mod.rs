//! What travels between the two ends: sources up, results down.

pub(crate) mod download;
pub(crate) mod error;
pub(crate) mod upload;
