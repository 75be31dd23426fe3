//! Synchronisation of file trees: scanning, transfer and application of changes.
//!
//! - [`scan`] reads a directory into a manifest. With a [`stat_cache`] it reads only files
//!   that may have changed; [`ignore_rules`] select the files that belong to the tree,
//!   by the rules of the repositories that [`git_directory`] finds.
//! - [`blobs`] transfers file contents, whole or as a [`patch`] on a blob that both ends
//!   hold. [`pack`] stores small blobs in large files.
//! - [`apply`] changes a directory from one state to another. [`clock`] determines the
//!   modification times of changed files. [`root_directory`] confines every access to the
//!   tree. `disk_change` lets tests disturb them.
//! - [`wire`] moves the protocol's frames over any `AsyncRead` and `AsyncWrite`.
//!   [`write_coalescer`] limits the rate of small writes, [`flow_control`] the bytes of a
//!   run's input and output in flight. `task` starts its tasks.
//!
//! The callers decide which state is needed, when to sync, and what to run.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests write files of their own"))]

pub mod apply;
pub mod blobs;
pub mod clock;
#[cfg(not(feature = "simulation"))]
mod disk_change;
#[cfg(feature = "simulation")]
pub mod disk_change;
mod error;
pub mod fingerprint;
pub mod flow_control;
pub mod git_directory;
pub mod ignore_rules;
pub mod pack;
pub mod patch;
pub mod regular_file;
pub mod root_directory;
pub mod scan;
pub mod socket_relay;
pub mod stat_cache;
pub mod tally;
#[cfg(not(feature = "simulation"))]
mod task;
#[cfg(feature = "simulation")]
pub mod task;
pub mod wire;
pub mod write_coalescer;

pub use error::SyncError;
