//! What can go wrong on an agent.

use std::io;
use std::path::PathBuf;

use burst_protocol::message::{Failure, FailureKind, FromShim};
use burst_sync::SyncError;

/// An error of the agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A tree, a store or a stream.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The agent's own files.
    #[error("cannot use `{}`", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The UDP port.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Keys or certificates.
    #[error("cannot make or read the keys of the connection: {0}")]
    Identity(String),
    /// What the metadata service tells.
    #[error("the server's user data cannot be used: {0}")]
    UserData(String),
    /// The metadata service does not answer.
    #[error("cannot get the user data from {url}")]
    Metadata {
        /// The requested URL.
        url: String,
        /// The error of the last attempt.
        source: reqwest::Error,
    },
    /// A project's disk.
    #[error("cannot {what} the volume `{}`", path.display())]
    Volume {
        /// Which.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A disk that a project cannot have.
    #[error("the project's disk on this agent {0}")]
    Disk(&'static str),
    /// Another agent has the directory.
    #[error("another agent is using `{}`", .0.display())]
    Taken(PathBuf),
    /// A process of the run.
    #[error("cannot start {what}")]
    Start {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The process that contains a run failed before cargo did.
    #[error("the run could not be contained: {0}")]
    Contain(String),
    /// No cargo on the agent.
    #[error("there is no cargo on the agent's PATH")]
    NoCargo,
}

impl AgentError {
    /// What the shim is told.
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Sync(error) if error.is_disk_full() => FailureKind::DiskFull,
            Self::State { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                FailureKind::DiskFull
            }
            Self::Sync(SyncError::WouldEmpty { .. }) => FailureKind::WouldEmpty,
            Self::Sync(
                SyncError::Damaged(_)
                | SyncError::MissingBlob(_)
                | SyncError::Tree(_)
                | SyncError::Codec(_),
            ) => FailureKind::Corrupt,
            Self::NoCargo => FailureKind::NoCargo,
            _ => FailureKind::Other,
        };
        let mut messages = vec![self.to_string()];
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            messages.push(error.to_string());
            source = error.source();
        }
        Failure { kind, messages }
    }
}

/// Characters of an unexpected message that its error quotes.
const QUOTED_CHARACTERS_MAX: usize = 60;

/// The error for a message that the protocol does not allow at this point.
pub(crate) fn out_of_turn(message: &FromShim) -> SyncError {
    let text = format!("{message:?}");
    SyncError::OutOfTurn(text.chars().take(QUOTED_CHARACTERS_MAX).collect())
}
