//! The messages between commands and keeper: one JSON object per line, over a unix socket
//! in a directory that only the user can enter.
//!
//! ```text
//! command   Hello                  version and request
//! keeper    Event ... Event        progress, then one answer
//! ```
//!
//! The server is in use from `Ready` until the command closes the socket. After `Opened`
//! the socket is a stream to the agent, byte for byte.
//!
//! Both ends have the same version for every request but [`Ask::Leave`], so messages may
//! change from version to version; `Hello` and `Leave` may not.

use std::io;
use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::error::Error;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::loss::Losses;
use crate::hetzner::reap::{DownOptions, ReapReport};
use crate::hetzner::report::Report;
use crate::hetzner::request::ServerRequest;
use crate::hetzner::server::ServerSummary;

/// Most bytes of a line.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The first and only line of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The version of the command's program.
    pub(crate) version: String,
    /// The request.
    pub(crate) ask: Ask,
}

/// A request of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Reach a server with the volume of a project.
    Reach {
        /// The account.
        credentials: Credentials,
        /// The project and the server.
        request: Box<ServerRequest>,
        /// Whether the keeper's connection was tried and does not work.
        anew: bool,
    },
    /// Connect again to the server of a run whose connection has broken. Nothing is created.
    Rejoin {
        /// The account.
        credentials: Credentials,
        /// The project and the server.
        request: Box<ServerRequest>,
    },
    /// Open a stream to the agent of a server that was reached.
    Stream {
        /// The ticket in [`Ready`].
        ticket: u64,
    },
    /// List resources, their cost and their expiry.
    Report {
        /// The account.
        credentials: Credentials,
        /// Whether resources of other owners are included.
        all: bool,
    },
    /// List what [`Ask::Down`] would end and delete.
    Losses {
        /// The account.
        credentials: Credentials,
        /// The resources.
        options: DownOptions,
    },
    /// Delete servers, and volumes if asked.
    Down {
        /// The account.
        credentials: Credentials,
        /// The resources.
        options: DownOptions,
    },
    /// Delete expired resources.
    Reap {
        /// The account.
        credentials: Credentials,
    },
    /// What the keeper holds.
    Summary,
    /// Look after an account, though no command uses it.
    Watch {
        /// The account.
        credentials: Credentials,
    },
    /// Exit, and leave all resources as they are, for a keeper of another version.
    Leave,
}

/// A message of the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// Progress: a step begins.
    Step(String),
    /// Progress: something that the user is to know before it happens.
    Notice(String),
    /// Progress: a warning for the user.
    Warning(String),
    /// Progress: what to tell the user if the command is interrupted from now on.
    PaysFor(String),
    /// Progress: the project's disk is known, the server is not ready.
    Disk(String),
    /// The answer to [`Ask::Reach`] and [`Ask::Rejoin`].
    Ready(Ready),
    /// The answer to [`Ask::Rejoin`] if the server was deleted.
    NoServer,
    /// The answer to [`Ask::Stream`].
    Opened,
    /// List resources, their cost and their expiry.
    Reported(Box<Report>),
    /// The answer to [`Ask::Losses`].
    Losses(Losses),
    /// The answer to [`Ask::Down`] and [`Ask::Reap`].
    Reaped(ReapReport),
    /// The answer to [`Ask::Summary`].
    Summary(KeeperSummary),
    /// The answer to [`Ask::Watch`] and [`Ask::Leave`].
    Done,
    /// The request failed.
    Failed(Error),
    /// The keeper has this version, which is not the command's.
    OtherVersion(String),
}

/// What a keeper holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeeperSummary {
    /// How long it has been running, in seconds.
    pub(crate) up_secs: u64,
    /// How many accounts commands have used.
    pub(crate) accounts: usize,
    /// The names of the servers that it is connected to.
    pub(crate) servers: Vec<String>,
    /// How many commands are connected to it, the one that asks left out.
    pub(crate) commands: usize,
}

/// A server that was reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Identifies the server in [`Ask::Stream`].
    pub(crate) ticket: u64,
    /// The address of its agent.
    pub(crate) address: SocketAddr,
    /// The project's disk: its name below `/dev/disk/by-id` on the server.
    pub(crate) device: String,
    /// Type, location and price.
    pub(crate) server: ServerSummary,
    /// Its age in seconds, by the API's clock.
    pub(crate) age_secs: i64,
    /// Whether it was created for this command.
    pub(crate) fresh_server: bool,
    /// Whether the volume was created for this command.
    pub(crate) fresh_volume: bool,
}

/// Writes one message.
pub(crate) async fn write<T: Serialize + Sync>(
    to: &mut OwnedWriteHalf,
    message: &T,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// Reads one message. The reader buffers the bytes that follow it, so it has to be the same
/// for the whole life of the socket. Fails at the end of the stream, and on lines that are
/// too long or not valid.
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
