//! Trees of files to digests to bytes, and back.
//!
//! - [`scan`] reads a directory into a manifest, with a [`stat_cache`] so that
//!   only what may have changed is read; [`ignore_rules`] says what belongs to it.
//! - [`blobs`] moves file contents over a stream, whole or as a [`patch`] on a
//!   content that both ends hold; [`pack`] keeps small ones, many to a file.
//! - [`apply`] brings a directory from one state to the next; [`clock`] says
//!   which time a changed file gets. [`root_directory`] is how trees are touched at all.
//! - [`wire`] moves the protocol's frames over any `AsyncRead` and `AsyncWrite`, at a
//!   [`write_coalescer`] that does not cut them small;
//!   [`flow_control`] bounds what a program writes while nobody reads.
//!
//! Which state is wanted, when to sync and what to run are the callers' affair.

pub mod apply;
pub mod blobs;
pub mod clock;
mod error;
pub mod flow_control;
pub mod ignore_rules;
pub mod pack;
pub mod patch;
pub mod root_directory;
pub mod scan;
pub mod stat_cache;
pub mod wire;
pub mod write_coalescer;

pub use error::SyncError;
