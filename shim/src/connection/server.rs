//! The connection to the agent of a server: QUIC or, where the network blocks UDP, TCP with TLS.
//!
//! Over TCP each stream is a connection of its own, and there is none in between: whether the
//! agent is still there, the next stream tells. Such a connection counts as open until a stream of
//! it breaks or cannot be opened, this machine is in another network, or a day has passed; then
//! the transport is chosen again.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use burst_agent::identity::{self, Identity};
use burst_agent::tcp::{self, Reader};
use burst_agent::transport::IdleTimeout;
use burst_protocol::message::{FromAgent, FromShim};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::network::Network;
use super::race::{First, Lost, Won, race};
use super::tcp_networks::TcpNetworks;
use super::{CONNECT_DEADLINE, Connection, ConnectionError, Peer, Stream};

/// The two directions of a stream, as bytes.
pub(crate) type Directions =
    (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

/// The connection to the agent of a server.
#[derive(Debug)]
pub(crate) enum ServerConnection {
    /// A QUIC connection.
    Quic(Connection),
    /// TCP connections, one for each stream.
    Tcp(TcpAgent),
}

/// An agent that is reached over TCP.
#[derive(Debug)]
pub(crate) struct TcpAgent {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    idle_timeout: IdleTimeout,
    network: Option<Network>,
    /// Whether a stream has broken, or could not be opened.
    is_lost: Arc<AtomicBool>,
}

/// Why the agent of a server cannot be reached.
#[derive(Debug)]
pub(crate) struct Unreached {
    quic: ConnectionError,
    tcp: ConnectionError,
}

impl Unreached {
    /// Whether another attempt may succeed: the agent may not listen yet. An answer over TCP
    /// alone does not count against that, since it may come from the network.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self.quic, ConnectionError::Silent { .. })
    }
}

impl From<Unreached> for ConnectionError {
    /// The error of the transport that has answered.
    fn from(Unreached { quic, tcp }: Unreached) -> Self {
        match (&quic, &tcp) {
            (Self::Silent { .. }, error) if !matches!(error, Self::Silent { .. }) => tcp,
            _ => quic,
        }
    }
}

impl ServerConnection {
    /// Connects to an agent whose certificate is known, within `limit`. Chooses the transport by
    /// a race, and remembers a network that blocks UDP.
    pub(crate) async fn open(
        address: SocketAddr,
        own: &Identity,
        pinned: &CertificateDer<'static>,
        idle_timeout: IdleTimeout,
        limit: Duration,
        networks: &TcpNetworks,
    ) -> Result<Self, Unreached> {
        let network = Network::towards(address);
        let first = network.as_ref().map_or(First::Quic, |network| networks.first(network));
        let quic = |limit| Connection::open(address, own, pinned.clone(), idle_timeout, limit);
        let tcp =
            |limit| TcpAgent::open(address, own, pinned, idle_timeout, network.clone(), limit);
        match race(first, limit, quic, tcp).await {
            Ok(Won::Quic(connection)) => {
                if let Some(network) = &network {
                    networks.forget(network);
                }
                Ok(Self::Quic(connection))
            }
            Ok(Won::Tcp(agent)) => {
                tracing::info!(tried_first = ?first, "connected over TCP");
                if let (First::Quic, Some(network)) = (first, &network) {
                    networks.remember(network);
                }
                Ok(Self::Tcp(agent))
            }
            Err(Lost { quic, tcp }) => Err(Unreached { quic, tcp }),
        }
    }

    /// The agent's address.
    pub(crate) const fn address(&self) -> SocketAddr {
        match self {
            Self::Quic(connection) => connection.address(),
            Self::Tcp(agent) => agent.address,
        }
    }

    /// Whether it can be used, as far as is known.
    pub(crate) fn is_open(&self, networks: &TcpNetworks) -> bool {
        match self {
            Self::Quic(connection) => connection.is_open(),
            Self::Tcp(agent) => agent.is_open(networks),
        }
    }

