//! What can go wrong with trees, stores and transfers.

use std::io;

use burst_protocol::codec::CodecError;
use burst_protocol::frame::FrameError;
use burst_protocol::path::PathError;
use burst_protocol::tree::TreeError;
use burst_protocol::{Digest, RelativePath};

/// An error of this crate. Paths are relative to the tree at hand.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A file or directory cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: RelativePath,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which.
        path: RelativePath,
        /// Why.
        source: io::Error,
    },
    /// A name that no tree can hold.
    #[error("cannot send `{shown}`")]
    Path {
        /// The name, for people.
        shown: String,
        /// Why.
        source: PathError,
    },
    /// The root of a tree cannot be opened.
    #[error("cannot open the directory `{shown}`")]
    Root {
        /// Which, for people.
        shown: String,
        /// Why.
        source: io::Error,
    },
    /// A store's own files cannot be read or written.
    #[error("cannot use the store `{shown}`")]
    Store {
        /// Which file or directory, for people.
        shown: String,
        /// Why.
        source: io::Error,
    },
    /// A file is no longer what the manifest says.
    #[error("`{}` changed while it was read", .0.display())]
    Changed(RelativePath),
    /// Bytes do not hash to what they were announced as.
    #[error("the content {0:?} arrived damaged")]
    Damaged(Digest),
    /// A content is in none of the places where it should be.
    #[error("the content {0:?} is missing")]
    MissingBlob(Digest),
    /// The sync would leave nothing of a tree that had something.
    #[error("this sync would delete all {files} source files of the project")]
    WouldEmpty {
        /// How many files the tree has.
        files: usize,
    },
    /// The ends disagree about a tree.
    #[error("the ends disagree about the tree")]
    Tree(#[from] TreeError),
    /// A message cannot be encoded or decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A frame that breaks the rules.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The first bytes of the other end.
    #[error(transparent)]
    Preface(#[from] burst_protocol::hello::PrefaceError),
    /// Compression failed: the other end's stream is broken.
    #[error("a compressed piece cannot be unpacked")]
    Compression(#[source] io::Error),
    /// The stream broke.
    #[error("the stream to the other end broke")]
    Stream(#[source] io::Error),
    /// The stream ended, or the other end went away.
    #[error("the other end went away")]
    Gone,
    /// Nothing came in time.
    #[error("no answer from the other end within {0} seconds")]
    Silent(u64),
    /// A message came that has no place here.
    #[error("the other end sent a message out of turn: {0}")]
    OutOfTurn(String),
}

impl SyncError {
    /// Whether a full disk is at the bottom of it.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Write { source, .. } | Self::Store { source, .. } | Self::Root { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}
