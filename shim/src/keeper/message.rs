//! What commands and keeper say to each other: one JSON object a line, over a unix
//! socket in a directory that only the user can enter.
//!
//! ```text
//! command   Hello                  which version, and what it wants
//! keeper    Event ... Event        until Ready, Done, Opened or Failed
//! ```
//!
//! After `Ready` the socket stays open: as long as it is, the command uses the server.
//! After `Opened` the socket is a stream to the agent, byte for byte.

use std::io;
use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::error::Error;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::report::Report;
use crate::hetzner::request::ServerRequest;
use crate::hetzner::server::ServerSummary;
use crate::hetzner::sweep::{DownOptions, ReapReport};

/// Bytes of one line.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The first line of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The command's program version.
    pub(crate) version: String,
    /// What it wants.
    pub(crate) ask: Ask,
}

/// What a command wants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A server for a project.
    Reach {
        /// The token.
        credentials: Credentials,
        /// What for.
        request: Box<ServerRequest>,
        /// Whether the warm connection was tried and does not work.
        anew: bool,
    },
    /// A stream to the agent of what was reached.
    Stream {
        /// From [`Ready`].
        ticket: u64,
    },
    /// What is there.
    Report {
        /// The token.
        credentials: Credentials,
        /// Also other owners'.
        all: bool,
    },
    /// Delete it.
    Down {
        /// The token.
        credentials: Credentials,
        /// What.
        options: DownOptions,
    },
    /// Delete what has had its time.
    Reap {
        /// The token.
        credentials: Credentials,
    },
    /// End, and leave everything as it is: a keeper of another version follows.
    Leave,
}

/// What the keeper says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// What is being done.
    Step(String),
    /// What the user should know.
    Warning(String),
    /// Which disk the project will have; the server is still to come.
    Disk(String),
    /// The server is reached.
    Ready(Ready),
    /// The stream is open.
    Opened,
    /// What is there.
    Reported(Box<Report>),
    /// What was deleted.
    Reaped(ReapReport),
    /// It is done.
    Done,
    /// It cannot be done.
    Failed(Error),
    /// The keeper is of another version.
    OtherVersion(String),
}

/// A server that was reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// For streams.
    pub(crate) ticket: u64,
    /// Where its agent is.
    pub(crate) address: SocketAddr,
    /// The project's disk.
    pub(crate) device: String,
    /// What it is and costs.
    pub(crate) server: ServerSummary,
    /// Its age in seconds, by the API's clock.
    pub(crate) age_secs: i64,
    /// Whether it was made for this.
    pub(crate) fresh_server: bool,
    /// Whether the volume was made for this.
    pub(crate) fresh_volume: bool,
}

/// Writes one line.
pub(crate) async fn write<T: Serialize + Sync>(
    to: &mut OwnedWriteHalf,
    word: &T,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(word).map_err(io::Error::other)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// Reads one line. Byte by byte behind a small buffer would lose what follows it, so
/// the reader stays the same for the socket's whole life.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut BufReader<OwnedReadHalf>,
) -> io::Result<T> {
    use tokio::io::AsyncReadExt;
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map_err(io::Error::other)
}
