//! Transfers between the two ends: sources go up, results come down.

mod boundary;
mod cargo_lock;
mod decision;
mod dependents;
mod destination;
mod displacement;
pub(crate) mod download;
pub(crate) mod error;
mod file_times;
mod held_target;
mod held_units;
mod journal;
pub(crate) mod leftovers;
mod local_files;
pub(crate) mod process_record;
mod receiving;
mod stale_pages;
pub(crate) mod stream_record;
pub(crate) mod taken;
pub(crate) mod target;
mod temporary_name;
mod unsent_inputs;
pub(crate) mod upload;
pub(crate) mod whole_target;

pub(crate) use self::receiving::{Downloaded, is_beside};
