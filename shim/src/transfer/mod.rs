//! Transfers between the two ends: sources go up, results come down.

mod boundary;
mod decision;
pub(crate) mod download;
pub(crate) mod error;
pub(crate) mod leftovers;
mod local_files;
#[cfg(not(test))]
mod process_record;
#[cfg(test)]
pub(crate) mod process_record;
mod receiving;
mod stale_pages;
pub(crate) mod taken;
pub(crate) mod target;
pub(crate) mod upload;

pub(crate) use self::receiving::{Downloaded, is_beside};
