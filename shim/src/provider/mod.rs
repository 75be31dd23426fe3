//! Where agents come from: this machine, or Hetzner.

pub mod hetzner;
pub mod local;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use burst_protocol::FileName;

use crate::connection::Connection;
use crate::hetzner::account::ServerSummary;

/// A log that has grown beyond this is begun anew.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// How a connection came about.
#[derive(Debug)]
pub struct Reached {
    /// The connection.
    pub connection: Connection,
    /// Whether the agent was started for it.
    pub started: bool,
    /// The project's own disk; none where projects share the agent's.
    pub device: Option<FileName>,
    /// The server; none: this machine.
    pub server: Option<ServerSummary>,
    /// As long as it is held, the server is in use.
    pub lease: Option<hetzner::Lease>,
}

/// Opens a log of a process that outlives us, private and not too long.
pub fn log_file(path: &Path) -> std::io::Result<File> {
    let large = std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX);
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    if large {
        std::fs::remove_file(path)?;
    }
    options.open(path)
}
