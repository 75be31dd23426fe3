//! The provider of a command's agent.

use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

use super::keep_alive::KeepAlive;
use super::local::{self, LocalAgent};
use super::reached::ReachedAgent;
use super::remote::{self, ServerAgent};
use crate::directories::Directories;
use crate::error::Error;
use crate::hetzner::request::ServerRequest;
use crate::settings::Settings;
use crate::terminal::Terminal;

/// The names of all providers, in paths of the cache.
pub(crate) const NAMES: [&str; 2] = [local::NAME, remote::NAME];

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
            None => Self::Local(LocalAgent::new(directories, keep_alive, settings.local_disk_gb)),
        }
    }

    /// What to tell the user if the command is interrupted: what is made for it and paid for.
    pub(crate) fn pays_for(&self) -> Option<Arc<Mutex<Option<String>>>> {
        match self {
            Self::Local(_) => None,
            Self::Hetzner(server) => Some(server.pays_for()),
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
            (Self::Local(agent), _) => agent.reach(runtime, terminal),
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
