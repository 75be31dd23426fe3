//! A connection to an agent, and the streams on it.
//!
//! Both ends prove by pinned certificates who they are. A [`Connection`] is QUIC, and all that
//! the agent on this machine needs: nothing blocks UDP there. A [`server::ServerConnection`] is
//! TCP with TLS where the network blocks UDP. This module knows nothing of where an agent
//! comes from, nor of the keeper, which passes streams on: what may go through it is
//! `AgentRoute`, above. A stream that survives its connection takes the next ones from a
//! [`reconnect`].

mod attempts;
pub(crate) mod backoff;
pub(crate) mod cancel;
pub(crate) mod current;
mod network;
pub(crate) mod port_probe;
mod race;
pub(crate) mod reconnect;
pub(crate) mod server;
pub(crate) mod tcp_networks;
mod udp_probe;

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use burst_agent::error::AgentError;
use burst_agent::identity::{self, Identity};
use burst_agent::transport::ENDING;
use burst_agent::transport::{self, IdleTimeout};
use burst_protocol::hello::{Preface, Reason, VERSIONS};
use burst_protocol::link::Control;
use burst_protocol::message::{self, FromAgent, FromShim};
use burst_sync::SyncError;
use burst_sync::wire::{self, Incoming, Link, Opening, Outgoing, Successor, Writing};
use quinn::{ConnectError, ConnectionError as QuicError};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind};

/// How long an agent that is known to be there may take to answer a handshake.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long an agent may take for its first bytes on a stream.
const WELCOME_DEADLINE: Duration = Duration::from_secs(10);

/// How long [`Connection::close`] waits at most for its last datagram to leave. Usually that
/// takes some microseconds.
const CLOSE_DEADLINE: Duration = Duration::from_millis(250);

/// Why a handshake has failed that has an answer.
const SLOW: &str = "the handshake was not complete in time";

/// zstd's level towards an agent.
const COMPRESSION_LEVEL: i32 = 3;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An error of a library, as a cause.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an agent cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The keys or certificates of the connection cannot be used.
    #[error("cannot prepare the connection to the agent")]
    Keys(#[source] AgentError),
    /// No answer, or the connection broke.
    #[error("the agent at {address} does not answer")]
    Silent {
        /// The agent's address.
        address: SocketAddr,
        /// The error of the transport; `None` where time ran out and nothing was heard of the
        /// agent.
        source: Option<Source>,
    },
    /// The other end failed to prove its identity, or rejects ours.
    #[error("the process that answers at {address} is not our agent")]
    NotOurs {
        /// The address that answered.
        address: SocketAddr,
        /// The check that failed.
        source: Source,
    },
    /// No protocol version in common.
    #[error(
        "the agent ({agent}) and this cargo-burst ({VERSION}) have no protocol version in common"
    )]
    Version {
        /// The agent's program version.
        agent: String,
        /// The lowest and the highest protocol version of the agent.
        speaks: (u16, u16),
    },
    /// The agent accepts no new requests.
    #[error("the agent is shutting down")]
    Ending,
    /// The stream broke after the agent had answered on it.
    #[error("the connection to the agent was lost")]
    Lost(#[source] SyncError),
    /// The agent answered that it cannot.
    #[error("{}", .0.messages.first().map_or("the agent failed", String::as_str))]
    Refused(message::Failure),
}

impl ConnectionError {
    /// Whether the host is there, and no process listens on the port of TCP.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Silent { source: Some(source), .. } = self else { return false };
        let error = source.downcast_ref::<std::io::Error>();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

/// A connection on which both ends have proved who they are.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    address: SocketAddr,
    idle_timeout: IdleTimeout,
}

/// Says goodbye to an agent on behalf of a process that is about to end.
#[derive(Clone, Debug)]
pub(crate) struct Farewell(quinn::Connection);

/// The other end of a stream: where it is and, on a connection of our own, how that is.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: SocketAddr,
    connection: Option<quinn::Connection>,
    /// How long it may say nothing while an answer is waited for.
    mute_after: Duration,
}

