//! The commands that do not run cargo.

pub mod config;
