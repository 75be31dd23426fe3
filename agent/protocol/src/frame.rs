//! Frames: how a stream of bytes is cut into messages and contents.
//!
//! ```text
//! frame   = kind (1 byte)  length (4 bytes, little endian)  payload (length bytes)
//! kind    = 0 message: one bincode message
//!           1 raw: a piece of the content that the last message announced
//!           2 compressed: the next piece of this direction's one zstd stream,
//!             which unpacked is a sequence of frames of kind 0 and 1
//! ```
//!
//! [`Header::parse`] checks a length against its cap before anybody allocates
//! for it. Compression itself is `burst-sync`'s: nothing here does I/O.

use crate::limit::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, RAW_BYTES_MAX};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 5;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One message.
    Message,
    /// A piece of a content.
    Raw,
    /// A piece of the direction's zstd stream.
    Compressed,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Message => 0,
            Self::Raw => 1,
            Self::Compressed => 2,
        }
    }

    /// The cap of a payload of this kind, in bytes.
    pub const fn cap(self) -> usize {
        match self {
            Self::Message => MESSAGE_BYTES_MAX,
            Self::Raw => RAW_BYTES_MAX,
            Self::Compressed => FRAME_BYTES_MAX,
        }
    }
}

/// A frame's first five bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// How many bytes follow; at most the kind's cap.
    pub length: usize,
}

/// Why five bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// A length over the kind's cap.
    #[error("a frame of {length} bytes, where {cap} are the most")]
    TooLong {
        /// What the header says.
        length: usize,
        /// What is allowed.
        cap: usize,
    },
}

impl Header {
    /// The header of a payload, if the payload may be sent.
    pub fn new(kind: Kind, length: usize) -> Result<Self, FrameError> {
        if length > kind.cap() {
            return Err(FrameError::TooLong { length, cap: kind.cap() });
        }
        Ok(Self { kind, length })
    }

    /// Reads a header that came from a peer.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [kind, length @ ..] = bytes;
        let kind = match kind {
            0 => Kind::Message,
            1 => Kind::Raw,
            2 => Kind::Compressed,
            other => return Err(FrameError::UnknownKind(other)),
        };
        Self::new(kind, u32::from_le_bytes(length) as usize)
    }

    /// The five bytes.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = u32::try_from(self.length).unwrap_or(u32::MAX).to_le_bytes();
        [self.kind.byte(), a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_on_both_sides() {
        assert_eq!(
            Header::new(Kind::Raw, RAW_BYTES_MAX + 1),
            Err(FrameError::TooLong { length: RAW_BYTES_MAX + 1, cap: RAW_BYTES_MAX })
        );
        assert!(Header::parse([0, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert_eq!(Header::parse([9, 0, 0, 0, 0]), Err(FrameError::UnknownKind(9)));
        let header = Header::new(Kind::Compressed, 513).unwrap();
        assert_eq!(header.to_bytes(), [2, 1, 2, 0, 0]);
        assert_eq!(Header::parse(header.to_bytes()), Ok(header));
    }
}
