//! A received frame, and what is queued to be sent.

use burst_protocol::codec;
use burst_protocol::hello::Preface;
use serde::de::DeserializeOwned;

use crate::error::SyncError;

/// A received frame, decompressed.
#[derive(Debug)]
pub enum Frame {
    /// The preface of the stream.
    Preface(Preface),
    /// The encoded bytes of a message.
    Message(Vec<u8>),
    /// A piece of a blob.
    Raw(Vec<u8>),
}

/// What is queued to be sent.
#[derive(Debug)]
pub(super) enum Item {
    /// An encoded preface.
    Preface(Vec<u8>),
    /// An encoded message.
    Message(Vec<u8>),
    /// A piece of a blob.
    Raw {
        /// The piece.
        bytes: Vec<u8>,
        /// Whether it is worth compressing.
        compress: bool,
    },
}

impl Frame {
    /// The bytes that it takes in memory.
    pub(super) const fn size(&self) -> usize {
        match self {
            Self::Preface(_) => 0,
            Self::Message(bytes) | Self::Raw(bytes) => bytes.len() + size_of::<Self>(),
        }
    }
}

/// Decodes a frame as a message. Fails if it is not one.
pub fn message_of<T: DeserializeOwned>(frame: Frame) -> Result<T, SyncError> {
    match frame {
        Frame::Message(bytes) => Ok(codec::decode(&bytes)?),
        _ => Err(SyncError::violation("a raw frame without an announced blob")),
    }
}