    /// The network in which it is over TCP.
    pub(crate) const fn tcp_network(&self) -> Option<&Network> {
        match self {
            Self::Quic(_) => None,
            Self::Tcp(agent) => agent.network.as_ref(),
        }
    }

    /// Opens a stream.
    pub(crate) async fn open_stream(&self) -> Result<Directions, ConnectionError> {
        match self {
            Self::Quic(connection) => {
                let (receive, send) = connection.bytes_of_stream().await?;
                Ok((Box::new(receive), Box::new(send)))
            }
            Self::Tcp(agent) => agent.open_stream().await,
        }
    }

    /// Asks the agent one question. Blocks: not for async code.
    pub(crate) fn ask(
        &self,
        runtime: &Handle,
        question: &FromShim,
    ) -> Result<FromAgent, ConnectionError> {
        let stream = runtime.block_on(async {
            let (read, write) = self.open_stream().await?;
            Stream::over(read, write, self.peer())
        })?;
        stream.ask(runtime, question)
    }

    fn peer(&self) -> Peer {
        match self {
            Self::Quic(connection) => connection.peer(),
            Self::Tcp(TcpAgent { address, idle_timeout, .. }) => {
                let (address, mute_after) = (*address, idle_timeout.mute_after());
                Peer { address, connection: None, mute_after }
            }
        }
    }

    /// Ends all streams of QUIC at once, without waiting for anything. Those over TCP end with
    /// the agent or its server.
    pub(crate) fn abandon(&self) {
        match self {
            Self::Quic(connection) => connection.abandon(),
            Self::Tcp(agent) => agent.is_lost.store(true, Ordering::Relaxed),
        }
    }
}

impl TcpAgent {
    /// Shows that an agent answers. Each stream has a connection of its own.
    async fn open(
        address: SocketAddr,
        own: &Identity,
        pinned: &CertificateDer<'static>,
        idle_timeout: IdleTimeout,
        network: Option<Network>,
        limit: Duration,
    ) -> Result<Self, ConnectionError> {
        let tls = identity::client_tls(own, pinned.clone()).map_err(ConnectionError::Keys)?;
        let (tls, is_lost) = (Arc::new(tls), Arc::default());
        let agent = Self { address, tls, idle_timeout, network, is_lost };
        agent.dial(limit).await?;
        Ok(agent)
    }

    fn is_open(&self, networks: &TcpNetworks) -> bool {
        let is_first = |network| networks.first(network) == First::Tcp;
        !self.is_lost.load(Ordering::Relaxed)
            && self.network == Network::towards(self.address)
            && self.network.as_ref().is_none_or(is_first)
    }

    async fn dial(&self, limit: Duration) -> Result<(Reader, tcp::Writer), ConnectionError> {
        let dialling = tcp::connect(self.address, self.tls.clone(), self.idle_timeout);
        match tokio::time::timeout(limit, dialling).await {
            Ok(Ok(directions)) => Ok(directions),
            Ok(Err(error)) => Err(refused(self.address, error)),
            Err(_) => Err(ConnectionError::Silent { address: self.address, source: None }),
        }
    }

    async fn open_stream(&self) -> Result<Directions, ConnectionError> {
        let dialled = self.dial(CONNECT_DEADLINE).await;
        let (reader, writer) =
            dialled.inspect_err(|_| self.is_lost.store(true, Ordering::Relaxed))?;
        let reader = Watched { reader, is_lost: self.is_lost.clone() };
        Ok((Box::new(reader), Box::new(writer)))
    }
}

fn refused(address: SocketAddr, error: io::Error) -> ConnectionError {
    let is_of_tls =
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
    match is_of_tls {
        true => ConnectionError::NotOurs { address, source: Box::new(error) },
        false => ConnectionError::Silent { address, source: Some(Box::new(error)) },
    }
}

/// A direction of a stream whose break is noted.
struct Watched {
    reader: Reader,
    is_lost: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = std::task::ready!(Pin::new(&mut self.reader).poll_read(context, buffer));
        if read.is_err() {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}
