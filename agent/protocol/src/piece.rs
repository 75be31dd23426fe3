//! Pieces, in which a stream travels over TCP.
//!
//! ```text
//! piece   = word (2 bytes, little endian)  bytes
//! word    = 0        the sender is alive
//!           0xfffe   the sender reads no more of the stream
//!           0xffff   the sender's direction has ended
//!           else     the number of bytes that follow
//! ```
//!
//! QUIC tells all this by itself. A direction has one end, and no bytes behind it; signs of life
//! go on until both directions have ended. [`Piece::parse`] checks the number against its cap, so
//! a caller may allocate so many bytes.

use crate::limit::PIECE_BYTES_MAX;

/// Length of the word in bytes.
pub const WORD_BYTES: usize = 2;

/// The word that says how many bytes follow has a cap below these.
const STOP: u16 = 0xfffe;
const END: u16 = 0xffff;

/// What the first two bytes of a piece say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The sender is alive.
    Alive,
    /// The sender reads no more of the stream.
    Stop,
    /// The sender's direction has ended.
    End,
    /// So many bytes of the stream follow: 1 to [`PIECE_BYTES_MAX`].
    Bytes(u16),
}

/// A piece that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a piece of {0} bytes exceeds the limit of {PIECE_BYTES_MAX} bytes")]
pub struct PieceTooLong(u16);

impl Piece {
    /// Parses the word of a peer.
    pub const fn parse(bytes: [u8; WORD_BYTES]) -> Result<Self, PieceTooLong> {
        match u16::from_le_bytes(bytes) {
            0 => Ok(Self::Alive),
            STOP => Ok(Self::Stop),
            END => Ok(Self::End),
            length if length > PIECE_BYTES_MAX => Err(PieceTooLong(length)),
            length => Ok(Self::Bytes(length)),
        }
    }

    /// Encodes the word.
    pub const fn to_bytes(self) -> [u8; WORD_BYTES] {
        let word = match self {
            Self::Alive => 0,
            Self::Stop => STOP,
            Self::End => END,
            Self::Bytes(length) => length,
        };
        word.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_piece_or_too_long() {
        for word in 0..=u16::MAX {
            match Piece::parse(word.to_le_bytes()) {
                Ok(piece) => assert_eq!(piece.to_bytes(), word.to_le_bytes()),
                Err(error) => {
                    assert!(word > PIECE_BYTES_MAX && word < STOP, "{word}");
                    assert_eq!(error, PieceTooLong(word));
                }
            }
        }
    }

    #[test]
    fn the_longest_piece() {
        assert_eq!(Piece::parse([0, 0x40]), Ok(Piece::Bytes(16384)));
        assert_eq!(Piece::parse([1, 0x40]), Err(PieceTooLong(16385)));
    }
}
