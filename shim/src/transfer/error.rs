//! Errors of what travels: results that cannot be written, connections that are lost,
//! agents that fail.

use std::io;

use burst_protocol::message::{self, FailureKind};
use burst_sync::SyncError;

use crate::directories::unusable;
use crate::error::{Error, ErrorKind};
use crate::workspace::error::unreadable;

/// The part of an exchange in which something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before cargo was started.
    Sync,
    /// While cargo ran.
    Run,
    /// While results were fetched: cargo had finished.
    Results,
}

/// The message of results that are incomplete.
const INCOMPLETE: &str = "cargo has finished, but not all of its results are here";

/// What helps where results are incomplete.
const AGAIN: &str = "run the command again: the agent has kept the results";

/// The connection was lost.
pub(crate) fn lost(error: &SyncError, phase: Phase) -> Error {
    if is_violation(error) {
        return confused(error);
    }
    let error_with = |kind, message, hint| Error::new(kind, message, hint).caused_by(error);
    if matches!(error, SyncError::Silent(_)) && phase != Phase::Results {
        return error_with(
            ErrorKind::RunLost,
            "the agent is connected but does not answer any more",
            "run the command again; if that does not help, `cargo burst down` ends the agent and \
             the next command starts a new one",
        );
    }
    match phase {
        Phase::Sync => error_with(
            ErrorKind::RunLost,
            "the connection to the agent was lost",
            "run the command again: no file has changed here",
        ),
        Phase::Run => error_with(
            ErrorKind::RunLost,
            "the connection to the agent was lost while cargo ran",
            "run the command again: the agent kept the work that cargo had finished",
        ),
        Phase::Results => error_with(ErrorKind::Results, INCOMPLETE, AGAIN),
    }
}

/// An error while sources are sent: of the connection, or of the workspace.
pub(crate) fn not_sent(error: SyncError) -> Error {
    match error {
        error if is_loss(&error) => lost(&error, Phase::Sync),
        error if is_violation(&error) || matches!(error, SyncError::MissingBlob(_)) => {
            confused(&error)
        }
        error => unreadable(error),
    }
}

/// An error while results are fetched and written.
pub(crate) fn not_returned(error: SyncError) -> Error {
    let of = |kind, hint: String| Error::new(kind, INCOMPLETE, hint).caused_by(&error);
    match &error {
        SyncError::Write { path, source } | SyncError::Root { path, source } => {
            of(ErrorKind::Results, unwritable_hint(&path.display().to_string(), source))
        }
        SyncError::Read { path, .. } => of(
            ErrorKind::Results,
            format!("make `{}` readable, then run the command again", path.display()),
        ),
        SyncError::Store { path, source } => unusable("use", path, source),
        error if is_loss(error) => lost(error, Phase::Results),
        error if is_violation(error) => confused(error),
        _ => of(ErrorKind::Results, AGAIN.into()),
    }
}

/// The target directory cannot take the results of a run, which has not begun.
pub(crate) fn no_place(error: SyncError) -> Error {
    let (SyncError::Write { path, source } | SyncError::Root { path, source }) = &error else {
        return not_sent(error);
    };
    let shown = path.display();
    let hint = match source.kind() {
        io::ErrorKind::NotADirectory => format!(
            "move away `{shown}`, or name another directory with `--target-dir`: the target \
             directory itself may be a link, and what is in it may not"
        ),
        io::ErrorKind::PermissionDenied => format!("let your user read and write `{shown}`"),
        _ => format!("check the file system of `{shown}`"),
    };
    Error::new(ErrorKind::Results, "the results of this run could not be written", hint)
        .caused_by(&error)
}

