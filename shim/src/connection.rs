//! The connection to an agent, and streams on it.
//!
//! It is our own, or the keeper's, which outlives us: then each stream is a socket to
//! the keeper, which passes the bytes on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burst_agent::identity::{self, Identity};
use burst_agent::transport::ENDING;
use burst_agent::transport::{self, IdleTimeout};
use burst_protocol::hello::{Preface, Reason, VERSIONS};
use burst_protocol::message::{FromAgent, FromShim};
use burst_sync::SyncError;
use burst_sync::wire::{self, Incoming, Opening, Outgoing, Traffic, Writing};
use quinn::{ConnectError, ConnectionError};
use tokio::runtime::Handle;

use crate::failure::Failure;
use crate::keeper::route::{KeeperRoute, WAITING_BYTES_MAX};

/// How long an agent that is known to be there may take to answer a handshake.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long an agent may take for its first bytes on a stream.
const WELCOME_DEADLINE: Duration = Duration::from_secs(10);

/// How long it takes at most to hand the last datagram to the kernel.
const GOODBYE: Duration = Duration::from_millis(3);

/// zstd's level towards an agent.
const COMPRESSION_LEVEL: i32 = 3;

/// Our program version, for people.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A connection on which both ends have proved who they are.
#[derive(Debug)]
pub struct Connection {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// A QUIC connection of this process.
    Own { endpoint: quinn::Endpoint, connection: quinn::Connection, address: SocketAddr },
    /// The keeper's, and the bytes of our streams on it.
    Keepers { route: KeeperRoute, carried: Mutex<Vec<Arc<Traffic>>> },
}

/// One stream: its queues and the task that writes.
#[derive(Debug)]
pub struct Stream {
    /// From the agent.
    pub incoming: Incoming,
    /// To the agent.
    pub outgoing: Outgoing,
    /// Done when all is sent.
    pub writing: Writing,
}

impl Connection {
    /// Connects to an agent whose certificate is known.
    pub async fn open(
        address: SocketAddr,
        own: &Identity,
        pinned: rustls::pki_types::CertificateDer<'static>,
        idle_timeout: IdleTimeout,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let config = identity::client_config(own, pinned, idle_timeout).map_err(Failure::Keys)?;
        let silent = |source| Failure::Silent { address, source };
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint =
            transport::endpoint(local, None).map_err(|error| silent(Some(Box::new(error))))?;
        let connecting = endpoint
            .connect_with(config, address, identity::server_name())
            .map_err(|error: ConnectError| silent(Some(Box::new(error))))?;
        let connection = match tokio::time::timeout(deadline, connecting).await {
            Err(_) => return Err(silent(None)),
            Ok(Err(error)) if is_stranger(&error) => {
                return Err(Failure::NotOurs { address, source: Box::new(error) });
            }
            Ok(Err(error)) => return Err(silent(Some(Box::new(error)))),
            Ok(Ok(connection)) => connection,
        };
        Ok(Self { way: Way::Own { endpoint, connection, address } })
    }

    /// Streams by way of the keeper.
    pub fn through(route: KeeperRoute) -> Self {
        Self { way: Way::Keepers { route, carried: Mutex::default() } }
    }

    /// The keeper's route, if this is one.
    pub const fn route(&self) -> Option<&KeeperRoute> {
        match &self.way {
            Way::Own { .. } => None,
            Way::Keepers { route, .. } => Some(route),
        }
    }

    /// The QUIC connection, if it is our own.
    pub const fn quic(&self) -> Option<&quinn::Connection> {
        match &self.way {
            Way::Own { connection, .. } => Some(connection),
            Way::Keepers { .. } => None,
        }
    }

    /// Whether it has not been closed or lost, as far as is known.
    pub fn is_open(&self) -> bool {
        self.quic().is_none_or(|connection| connection.close_reason().is_none())
    }

    /// Where the agent is.
    pub fn address(&self) -> SocketAddr {
        match &self.way {
            Way::Own { address, .. } => *address,
            Way::Keepers { route, .. } => route.address(),
        }
    }

    /// Opens a stream; its first bytes are queued, nothing is awaited.
    pub async fn stream(&self) -> Result<Stream, Failure> {
        let connected = match &self.way {
            Way::Own { connection, .. } => {
                let opened = connection.open_bi().await;
                let (send, receive) = opened.map_err(|error| self.broken(error))?;
                wire::connect(receive, send, COMPRESSION_LEVEL, Opening::Expected)
            }
            Way::Keepers { route, .. } if route.ready().is_some() => {
                let (receive, send) = route.open().await?;
                wire::connect(receive, send, COMPRESSION_LEVEL, Opening::Expected)
            }
            Way::Keepers { route, .. } => {
                let (ours, waiting) = tokio::io::duplex(WAITING_BYTES_MAX);
                tokio::spawn(route.clone().carry(waiting));
                let (receive, send) = tokio::io::split(ours);
                wire::connect(receive, send, COMPRESSION_LEVEL, Opening::Expected)
            }
        };
        let (incoming, outgoing, writing) =
            connected.map_err(|source| Failure::Lost { started: false, source })?;
        if let Way::Keepers { carried, .. } = &self.way {
            carried.lock().unwrap_or_else(PoisonError::into_inner).push(outgoing.traffic().clone());
        }
        Ok(Stream { incoming, outgoing, writing })
    }