/// One stream: its queues, and the task that writes.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Messages from the agent.
    pub(crate) incoming: Incoming,
    /// Messages to the agent.
    pub(crate) outgoing: Outgoing,
    /// Completes when everything queued has been sent.
    pub(crate) writing: Writing,
    /// The other end.
    pub(crate) peer: Peer,
}

impl Connection {
    /// Connects to an agent whose certificate is known, within `deadline`.
    pub(crate) async fn open(
        address: SocketAddr,
        own: &Identity,
        pinned: CertificateDer<'static>,
        idle_timeout: IdleTimeout,
        deadline: Duration,
    ) -> Result<Self, ConnectionError> {
        let config = identity::client_config(own, pinned, idle_timeout);
        let config = config.map_err(ConnectionError::Keys)?;
        Self::open_with(address, config, idle_timeout, deadline).await
    }

    /// Connects with these settings, which have the same idle timeout.
    async fn open_with(
        address: SocketAddr,
        config: quinn::ClientConfig,
        idle_timeout: IdleTimeout,
        deadline: Duration,
    ) -> Result<Self, ConnectionError> {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = transport::endpoint(local, None)
            .map_err(|error| ConnectionError::Silent { address, source: Some(Box::new(error)) })?;
        Self::over(endpoint, address, config, idle_timeout, deadline).await
    }

    /// Connects from an endpoint of its own.
    pub(crate) async fn over(
        endpoint: quinn::Endpoint,
        address: SocketAddr,
        config: quinn::ClientConfig,
        idle_timeout: IdleTimeout,
        deadline: Duration,
    ) -> Result<Self, ConnectionError> {
        let silent = |source| ConnectionError::Silent { address, source };
        let mut connecting = endpoint
            .connect_with(config, address, identity::server_name())
            .map_err(|error: ConnectError| silent(Some(Box::new(error))))?;
        match tokio::time::timeout(deadline, &mut connecting).await {
            Err(_) => {
                let heard = connecting.handshake_data();
                let is_heard = tokio::time::timeout(Duration::ZERO, heard).await.is_ok();
                Err(silent(is_heard.then(|| SLOW.into())))
            }
            Ok(Err(error)) => Err(broken(address, error)),
            Ok(Ok(connection)) => Ok(Self { endpoint, connection, address, idle_timeout }),
        }
    }

    /// The connection itself, which knows how it has ended.
    pub(crate) const fn quic(&self) -> &quinn::Connection {
        &self.connection
    }

    /// Whether it has been neither closed nor lost, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// The agent's address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a stream that ends with this connection. Its first bytes are queued; no answer is
    /// awaited.
    pub(crate) async fn stream(&self) -> Result<Stream, ConnectionError> {
        let (receive, send) = self.bytes_of_stream().await?;
        Stream::over(receive, send, self.peer())
    }

    /// Opens a stream, as bytes.
    pub(crate) async fn bytes_of_stream(
        &self,
    ) -> Result<(quinn::RecvStream, quinn::SendStream), ConnectionError> {
        let opened = self.connection.open_bi().await;
        let (send, receive) = opened.map_err(|error| broken(self.address, error))?;
        Ok((receive, send))
    }

    /// The other end, as streams of this connection know it.
    pub(crate) fn peer(&self) -> Peer {
        Peer {
            address: self.address,
            connection: Some(self.connection.clone()),
            mute_after: self.idle_timeout.mute_after(),
        }
    }

    /// Completes when the connection is closed or lost.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let connection = self.connection.clone();
        async move { drop(connection.closed().await) }
    }

    /// Asks the agent one question. Blocks: not for async code.
    pub(crate) fn ask(
        &self,
        runtime: &Handle,
        question: &FromShim,
    ) -> Result<FromAgent, ConnectionError> {
        runtime.block_on(self.stream())?.ask(runtime, question)
    }

    /// Bytes sent and received in datagrams, handshakes and retransmissions included.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let stats = self.connection.stats();
        (stats.udp_tx.bytes, stats.udp_rx.bytes)
    }

    /// Datagrams received.
    fn datagrams_heard(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    /// Tells the agent that this end is done, or that it was [aborted](Self::abort).
    /// QUIC would have us stay for three round trips in case that datagram is lost; the
    /// agent's idle timeout covers this, so we stay only until it is sent.
    pub(crate) async fn close(self) {
        self.farewell().say(b"done").await;
        drop(self.endpoint);
    }

    /// What closes the connection if a signal ends this process.
    pub(crate) fn farewell(&self) -> Farewell {
        Farewell(self.connection.clone())
    }

    /// Ends all streams at once, without waiting for anything. The agent is told only if
    /// [`close`](Self::close) follows.
    pub(crate) fn abort(&self) {
        self.connection.close(1_u32.into(), b"aborted");
    }
}

