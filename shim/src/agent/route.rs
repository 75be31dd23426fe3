//! The way to an agent: a connection of this process, or streams by way of the keeper,
//! whose connection outlives the command.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use burst_protocol::link::StreamId;
use burst_sync::wire::{Link, Traffic};

use crate::connection::current::CurrentConnection;
use crate::connection::reconnect::{Dial, Reconnect};
use crate::connection::{Connection, Peer, Stream};
use crate::error::Error;
use crate::keeper::stream::{KeeperRoute, WAITING_BYTES_MAX};

/// The way to an agent.
#[derive(Debug)]
pub(crate) struct AgentRoute {
    way: Way,
    /// Dials again when a connection has broken.
    dial: Arc<dyn Dial>,
}

#[derive(Debug)]
enum Way {
    /// A connection of this process.
    Direct(Arc<CurrentConnection>),
    /// The keeper's connection; `carried` counts the bytes of our streams on it.
    Keeper {
        /// Opens streams.
        route: KeeperRoute,
        /// The traffic of the streams opened so far.
        carried: Mutex<Vec<Arc<Traffic>>>,
    },
}

impl AgentRoute {
    /// A connection of this process.
    pub(crate) fn direct(connection: Connection, dial: Arc<dyn Dial>) -> Self {
        Self { way: Way::Direct(Arc::new(CurrentConnection::new(connection))), dial }
    }

    /// Streams by way of the keeper.
    pub(crate) fn through_keeper(route: KeeperRoute, dial: Arc<dyn Dial>) -> Self {
        Self { way: Way::Keeper { route, carried: Mutex::default() }, dial }
    }

    /// The keeper's route, if the keeper is on the way.
    pub(crate) const fn keeper(&self) -> Option<&KeeperRoute> {
        match &self.way {
            Way::Direct(_) => None,
            Way::Keeper { route, .. } => Some(route),
        }
    }

    /// The agent's address; unspecified while its server is not there yet.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.way {
            Way::Direct(current) => current.get().address(),
            Way::Keeper { route, .. } => route.address(),
        }
    }

    /// Opens a stream of this name that goes on, when its connection breaks, on another one within
    /// `grace_secs`. Its first bytes are queued; no answer is awaited, and the server may still
    /// be booting.
    pub(crate) async fn stream(&self, id: StreamId, grace_secs: u32) -> Result<Stream, Error> {
        let current = match &self.way {
            Way::Direct(current) => Some(current.clone()),
            Way::Keeper { .. } => None,
        };
        let reconnect = Reconnect::new(id, grace_secs, self.dial.clone(), current);
        let open = reconnect.open();
        let stream = |link, peer| Stream::resumable(link, open, Box::new(reconnect), peer);
        let (route, carried) = match &self.way {
            Way::Direct(current) => {
                let connection = current.get();
                let (read, write) = connection.bytes_of_stream().await?;
                let link = Link::new(read, write).closed_by(connection.closed());
                return Ok(stream(link, connection.peer())?);
            }
            Way::Keeper { route, carried } => (route, carried),
        };
        let peer = Peer::through_keeper(route.address());
        let link = if route.ready().is_some() {
            let (read, write) = route.open().await?;
            Link::new(read, write)
        } else {
            let (ours, waiting) = tokio::io::duplex(WAITING_BYTES_MAX);
            tokio::spawn(route.clone().carry(waiting));
            let (read, write) = tokio::io::split(ours);
            Link::new(read, write)
        };
        let stream = stream(link, peer)?;
        let traffic = stream.outgoing.traffic().clone();
        carried.lock().unwrap_or_else(PoisonError::into_inner).push(traffic);
        Ok(stream)
    }

    /// Opens a stream that ends with its connection, for a connection that is forwarded. Its bytes
    /// are not counted where the keeper is on the way.
    pub(crate) async fn stream_of_connection(&self) -> Result<Stream, Error> {
        match &self.way {
            Way::Direct(current) => Ok(current.get().stream().await?),
            Way::Keeper { route, .. } => {
                let (read, write) = route.open().await?;
                Ok(Stream::over(read, write, Peer::through_keeper(route.address()))?)
            }
        }
    }

    /// Whether the agent is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.address().ip().is_loopback()
    }

    /// Bytes sent and received for this command: datagrams with handshakes and
    /// retransmissions on connections of its own, the bytes of its streams on the keeper's.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        match &self.way {
            Way::Direct(current) => current.bytes(),
            Way::Keeper { carried, .. } => {
                let carried = carried.lock().unwrap_or_else(PoisonError::into_inner);
                let sum = |of: fn(&Traffic) -> u64| carried.iter().map(|one| of(one)).sum();
                (sum(Traffic::sent), sum(Traffic::received))
            }
        }
    }

    /// Tells the agent that the command is done.
    pub(crate) async fn close(self) {
        if let Way::Direct(current) = self.way {
            current.get().close().await;
        }
    }

    /// The connection, to be closed if a signal ends this process; none if the keeper, which
    /// notices our end, is on the way.
    pub(crate) fn current(&self) -> Option<Arc<CurrentConnection>> {
        match &self.way {
            Way::Direct(current) => Some(current.clone()),
            Way::Keeper { .. } => None,
        }
    }

    /// Ends everything at once. Streams by way of the keeper end with their sockets.
    pub(crate) fn abort(&self) {
        if let Way::Direct(current) = &self.way {
            current.get().abort();
        }
    }
}
