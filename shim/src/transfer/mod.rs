//! What travels between the two ends: sources up, results down.

pub mod download;
pub mod upload;