impl Farewell {
    /// Closes the connection, unless that was done, and returns once the datagram that tells
    /// the agent has been handed to the system.
    pub(crate) async fn say(&self, reason: &[u8]) {
        let datagrams = || self.0.stats().udp_tx.datagrams;
        let before = datagrams();
        if matches!(self.0.close_reason(), Some(reason) if reason != QuicError::LocallyClosed) {
            // The agent has closed it, or is gone.
            return;
        }
        self.0.close(0_u32.into(), reason);
        // A closed connection sends nothing but this one datagram. Its task holds the lock of
        // the statistics until the datagram is sent; no event reports that.
        let sent = async {
            while datagrams() == before {
                tokio::task::yield_now().await;
            }
        };
        drop(tokio::time::timeout(CLOSE_DEADLINE, sent).await);
    }
}

impl Peer {
    /// An agent that is reached by way of the keeper.
    pub(crate) fn through_keeper(address: SocketAddr) -> Self {
        let mute_after = IdleTimeout::default().mute_after();
        Self { address, connection: None, mute_after }
    }

    /// Waits for the first bytes of an agent that is there. Blocks: not for async code.
    pub(crate) fn welcome(&self, incoming: &mut Incoming) -> Result<(), ConnectionError> {
        let address = self.address;
        let not_ours = |source| Err(ConnectionError::NotOurs { address, source });
        match incoming.preface_within(WELCOME_DEADLINE) {
            Ok(Preface::Welcome { chosen, .. }) if VERSIONS.contains(&chosen) => Ok(()),
            Ok(Preface::Refuse { reason: Reason::Ending, .. }) => Err(ConnectionError::Ending),
            Ok(Preface::Refuse { lowest, highest, text, .. }) => {
                let (agent, speaks) = (printable(&text), (lowest, highest));
                Err(ConnectionError::Version { agent, speaks })
            }
            Ok(_) => not_ours("its first message is not an agent's".into()),
            Err(error @ SyncError::Preface(_)) => not_ours(Box::new(error)),
            Err(error) => match self.close_reason() {
                // Our certificate is refused only after the handshake is done here.
                Some(reason) => Err(broken(address, reason)),
                None => Err(ConnectionError::Silent { address, source: Some(Box::new(error)) }),
            },
        }
    }

    fn close_reason(&self) -> Option<QuicError> {
        self.connection.as_ref().and_then(quinn::Connection::close_reason)
    }
}

impl Stream {
    /// A stream over the bytes of any transport. Every wait for the agent on it has a
    /// deadline: an agent that works says so.
    pub(crate) fn over(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        peer: Peer,
    ) -> Result<Self, ConnectionError> {
        let connected = wire::connect(read, write, COMPRESSION_LEVEL, Opening::Expected);
        let (mut incoming, outgoing, writing) = connected.map_err(ConnectionError::Lost)?;
        incoming.set_silence_deadline(peer.mute_after);
        Ok(Self { incoming, outgoing, writing, peer })
    }

    /// A stream that survives its connection: `open` names it for the agent, and `successor`
    /// provides the next connections.
    pub(crate) fn resumable(
        link: Link,
        open: Control,
        successor: Box<dyn Successor>,
        peer: Peer,
    ) -> Result<Self, ConnectionError> {
        let (level, opening) = (COMPRESSION_LEVEL, Opening::Expected);
        let connected = wire::connect_resumable(link, level, opening, Some(open), successor);
        let (mut incoming, outgoing, writing) = connected.map_err(ConnectionError::Lost)?;
        incoming.set_silence_deadline(peer.mute_after);
        Ok(Self { incoming, outgoing, writing, peer })
    }

