//! Connections to the agent on this machine, the first one and those after a break.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burst_agent::identity::{self, Identity};
use burst_agent::transport::IdleTimeout;
use burst_sync::wire::Pending;

use super::presence::Presence;
use crate::agent::notice;
use crate::connection::reconnect::{Dial, DialError, Dialled, failed};
use crate::connection::{Connection, ConnectionError};
use crate::environment;
use crate::terminal::Terminal;

/// How long one attempt to connect again may take: the agent is near.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(2);

/// Dials the agent on this machine again.
#[derive(Debug)]
pub(super) struct LocalDial {
    keys: PathBuf,
    terminal: Arc<Terminal>,
}

impl LocalDial {
    /// The agent with these keys.
    pub(super) fn new(keys: &Path, terminal: &Arc<Terminal>) -> Self {
        Self { keys: keys.to_owned(), terminal: terminal.clone() }
    }
}

impl Dial for LocalDial {
    fn dial(&self) -> Pending<'_, Result<Dialled, DialError>> {
        Box::pin(async {
            let address = match Presence::read(&self.keys) {
                Ok(Presence::Listening { address, .. }) => address,
                // Runs end with their agent.
                Ok(Presence::Absent) => return Err(DialError::Ended),
                Ok(Presence::NotListening) => return Err(failed("the agent does not listen")),
                Err(error) => return Err(failed(error.one_line())),
            };
            let connecting = connecting(&self.keys, address, ATTEMPT_DEADLINE).map_err(failed)?;
            Dialled::on(connecting.await.map_err(failed)?).await
        })
    }

    fn broke(&self, grace: Duration) {
        notice::broke(&self.terminal, grace);
    }

    fn over(&self) {
        notice::over(&self.terminal);
    }
}

/// Connects to the agent whose keys are in this directory, within `deadline`.
pub(super) fn connecting(
    keys: &Path,
    address: SocketAddr,
    deadline: Duration,
) -> Result<impl Future<Output = Result<Connection, ConnectionError>> + use<>, ConnectionError> {
    let own = Identity::load(keys, "shim").map_err(ConnectionError::Keys)?;
    let pinned = identity::load_certificate(keys, "agent").map_err(ConnectionError::Keys)?;
    let idle_timeout = IdleTimeout { gone_after: Duration::from_secs(grace_secs()) };
    Ok(async move { Connection::open(address, &own, pinned, idle_timeout, deadline).await })
}

/// Seconds of silence after which both ends consider the connection lost.
pub(super) fn grace_secs() -> u64 {
    environment::grace_secs(IdleTimeout::default().gone_after.as_secs())
}
