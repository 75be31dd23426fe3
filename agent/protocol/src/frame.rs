//! Frames, which divide a stream into messages and pieces of blobs.
//!
//! ```text
//! frame   = kind (1 byte)  length (4 bytes, little endian)  payload (length bytes)
//! kind    = 0 message: one bincode message
//!           1 raw: a piece of the blob that the last message announced
//!           2 compressed: the next piece of the zstd stream of this direction, which
//!             decompresses to a sequence of frames of kind 0 and 1
//!           3 control: one bincode message of the stream itself ([`link`](crate::link))
//! ```
//!
//! [`Header::parse`] checks the length against the cap of the kind, so a caller may
//! allocate `length` bytes. Compression is implemented in `burst-sync`.

use crate::limit::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, RAW_BYTES_MAX};

/// Length of a header in bytes.
pub const HEADER_BYTES: usize = 5;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The payload is one message.
    Message,
    /// The payload is a piece of a blob.
    Raw,
    /// The payload is a piece of the zstd stream of its direction.
    Compressed,
    /// The payload is a [`Control`](crate::link::Control).
    Control,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Message => 0,
            Self::Raw => 1,
            Self::Compressed => 2,
            Self::Control => 3,
        }
    }

    /// The largest payload of this kind in bytes.
    pub const fn cap(self) -> usize {
        match self {
            Self::Message => MESSAGE_BYTES_MAX,
            Self::Raw => RAW_BYTES_MAX,
            Self::Compressed => FRAME_BYTES_MAX,
            Self::Control => CONTROL_BYTES_MAX,
        }
    }
}

/// The first five bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the payload that follows.
    pub kind: Kind,
    /// The length of the payload in bytes, at most [`Kind::cap`].
    pub length: usize,
}

/// An invalid frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// This version does not know the kind.
    #[error("a frame has the unknown kind {0}")]
    UnknownKind(u8),
    /// The length exceeds the cap of the kind.
    #[error("a frame of {length} bytes exceeds the limit of {cap} bytes")]
    TooLong {
        /// The length in the header, in bytes.
        length: usize,
        /// The cap in bytes.
        cap: usize,
    },
}

impl Header {
    /// Makes the header for a payload of `length` bytes. Fails if the cap is exceeded.
    pub fn new(kind: Kind, length: usize) -> Result<Self, FrameError> {
        if length > kind.cap() {
            return Err(FrameError::TooLong { length, cap: kind.cap() });
        }
        Ok(Self { kind, length })
    }

    /// Parses a header from a peer.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [kind, length @ ..] = bytes;
        let kind = match kind {
            0 => Kind::Message,
            1 => Kind::Raw,
            2 => Kind::Compressed,
            3 => Kind::Control,
            other => return Err(FrameError::UnknownKind(other)),
        };
        Self::new(kind, u32::from_le_bytes(length) as usize)
    }

    /// Encodes the header.
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