    /// Asks an agent one question. Not within async code.
    pub fn ask(&self, runtime: &Handle, question: &FromShim) -> Result<FromAgent, Failure> {
        let Stream { mut incoming, outgoing, writing } = runtime.block_on(self.stream())?;
        let lost = |source| Failure::Lost { started: false, source };
        outgoing.preface(&Preface::hello(VERSION)).map_err(lost)?;
        outgoing.message(question).map_err(lost)?;
        self.welcome(&mut incoming)?;
        let answer = incoming.message().map_err(lost)?;
        drop(outgoing);
        // The answer is what matters.
        drop(runtime.block_on(writing));
        match answer {
            FromAgent::Failed(failure) => Err(Failure::Agent(failure)),
            answer => Ok(answer),
        }
    }

    /// Waits for the first bytes of an agent that is there. Not within async code.
    pub fn welcome(&self, incoming: &mut Incoming) -> Result<(), Failure> {
        match incoming.preface_within(WELCOME_DEADLINE) {
            Ok(Preface::Welcome { chosen, .. }) if VERSIONS.contains(&chosen) => Ok(()),
            Ok(Preface::Refuse { reason: Reason::Ending, .. }) => Err(Failure::AgentEnding),
            Ok(Preface::Refuse { lowest, highest, text, .. }) => Err(Failure::Version {
                agent: printable(&text),
                speaks: (lowest, highest),
                own: VERSION,
                agent_is_newer: lowest > *VERSIONS.end(),
            }),
            Ok(_) => Err(Failure::NotOurs {
                address: self.address(),
                source: "its first message is not an agent's".into(),
            }),
            Err(error @ SyncError::Preface(_)) => {
                Err(Failure::NotOurs { address: self.address(), source: Box::new(error) })
            }
            Err(error) => match self.quic().and_then(quinn::Connection::close_reason) {
                // Our certificate is refused only after the handshake is done here.
                Some(reason) => Err(self.broken(reason)),
                None => {
                    Err(Failure::Silent { address: self.address(), source: Some(Box::new(error)) })
                }
            },
        }
    }

    /// Whether the agent is on this machine.
    pub fn is_local(&self) -> bool {
        self.address().ip().is_loopback()
    }

    /// Bytes sent and received for us: datagrams with handshakes and retransmissions, or
    /// what our streams carried on the keeper's connection.
    pub fn bytes(&self) -> (u64, u64) {
        match &self.way {
            Way::Own { connection, .. } => {
                let stats = connection.stats();
                (stats.udp_tx.bytes, stats.udp_rx.bytes)
            }
            Way::Keepers { carried, .. } => {
                let carried = carried.lock().unwrap_or_else(PoisonError::into_inner);
                let sum = |of: fn(&Traffic) -> u64| carried.iter().map(|one| of(one)).sum();
                (sum(Traffic::sent), sum(Traffic::received))
            }
        }
    }

    /// Says goodbye, so that the agent does not wait for us. QUIC would have us
    /// stay for three round trips in case the goodbye is lost; the agent then
    /// notices by itself, so we only stay until it is sent.
    pub async fn close(self) {
        if let Way::Own { endpoint, connection, .. } = self.way {
            connection.close(0_u32.into(), b"done");
            // Elapsed or not, it is on its way.
            drop(tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await);
        }
    }

    /// Ends everything at once. Streams by way of the keeper end with their sockets.
    pub fn abandon(&self) {
        if let Way::Own { connection, .. } = &self.way {
            connection.close(1_u32.into(), b"abandoned");
        }
    }

    fn broken(&self, error: ConnectionError) -> Failure {
        let address = self.address();
        if matches!(&error, ConnectionError::ApplicationClosed(close) if close.reason == ENDING) {
            return Failure::AgentEnding;
        }
        if is_stranger(&error) {
            return Failure::NotOurs { address, source: Box::new(error) };
        }
        Failure::Silent { address, source: Some(Box::new(error)) }
    }
}

/// Whether the other end failed to prove what was pinned, or did not accept us.
fn is_stranger(error: &ConnectionError) -> bool {
    // TLS alerts are transport errors from 0x100 on.
    const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
    match error {
        ConnectionError::TransportError(error) => CRYPTO_ERRORS.contains(&u64::from(error.code)),
        ConnectionError::ConnectionClosed(close) => {
            CRYPTO_ERRORS.contains(&u64::from(close.error_code))
        }
        ConnectionError::VersionMismatch => true,
        _ => false,
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}
