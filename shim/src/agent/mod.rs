//! Where agents come from: this machine, or Hetzner.

pub mod local;
pub mod remote;

use std::sync::mpsc;
use std::time::Instant;

use burst_protocol::FileName;

use crate::connection::Connection;
use crate::keeper::message::Ready;
use crate::keeper::stream::KeeperRoute;

/// A command's hold on the server: it ends when this is dropped.
#[derive(Debug)]
pub struct Lease {
    _end: mpsc::Sender<()>,
}

impl Lease {
    /// A hold whose end the receiver sees: the channel closes.
    pub const fn new(end: mpsc::Sender<()>) -> Self {
        Self { _end: end }
    }
}

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
    pub lease: Option<Lease>,
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
