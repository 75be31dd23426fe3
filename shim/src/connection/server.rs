//! The connection to the agent of a server: QUIC or, where the network blocks UDP, TCP with TLS.
//!
//! Over TCP each stream is a connection of its own, and there is none in between: whether the
//! agent is still there, the next stream tells. Such a connection counts as open until a stream of
//! it breaks or cannot be opened, UDP is found to pass, this machine is in another network, or an
//! hour has passed; then the transport is chosen again.

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
use tokio::time::Instant;

use super::attempts::ATTEMPT;
use super::network::Network;
use super::race::{First, Lost, Won, race};
use super::tcp_networks::{TCP_FIRST, TcpNetworks};
use super::udp_probe::{PROBE, Verdict, verdict};
use super::{Connection, ConnectionError, Peer, Stream};

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
    dial: TcpDial,
    network: Option<Network>,
    since: Instant,
    /// Whether a stream has broken, or could not be opened, or QUIC works.
    is_outdated: Arc<AtomicBool>,
}

/// How streams over TCP are opened.
#[derive(Debug)]
struct TcpDial {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    idle_timeout: IdleTimeout,
}

impl ServerConnection {
    /// Connects to an agent whose certificate is known; repeats attempts without an answer until
    /// the deadline. Chooses the transport by a race. A network that blocks UDP is remembered once
    /// that is known.
    pub(crate) async fn open(
        address: SocketAddr,
        own: &Identity,
        pinned: &CertificateDer<'static>,
        idle_timeout: IdleTimeout,
        deadline: Duration,
        networks: &Arc<TcpNetworks>,
    ) -> Result<Self, ConnectionError> {
        let keys = ConnectionError::Keys;
        let config = identity::client_config(own, pinned.clone(), idle_timeout).map_err(keys)?;
        let tls = identity::client_tls(own, pinned.clone()).map_err(keys)?;
        let tcp = TcpDial { address, tls: Arc::new(tls), idle_timeout };
        let network = Network::find(address).await;
        let first = match &network {
            Some(network) => networks.first(network).await,
            None => First::Quic,
        };
        let quic = |limit| Connection::open_with(address, config.clone(), idle_timeout, limit);
        let attempts = (quic, |limit| tcp.dial(limit));
        let silent = || ConnectionError::Silent { address, source: None };
        match race(first, deadline, attempts, may_pass, silent).await {
            Ok(Won::Quic(connection)) => {
                if let Some(network) = &network {
                    networks.forget(network).await;
                }
                Ok(Self::Quic(connection))
            }
            Ok(Won::Tcp(_)) => {
                tracing::info!(tried_first = ?first, "connected over TCP");
                let agent = TcpAgent::new(tcp, network);
                if let (First::Quic, Some(network)) = (first, &agent.network) {
                    // No timeout of QUIC ends it earlier.
                    let patient = IdleTimeout { gone_after: PROBE * 2 };
                    let config =
                        identity::client_config(own, pinned.clone(), patient).map_err(keys)?;
                    let quic = Connection::open_with(address, config, patient, PROBE);
                    let (network, networks) = (network.clone(), networks.clone());
                    let is_outdated = agent.is_outdated.clone();
                    tokio::spawn(probe(quic, address, network, networks, is_outdated));
                }
                Ok(Self::Tcp(agent))
            }
            Err(Lost { quic, tcp }) => Err(told(quic, tcp)),
        }
    }

    /// The agent's address.
    pub(crate) const fn address(&self) -> SocketAddr {
        match self {
            Self::Quic(connection) => connection.address(),
            Self::Tcp(agent) => agent.dial.address,
        }
    }

    /// Whether it can be used, as far as is known.
    pub(crate) async fn is_open(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.is_open(),
            Self::Tcp(agent) => agent.is_open().await,
        }
    }

    /// The number of packets that have arrived; `None` over TCP, and if the connection is closed.
    pub(crate) fn datagrams_heard(&self) -> Option<u64> {
        match self {
            Self::Quic(connection) if connection.is_open() => Some(connection.datagrams_heard()),
            Self::Quic(_) | Self::Tcp(_) => None,
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
            Self::Tcp(TcpAgent { dial: TcpDial { address, idle_timeout, .. }, .. }) => {
                let (address, mute_after) = (*address, idle_timeout.mute_after());
                Peer { address, connection: None, mute_after }
            }
        }
    }

    /// Ends all streams of QUIC at once, without waiting for anything. Those over TCP end with
    /// the agent or its server.
    pub(crate) fn abort(&self) {
        match self {
            Self::Quic(connection) => connection.abort(),
            Self::Tcp(agent) => agent.is_outdated.store(true, Ordering::Relaxed),
        }
    }
}