/// What helps where a result cannot be written.
fn unwritable_hint(shown: &str, source: &io::Error) -> String {
    const KEPT: &str = "then run the command again: the agent has kept the results";
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("free disk space here, {KEPT}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("let your user write `{shown}` and its directory, {KEPT}")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("`{shown}` is on a read-only file system: choose another --target-dir")
        }
        io::ErrorKind::NotADirectory => format!("move away `{shown}`, {KEPT}"),
        // Missing directories are made: something was removed between two steps.
        io::ErrorKind::NotFound => {
            format!(
                "`{shown}` or a directory above it was removed meanwhile: run the command again"
            )
        }
        io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
            format!("move away the file or directory in the way of `{shown}`, {KEPT}")
        }
        _ => format!("check the file system of `{shown}`, {KEPT}"),
    }
}

/// Whether an error is the loss of the connection or of the agent.
const fn is_loss(error: &SyncError) -> bool {
    matches!(
        error,
        SyncError::Stream(_)
            | SyncError::Gone
            | SyncError::Silent(_)
            | SyncError::Forgotten
            | SyncError::Expired(_)
            | SyncError::Unreachable { .. }
    )
}

/// Whether an error is a violation of the protocol by the other end.
const fn is_violation(error: &SyncError) -> bool {
    matches!(
        error,
        SyncError::Protocol(_)
            | SyncError::Codec(_)
            | SyncError::Frame(_)
            | SyncError::Compression(_)
    )
}

/// The agent broke the protocol.
pub(crate) fn confused(error: &SyncError) -> Error {
    Error::new(
        ErrorKind::RunLost,
        "the agent broke the protocol",
        "run the command again; if that does not help, `cargo burst down` ends the agent and the \
         next command starts a new one",
    )
    .caused_by(error)
}

/// The agent reports that it cannot do what was asked. Only before cargo was started can
/// another attempt help: later it would run cargo again.
pub(crate) fn agent_failed(failure: message::Failure, phase: Phase) -> Error {
    if phase == Phase::Results {
        let error = Error::new(ErrorKind::Results, INCOMPLETE, AGAIN);
        return failure.messages.into_iter().fold(error, Error::cause);
    }
    let (kind, hint) = match failure.kind {
        FailureKind::Corrupt if phase == Phase::Run => {
            (ErrorKind::RunLost, "run the command again")
        }
        FailureKind::Ending if phase == Phase::Run => (
            ErrorKind::RunEnded,
            "start it again; what it had changed comes back with the next command of its workspace",
        ),
        FailureKind::DiskFull => (
            ErrorKind::RunLost,
            "free disk space on the agent's machine, or delete its copies of projects with \
             `cargo burst down --with-volumes`",
        ),
        FailureKind::WouldEmpty => (
            ErrorKind::WouldEmpty,
            "check that the files of the workspace exist and are not all excluded; the agent \
             deleted nothing. If this is intended, run `cargo burst down --with-volumes` first",
        ),
        FailureKind::NoCargo => {
            (ErrorKind::RunLost, "install Rust on the agent's machine, or correct its PATH")
        }
        FailureKind::NoToolchain => (
            ErrorKind::RunLost,
            "name one that is there, with `+TOOLCHAIN` or in `rust-toolchain.toml`, or install \
             this one on the agent's machine",
        ),
        FailureKind::NoVolume => (
            ErrorKind::NoVolume,
            "run the command again; if that does not help, `cargo burst down` deletes the server; \
             the next command attaches the volume to a new one",
        ),
        FailureKind::Corrupt => (ErrorKind::AgentCorrupt, "run the command again"),
        FailureKind::Ending => (ErrorKind::AgentEnding, "run the command again"),
        FailureKind::Other => (
            ErrorKind::RunLost,
            "run the command again; if that does not help, `cargo burst down --with-volumes` \
             deletes the agent's copy of the project",
        ),
    };
    let mut messages = failure.messages.into_iter();
    let message = messages.next().unwrap_or_else(|| "the agent failed".into());
    let error = messages.fold(Error::new(kind, message, hint), Error::cause);
    match kind {
        ErrorKind::WouldEmpty => error.cause("the scan here found no source file of the project"),
        _ => error,
    }
}
