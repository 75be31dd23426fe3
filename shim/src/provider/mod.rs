//! Where agents come from: this machine, or Hetzner.

pub mod hetzner;
pub mod local;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use burst_protocol::FileName;

use crate::connection::Connection;
use crate::keeper::message::Ready;
use crate::keeper::route::KeeperRoute;

/// A log that has grown beyond this is begun anew.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// How a connection came about.
#[derive(Debug)]
pub struct ReachedAgent {
    /// The connection.
    pub connection: Connection,
    /// Whether the agent on this machine was started for it.
    pub started: bool,
    /// The project's own disk; none where projects share the agent's.
    pub device: Option<FileName>,
    /// As long as it is held, the server is in use.
    pub lease: Option<hetzner::Lease>,
}

impl ReachedAgent {
    /// Whether it is a server, and not this machine.
    pub const fn is_remote(&self) -> bool {
        self.lease.is_some()
    }

    /// What has arrived of the server by now, and when.
    pub fn ready(&self) -> Option<(Ready, Instant)> {
        self.connection.route().and_then(KeeperRoute::ready)
    }
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
