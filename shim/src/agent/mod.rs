//! Where agents come from: this machine, or a server at Hetzner.

pub(crate) mod local;
pub(crate) mod remote;
pub(crate) mod route;

use std::sync::{Arc, mpsc};
use std::time::Instant;

use burst_protocol::FileName;
use tokio::runtime::Handle;

use self::local::LocalAgent;
use self::remote::ServerAgent;
use self::route::AgentRoute;
use crate::directories::Directories;
use crate::error::Error;
use crate::hetzner::request::ServerRequest;
use crate::keeper::message::Ready;
use crate::keeper::stream::KeeperRoute;
use crate::settings::Settings;
use crate::terminal::Terminal;

/// How long an idle agent, and the server it is on, stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// So many seconds after the last command.
    Seconds(u64),
    /// Until `cargo burst down`.
    UntilDown,
}

impl KeepAlive {
    /// In seconds, for an agent, which knows no other end: longer than any machine lives.
    pub(crate) const fn as_secs(self) -> u64 {
        const FOREVER_SECS: u64 = u64::MAX >> 1;
        match self {
            Self::Seconds(secs) => secs,
            Self::UntilDown => FOREVER_SECS,
        }
    }

    /// In seconds, for a lease; `None` where it has no end.
    pub(crate) fn lease_secs(self) -> Option<i64> {
        match self {
            Self::Seconds(secs) => Some(i64::try_from(secs).unwrap_or(i64::MAX / 4)),
            Self::UntilDown => None,
        }
    }
}

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

/// Where the agent of a command comes from.
#[derive(Debug)]
pub(crate) enum Provider {
    /// An agent on this machine.
    Local(LocalAgent),
    /// The agent of a server, which the keeper provides.
    Hetzner(ServerAgent),
}

impl Provider {
    /// A server where the settings have a token, else this machine.
    pub(crate) fn of(
        directories: &Directories,
        settings: &Settings,
        keep_alive: KeepAlive,
    ) -> Self {
        match ServerAgent::of(directories, settings) {
            Some(server) => Self::Hetzner(server),
            None => Self::Local(LocalAgent::new(directories, keep_alive)),
        }
    }

    /// The provider's name, in paths of the cache.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => local::NAME,
            Self::Hetzner(_) => remote::NAME,
        }
    }

    /// Reaches the agent; `anew` where the connection at hand does not work. Of a server
    /// it returns as soon as the project's disk is known, while it still boots.
    pub(crate) fn reach(
        &self,
        runtime: &Handle,
        request: Option<&ServerRequest>,
        anew: bool,
        terminal: &Arc<Terminal>,
    ) -> Result<ReachedAgent, Error> {
        match (self, request) {
            (Self::Hetzner(server), Some(request)) => {
                server.reach(runtime, request, anew, terminal)
            }
            (Self::Hetzner(_), None) => Err(remote::invalid("no server was requested")),
            (Self::Local(agent), _) => agent.reach(runtime),
        }
    }

    /// Waits until an agent that is shutting down has exited. The keeper replaces that of
    /// a server by itself.
    pub(crate) fn wait_until_ended(&self) -> Result<(), Error> {
        match self {
            Self::Local(agent) => agent.wait_until_ended(),
            Self::Hetzner(_) => Ok(()),
        }
    }
}
