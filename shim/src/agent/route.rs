//! The way to an agent: a connection of this process, or streams by way of the keeper,
//! whose connection outlives the command.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use burst_sync::wire::Traffic;

use crate::connection::{Connection, Farewell, Peer, Stream};
use crate::error::Error;
use crate::keeper::stream::{KeeperRoute, WAITING_BYTES_MAX};

/// The way to an agent.
#[derive(Debug)]
pub(crate) enum AgentRoute {
    /// A connection of this process.
    Direct(Connection),
    /// The keeper's connection; `carried` counts the bytes of our streams on it.
    Keeper {
        /// Opens streams.
        route: KeeperRoute,
        /// The traffic of the streams opened so far.
        carried: Mutex<Vec<Arc<Traffic>>>,
    },
}

impl AgentRoute {
    /// Streams by way of the keeper.
    pub(crate) fn through_keeper(route: KeeperRoute) -> Self {
        Self::Keeper { route, carried: Mutex::default() }
    }

    /// The keeper's route, if the keeper is on the way.
    pub(crate) const fn keeper(&self) -> Option<&KeeperRoute> {
        match self {
            Self::Direct(_) => None,
            Self::Keeper { route, .. } => Some(route),
        }
    }

    /// The agent's address; unspecified while its server is not there yet.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Direct(connection) => connection.address(),
            Self::Keeper { route, .. } => route.address(),
        }
    }

    /// Opens a stream. Its first bytes are queued; no answer is awaited, and the server
    /// may still be booting.
    pub(crate) async fn stream(&self) -> Result<Stream, Error> {
        let (route, carried) = match self {
            Self::Direct(connection) => return Ok(connection.stream().await?),
            Self::Keeper { route, carried } => (route, carried),
        };
        let peer = Peer::through_keeper(route.address());
        let stream = if route.ready().is_some() {
            let (read, write) = route.open().await?;
            Stream::over(read, write, peer)?
        } else {
            let (ours, waiting) = tokio::io::duplex(WAITING_BYTES_MAX);
            tokio::spawn(route.clone().carry(waiting));
            let (read, write) = tokio::io::split(ours);
            Stream::over(read, write, peer)?
        };
        let traffic = stream.outgoing.traffic().clone();
        carried.lock().unwrap_or_else(PoisonError::into_inner).push(traffic);
        Ok(stream)
    }

    /// Whether the agent is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.address().ip().is_loopback()
    }

    /// Bytes sent and received for this command: datagrams with handshakes and
    /// retransmissions on a connection of its own, the bytes of its streams on the
    /// keeper's.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Direct(connection) => connection.bytes(),
            Self::Keeper { carried, .. } => {
                let carried = carried.lock().unwrap_or_else(PoisonError::into_inner);
                let sum = |of: fn(&Traffic) -> u64| carried.iter().map(|one| of(one)).sum();
                (sum(Traffic::sent), sum(Traffic::received))
            }
        }
    }

    /// Tells the agent that the command is done.
    pub(crate) async fn close(self) {
        if let Self::Direct(connection) = self {
            connection.close().await;
        }
    }

    /// What closes the connection if a signal ends this process; none if the keeper, which
    /// notices our end, is on the way.
    pub(crate) fn farewell(&self) -> Option<Farewell> {
        match self {
            Self::Direct(connection) => Some(connection.farewell()),
            Self::Keeper { .. } => None,
        }
    }

    /// Ends everything at once. Streams by way of the keeper end with their sockets.
    pub(crate) fn abandon(&self) {
        if let Self::Direct(connection) = self {
            connection.abandon();
        }
    }
}
