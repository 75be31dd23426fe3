//! What carries a stream: a QUIC connection that may have others, or a TCP connection of its own.

use std::fmt;

use burst_sync::wire::Link;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::tcp;
use crate::transport::is_broken;

/// The connection of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// A QUIC connection.
    Quic(quinn::Connection),
    /// A TCP connection of its own, by its other end.
    Tcp(tcp::Peer),
}

impl Carrier {
    /// Whether a stream that has ended was lost, instead of closed by its client.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Quic(connection) => is_broken(connection),
            Self::Tcp(peer) => !peer.has_ended(),
        }
    }

    /// The stream as a link. On QUIC it also knows when its connection is closed.
    pub(crate) fn link(
        &self,
        receive: impl AsyncRead + Send + Unpin + 'static,
        send: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Link {
        let link = Link::new(receive, send);
        match self {
            Self::Quic(connection) => {
                let connection = connection.clone();
                link.closed_by(async move { drop(connection.closed().await) })
            }
            Self::Tcp(_) => link,
        }
    }
}

impl fmt::Display for Carrier {
    /// The address of the client and the transport.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quic(connection) => write!(formatter, "{}", connection.remote_address()),
            Self::Tcp(peer) => write!(formatter, "{} over TCP", peer.address()),
        }
    }
}
