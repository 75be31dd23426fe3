//! An agent that was reached, or whose server is on its way.

use std::sync::mpsc;
use std::time::Instant;

use burst_protocol::FileName;

use super::route::AgentRoute;
use crate::keeper::message::Ready;
use crate::keeper::stream::KeeperRoute;

/// A command's hold on a server: it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    _end: mpsc::Sender<()>,
}

impl Lease {
    /// A hold whose end the receiver sees: the channel closes.
    pub(crate) const fn new(end: mpsc::Sender<()>) -> Self {
        Self { _end: end }
    }
}

/// An agent that was reached, or whose server is on its way.
#[derive(Debug)]
pub(crate) struct ReachedAgent {
    /// The way to it.
    pub(crate) connection: AgentRoute,
    /// Whether the agent on this machine was started for this command.
    pub(crate) started: bool,
    /// The project's own disk; `None` where projects share the agent's.
    pub(crate) device: Option<FileName>,
    /// Keeps the server from being deleted.
    pub(crate) lease: Option<Lease>,
}

impl ReachedAgent {
    /// Whether the agent is on a server.
    pub(crate) const fn is_remote(&self) -> bool {
        self.lease.is_some()
    }

    /// The server and when it was ready, if it has one and it is ready by now.
    pub(crate) fn ready(&self) -> Option<(Ready, Instant)> {
        self.connection.keeper().and_then(KeeperRoute::ready)
    }
}