    /// Asks one question, and waits for the answer. Blocks: not for async code.
    fn ask(mut self, runtime: &Handle, question: &FromShim) -> Result<FromAgent, ConnectionError> {
        let lost = ConnectionError::Lost;
        self.outgoing.preface(&Preface::hello(VERSION)).map_err(lost)?;
        self.outgoing.message(question).map_err(lost)?;
        self.peer.welcome(&mut self.incoming)?;
        let mut answer = FromAgent::Working;
        while answer == FromAgent::Working {
            answer = self.incoming.message().map_err(lost)?;
        }
        drop((self.outgoing, self.incoming));
        // The answer is complete; how the stream ends does not change it.
        drop(runtime.block_on(self.writing));
        match answer {
            FromAgent::Failed(failure) => Err(ConnectionError::Refused(failure)),
            answer => Ok(answer),
        }
    }
}

impl From<ConnectionError> for Error {
    /// With hints that hold for any agent. Who knows which agent it is replaces them.
    fn from(error: ConnectionError) -> Self {
        const AGAIN: &str = "run the command again; if that does not help, `cargo burst down` \
             ends the agent and the next command starts a new one";
        let of = |kind, hint: &str| Self::new(kind, error.to_string(), hint);
        match &error {
            ConnectionError::Keys(source) => of(
                ErrorKind::State,
                "`cargo burst down` ends the agent; the next command makes new keys",
            )
            .caused_by(source),
            ConnectionError::Silent { source: None, .. } => {
                of(ErrorKind::AgentSilent, AGAIN).cause("the handshake was not answered in time")
            }
            ConnectionError::Silent { source: Some(source), .. } => {
                of(ErrorKind::AgentSilent, AGAIN).caused_by(source.as_ref())
            }
            ConnectionError::NotOurs { address, source } => Self::new(
                ErrorKind::Identity,
                error.to_string(),
                format!(
                    "stop the process that listens on {address}, or run `cargo burst down`; \
                     then run the command again"
                ),
            )
            .caused_by(source.as_ref()),
            ConnectionError::Version { speaks: (lowest, highest), .. } => {
                let (low, high) = (VERSIONS.start(), VERSIONS.end());
                let hint = if lowest > high {
                    "update this program: `cargo install cargo-burst`"
                } else {
                    "`cargo burst down` ends the old agent; the next command starts a new one"
                };
                of(ErrorKind::Version, hint).cause(format!(
                    "the agent speaks versions {lowest} to {highest}, this program {low} to {high}"
                ))
            }
            ConnectionError::Ending => {
                of(ErrorKind::AgentEnding, AGAIN).cause("it accepts no new requests")
            }
            ConnectionError::Lost(source) => of(ErrorKind::RunLost, AGAIN).caused_by(source),
            ConnectionError::Refused(failure) => {
                let error = of(ErrorKind::RunLost, AGAIN);
                failure.messages.iter().skip(1).fold(error, Self::cause)
            }
        }
    }
}

fn broken(address: SocketAddr, error: QuicError) -> ConnectionError {
    match &error {
        QuicError::ApplicationClosed(close) if close.reason == ENDING => ConnectionError::Ending,
        error if is_identity_error(error) => {
            ConnectionError::NotOurs { address, source: Box::new(error.clone()) }
        }
        _ => ConnectionError::Silent { address, source: Some(Box::new(error)) },
    }
}

/// Whether the other end failed to prove what was pinned, or did not accept us.
fn is_identity_error(error: &QuicError) -> bool {
    // TLS alerts are transport errors from 0x100 on.
    const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
    match error {
        QuicError::TransportError(error) => CRYPTO_ERRORS.contains(&u64::from(error.code)),
        QuicError::ConnectionClosed(close) => CRYPTO_ERRORS.contains(&u64::from(close.error_code)),
        QuicError::VersionMismatch => true,
        _ => false,
    }
}

/// At most 80 characters of a peer's text, none of which can steer a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}