impl TcpAgent {
    fn new(dial: TcpDial, network: Option<Network>) -> Self {
        Self { dial, network, since: Instant::now(), is_outdated: Arc::default() }
    }

    async fn is_open(&self) -> bool {
        !self.is_outdated.load(Ordering::Relaxed)
            && self.since.elapsed() < TCP_FIRST
            && self.network == Network::find(self.dial.address).await
    }

    async fn open_stream(&self) -> Result<Directions, ConnectionError> {
        let dialled = self.dial.dial(ATTEMPT).await;
        let (reader, writer) =
            dialled.inspect_err(|_| self.is_outdated.store(true, Ordering::Relaxed))?;
        let reader = Watched { reader, is_outdated: self.is_outdated.clone() };
        Ok((Box::new(reader), Box::new(writer)))
    }
}

impl TcpDial {
    async fn dial(&self, limit: Duration) -> Result<(Reader, tcp::Writer), ConnectionError> {
        let dialling = tcp::connect(self.address, self.tls.clone(), self.idle_timeout);
        match tokio::time::timeout(limit, dialling).await {
            Ok(Ok(directions)) => Ok(directions),
            Ok(Err(error)) => Err(refused(self.address, error)),
            Err(_) => Err(ConnectionError::Silent { address: self.address, source: None }),
        }
    }
}

/// Finds out whether a network blocks UDP. If it does not, the transport is chosen again.
async fn probe(
    quic: impl Future<Output = Result<Connection, ConnectionError>>,
    address: SocketAddr,
    network: Network,
    networks: Arc<TcpNetworks>,
    is_outdated: Arc<AtomicBool>,
) {
    let probed = quic.await;
    let is_same_network = Network::find(address).await.as_ref() == Some(&network);
    match verdict(probed.as_ref().map(drop), is_same_network) {
        Verdict::Blocks => networks.remember(&network).await,
        Verdict::Passes => {
            networks.forget(&network).await;
            is_outdated.store(true, Ordering::Relaxed);
        }
        Verdict::Nothing => {}
    }
    if let Ok(connection) = probed {
        connection.close().await;
    }
}

/// Whether another attempt of QUIC may succeed: the agent may not listen yet.
const fn may_pass(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Silent { .. })
}

/// The error of the transport that has answered: a host that refuses TCP is there, its agent is
/// not.
fn told(quic: ConnectionError, tcp: ConnectionError) -> ConnectionError {
    match (&quic, &tcp) {
        (ConnectionError::Silent { .. }, refused) if refused.is_refusal() => tcp,
        (ConnectionError::Silent { .. }, ConnectionError::Silent { .. }) => quic,
        (ConnectionError::Silent { .. }, _) => tcp,
        _ => quic,
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
    is_outdated: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = std::task::ready!(Pin::new(&mut self.reader).poll_read(context, buffer));
        if read.is_err() {
            self.is_outdated.store(true, Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP passes where something is answered, whatever it is; where nothing is said of it, what
    /// was known stays.
    #[tokio::test]
    async fn a_probe_that_is_answered_with_an_error_has_passed() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let network = Network::find(address).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let not_ours = ConnectionError::NotOurs { address, source: "another".into() };
        let refused = ConnectionError::Silent {
            address,
            source: Some(Box::new(quinn::ConnectionError::Reset)),
        };
        let own = io::Error::from_raw_os_error(24);
        let own = ConnectionError::Silent { address, source: Some(Box::new(own)) };
        let answered =
            [(ConnectionError::Ending, true), (not_ours, true), (refused, true), (own, false)];
        for (error, passes) in answered {
            let told = error.to_string();
            let networks = Arc::new(TcpNetworks::new(directory.path().join("networks")));
            networks.remember(&network).await;
            let is_outdated = Arc::<AtomicBool>::default();
            let probed = std::future::ready(Err(error));
            probe(probed, address, network.clone(), networks.clone(), is_outdated.clone()).await;
            let first = if passes { First::Quic } else { First::Tcp };
            assert_eq!(networks.first(&network).await, first, "{told}");
            assert_eq!(is_outdated.load(Ordering::Relaxed), passes, "{told}");
        }
    }
}
