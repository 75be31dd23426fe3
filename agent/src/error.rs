//! The agent's errors: each names the operation that failed and the path, address or
//! program it failed on. Causes are in `source`, never repeated in the text.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use burst_protocol::budget::TooMany;
use burst_protocol::message::{Failure, FailureKind};
use burst_sync::SyncError;

/// An error of the agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An error of a source tree, a store or the stream to the shim.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// One of the agent's own files or directories.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// The operation that failed.
        operation: FileOperation,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The UDP address cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// A key pair cannot be generated, or TLS does not accept it. The text never quotes a
    /// key.
    #[error("cannot set up the keys of the connection: {0}")]
    Identity(String),
    /// The user data is not what this agent expects. The text never quotes it.
    #[error("cannot use the server's user data: {0}")]
    UserData(String),
    /// The metadata service does not answer.
    #[error("cannot get the user data from {url}")]
    Metadata {
        /// The requested URL.
        url: String,
        /// The error of the last attempt.
        source: reqwest::Error,
    },
    /// A project's volume.
    #[error("cannot {operation} the volume `{}`", path.display())]
    Volume {
        /// The operation that failed.
        operation: VolumeOperation,
        /// The device, or the mount point of an unmount.
        path: PathBuf,
        /// The operating system's error, or the output of the tool.
        source: io::Error,
    },
    /// The request names a volume, and this agent keeps all projects in one directory.
    #[error("this agent has no volumes")]
    NoVolumes,
    /// The request names no volume, and this agent keeps each project on one.
    #[error("this agent needs a volume for each project")]
    VolumeRequired,
    /// A volume cannot be unmounted while runs use its project.
    #[error("the volume `{}` is in use by a run", .0.display())]
    VolumeInUse(PathBuf),
    /// Another agent process holds the lock of the directory.
    #[error("another agent uses the directory `{}`", .0.display())]
    DirectoryInUse(PathBuf),
    /// A program, or a resource of the agent's own process, cannot be started.
    #[error("cannot start {what}")]
    Start {
        /// The program or resource, for people.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A server's agent cannot be protected from the builds that it runs.
    #[error("cannot protect the agent from builds: {operation} failed")]
    Protect {
        /// The system call or program that failed.
        operation: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// The namespaces or mounts of a run cannot be made, so cargo was not started.
    #[error("cannot contain the run: {0}")]
    Contain(String),
    /// The run changed more files than a client takes.
    #[error("the run changed too many files to return them")]
    TooManyFiles(#[from] TooMany),
    /// No program accepts a connection that the client forwards.
    #[error("cannot connect to port {port} of the agent's machine")]
    Connect {
        /// The port.
        port: u16,
        /// The operating system's error.
        source: io::Error,
    },
    /// The agent was asked to end while the run was under way.
    #[error("the run was ended by `cargo burst down`")]
    EndedByDown,
    /// There is no program `cargo`.
    #[error("cargo is not on the agent's PATH")]
    NoCargo,
    /// The toolchain of a run is neither there nor may be installed.
    #[error("the toolchain `{wanted}` is not installed on the agent")]
    NoToolchain {
        /// Its name.
        wanted: String,
        /// Why it is not installed now, and the toolchains that are.
        source: io::Error,
    },
}

/// An operation on one of the agent's own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOperation {
    /// Reading a file.
    Read,
    /// Writing or replacing a file.
    Write,
    /// Creating a directory and its parents.
    CreateDirectory,
    /// Reading the entries of a directory.
    List,
    /// Removing a file or a directory tree.
    Remove,
    /// Removing what an interrupted run left.
    Repair,
}

impl fmt::Display for FileOperation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::CreateDirectory => "create the directory",
            Self::List => "list",
            Self::Remove => "remove",
            Self::Repair => "repair",
        })
    }
}

/// An operation on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeOperation {
    /// Waiting for its device.
    Find,
    /// Looking for a file system or other data on it.
    Inspect,
    /// Creating a file system.
    Format,
    /// Checking and repairing its file system.
    Check,
    /// Creating the directory to mount it on.
    CreateMountPoint,
    /// Mounting it.
    Mount,
    /// Changing the owner of its root directory.
    Chown,
    /// Invalidating what an interrupted run left.
    Repair,
    /// Unmounting it.
    Unmount,
}

impl fmt::Display for VolumeOperation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Find => "find",
            Self::Inspect => "inspect",
            Self::Format => "format",
            Self::Check => "check",
            Self::CreateMountPoint => "create the mount point for",
            Self::Mount => "mount",
            Self::Chown => "chown",
            Self::Repair => "repair",
            Self::Unmount => "unmount",
        })
    }
}

impl AgentError {
    /// A closure for `map_err` that adds the operation and the path.
    pub(crate) fn file(
        operation: FileOperation,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }

    /// The error as the shim receives it: its kind and its text, followed by its causes.
    pub(crate) fn failure(&self) -> Failure {
        let kind = match self {
            Self::Sync(error) if error.is_disk_full() => FailureKind::DiskFull,
            Self::File { source, .. } if is_disk_full(source) => FailureKind::DiskFull,
            Self::Sync(SyncError::WouldEmpty { .. }) => FailureKind::WouldEmpty,
            Self::Sync(
                SyncError::Damaged(_)
                | SyncError::MissingBlob(_)
                | SyncError::Tree(_)
                | SyncError::Codec(_),
            ) => FailureKind::Corrupt,
            Self::Volume { operation: VolumeOperation::Find, .. } => FailureKind::NoVolume,
            Self::EndedByDown => FailureKind::Ending,
            Self::NoCargo => FailureKind::NoCargo,
            Self::NoToolchain { .. } => FailureKind::NoToolchain,
            _ => FailureKind::Other,
        };
        Failure { kind, messages: self.messages() }
    }

    /// The text of the error and of each of its causes.
    pub(crate) fn messages(&self) -> Vec<String> {
        messages_of(self)
    }
}

/// The text of an error and of each of its causes.
pub(crate) fn messages_of(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_operation_and_its_cause() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = AgentError::file(FileOperation::Write, "/disk/index")(full);
        let failure = error.failure();
        assert_eq!(failure.kind, FailureKind::DiskFull);
        assert_eq!(failure.messages, ["cannot write `/disk/index`", "no storage space"]);
        let path = PathBuf::from("/dev/disk/by-id/volume");
        let source = io::Error::from(io::ErrorKind::TimedOut);
        let error = AgentError::Volume { operation: VolumeOperation::Find, path, source };
        let failure = error.failure();
        assert_eq!(failure.kind, FailureKind::NoVolume);
        assert_eq!(
            failure.messages,
            ["cannot find the volume `/dev/disk/by-id/volume`", "timed out"]
        );
    }
}
