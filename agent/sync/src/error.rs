//! Errors of trees, stores and transfers.
//!
//! Every path in an error is absolute and is the path under which the user knows the
//! file; see [`RootDirectory::open_as`](crate::root_directory::RootDirectory::open_as).

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::Digest;
use burst_protocol::codec::CodecError;
use burst_protocol::frame::FrameError;
use burst_protocol::message::Failure;
use burst_protocol::path::{PathError, display};
use burst_protocol::tree::TreeError;

/// Characters of a message that is quoted in an error.
const QUOTED_CHARACTERS_MAX: usize = 60;

/// Bytes that are shown of a path that is too long to be sent.
const PATH_BYTES_SHOWN_MAX: usize = 200;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A file or directory of a tree cannot be read.
    #[error("cannot read `{}`", display(path))]
    Read {
        /// The file or directory, absolute.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file or directory of a tree cannot be written.
    #[error("cannot write `{}`", display(path))]
    Write {
        /// The file or directory, absolute.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file name or path that a manifest cannot hold.
    #[error("cannot send `{}`", shortened(path))]
    Path {
        /// The file or directory, absolute.
        path: PathBuf,
        /// The rule that it breaks.
        source: PathError,
    },
    /// The root directory of a tree cannot be opened.
    #[error("cannot open the directory `{}`", display(path))]
    Root {
        /// The directory, absolute.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file of a store, such as a pack or a cache, cannot be read or written.
    #[error("cannot use the store `{}`", display(path))]
    Store {
        /// The file or directory of the store.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file no longer has the content that the manifest names, or is of another kind.
    #[error("`{}` changed while it was read", display(.0))]
    Changed(PathBuf),
    /// The received bytes do not have the digest that was announced.
    #[error("the blob {0:?} arrived damaged")]
    Damaged(Digest),
    /// Neither the tree nor the store nor the other end has a blob that is needed.
    #[error("the blob {0:?} is missing")]
    MissingBlob(Digest),
    /// The sync would delete every source file of a project.
    #[error("this sync would delete all {files} source files of the project")]
    WouldEmpty {
        /// Files in the tree now.
        files: usize,
    },
    /// The received changes do not apply to the tree.
    #[error("the changes do not apply to the tree")]
    Tree(#[from] TreeError),
    /// A message cannot be encoded or decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A frame has an unknown kind or is too long.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The first bytes of the stream are not a preface.
    #[error(transparent)]
    Preface(#[from] burst_protocol::hello::PrefaceError),
    /// zstd failed; on received data, the data is damaged.
    #[error("compressed data cannot be processed")]
    Compression(#[source] io::Error),
    /// The stream to the other end failed.
    #[error("the stream to the other end broke")]
    Stream(#[source] io::Error),
    /// The stream ended, or this end's reader or writer has stopped.
    #[error("the other end closed the stream")]
    Gone,
    /// The connection broke, and the other end does not know the stream any more.
    #[error("the agent has ended meanwhile, and the run with it")]
    Forgotten,
    /// The connection broke, and the other end has waited for this one for this number of
    /// seconds.
    #[error("the agent waited {0} s for this command to connect again, then it ended the run")]
    Expired(u32),
    /// The connection broke, and there is no other one within this number of seconds.
    #[error("the agent cannot be reached again within {secs} s")]
    Unreachable {
        /// How long it was tried.
        secs: u32,
        /// The error of the last attempt.
        source: io::Error,
    },
    /// The other end did not answer in time.
    #[error("no answer from the other end within {0} seconds")]
    Silent(u64),
    /// The other end reports that it cannot go on.
    #[error("{}", .0.messages.join(": "))]
    Peer(Failure),
    /// A message arrived before all bytes of a blob; the next call of
    /// [`Incoming::message`](crate::wire::Incoming::message) returns it.
    #[error("a message interrupted the transfer of a blob")]
    BlobInterrupted,
    /// The other end broke the protocol. Made by [`SyncError::out_of_turn`] or
    /// [`SyncError::violation`].
    #[error("the other end broke the protocol: {0}")]
    Protocol(String),
}

impl SyncError {
    /// The error for a message that the protocol does not allow at this point. Quotes at
    /// most 60 characters of it.
    pub fn out_of_turn(message: &impl Debug) -> Self {
        let mut quote = Quote { text: String::new(), room: QUOTED_CHARACTERS_MAX };
        // `Quote` stops the formatter with an error once it is full.
        let _ = std::fmt::write(&mut quote, format_args!("{message:?}"));
        Self::Protocol(format!("unexpected message {}", quote.text))
    }

    /// The error for a message whose content breaks a rule of the protocol.
    pub fn violation(rule: impl Into<String>) -> Self {
        Self::Protocol(rule.into())
    }

    /// The error for a file of a store.
    pub fn store(path: &Path, source: io::Error) -> Self {
        Self::Store { path: path.to_owned(), source }
    }

    /// Whether the cause is a full disk or an exhausted quota.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Write { source, .. } | Self::Store { source, .. } | Self::Root { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// A path whose beginning is left out where it is very long.
fn shortened(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.len().saturating_sub(PATH_BYTES_SHOWN_MAX);
    let cut = if start > 0 { "…" } else { "" };
    format!("{cut}{}", display(Path::new(OsStr::from_bytes(&bytes[start..]))))
}

/// Keeps the first characters of a text.
struct Quote {
    text: String,
    room: usize,
}

impl std::fmt::Write for Quote {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            self.room = self.room.checked_sub(1).ok_or(std::fmt::Error)?;
            self.text.push(character);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_message_is_short_whatever_its_size() {
        let begin = "the other end broke the protocol: unexpected message ";
        let quoted: String = format!("{:?}", [7_u8; 100]).chars().take(60).collect();
        let long = SyncError::out_of_turn(&vec![7_u8; 1 << 20]);
        assert_eq!(long.to_string(), format!("{begin}{quoted}"));
        assert_eq!(SyncError::out_of_turn(&Some(1)).to_string(), format!("{begin}Some(1)"));
    }

    #[test]
    fn control_characters_of_a_path_are_escaped() {
        let source = io::ErrorKind::PermissionDenied.into();
        let error = SyncError::Read { path: "/home/me/\x1b[31m.rs".into(), source };
        assert_eq!(error.to_string(), "cannot read `/home/me/\\u{1b}[31m.rs`");
    }
}
