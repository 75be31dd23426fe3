//! The preface: the first bytes of a stream, whose format never changes.
//!
//! ```text
//! preface = magic (8 bytes: "BURST" 0x0d 0x0a 0x00)  kind (1)  length (2, little endian)  body
//! kind 1, hello    body = lowest (2)  highest (2)  program version (UTF-8)
//! kind 2, welcome  body = chosen (2)  program version (UTF-8)
//! kind 3, refuse   body = reason (2)  lowest (2)  highest (2)  text (UTF-8)
//! kind 4, upgrade  body = length of the new agent (8)  its blake3 digest (32)
//! ```
//!
//! The shim sends hello and, without waiting, its first request. The agent replies with
//! welcome or refuse. A reader ignores bytes that follow the fields it knows, so a body
//! can be extended at its end. A shim and an agent of any two versions can therefore read
//! each other's preface and tell the user which of them is too old. Upgrade is reserved
//! for replacing an agent in place; its format is fixed already, so that every released
//! agent can parse it.
//!
//! The format has not changed since version 1.

use std::ops::RangeInclusive;

use crate::digest::Digest;
use crate::limit::HELLO_BYTES_MAX;

/// The protocol versions that this build supports.
pub const VERSIONS: RangeInclusive<u16> = 1..=1;

/// The first eight bytes of each direction.
pub const MAGIC: [u8; 8] = *b"BURST\r\n\0";

/// Length in bytes of magic, kind and length, which precede the body.
pub const PREFACE_BYTES: usize = 11;

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The two ends support no common protocol version.
    Version,
    /// The agent is shutting down.
    Ending,
    /// A reason that a later version defines; the text explains it.
    Other(u16),
}

impl Reason {
    const fn code(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::Ending => 2,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::Ending,
            other => Self::Other(other),
        }
    }
}

/// A frozen message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preface {
    /// The shim opens a stream.
    Hello {
        /// The lowest protocol version that the shim supports.
        lowest: u16,
        /// The highest protocol version that the shim supports.
        highest: u16,
        /// The shim's program version, for messages to the user.
        program: String,
    },
    /// The agent accepts the stream.
    Welcome {
        /// The protocol version of the stream.
        chosen: u16,
        /// The agent's program version, for messages to the user.
        program: String,
    },
    /// The agent refuses the stream.
    Refuse {
        /// The reason, for programs.
        reason: Reason,
        /// The lowest protocol version that the agent supports.
        lowest: u16,
        /// The highest protocol version that the agent supports.
        highest: u16,
        /// The reason, for the user.
        text: String,
    },
    /// The executable of a newer agent follows; it replaces the running one.
    Upgrade {
        /// The size of the executable in bytes.
        length: u64,
        /// The digest of the executable.
        digest: Digest,
    },
}

/// An invalid preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// The magic is missing: the peer is not cargo-burst.
    #[error("the other end does not speak cargo-burst's protocol")]
    NotOurs,
    /// This build does not know the kind.
    #[error("the first message of the other end has the unknown kind {0}")]
    UnknownKind(u8),
    /// The body is longer than [`HELLO_BYTES_MAX`].
    #[error("the first message of the other end is too long: {0} bytes")]
    TooLong(usize),
    /// The body ends before its last field.
    #[error("the first message of the other end is truncated")]
    Short,
}

impl Preface {
    /// The hello of this build, with its program version.
    pub fn hello(program: &str) -> Self {
        Self::Hello { lowest: *VERSIONS.start(), highest: *VERSIONS.end(), program: program.into() }
    }

    /// The agent's reply to a hello: a welcome with the highest version that both ends
    /// support, or a refusal.
    pub fn answer(lowest: u16, highest: u16, program: &str) -> Self {
        let chosen = highest.min(*VERSIONS.end());
        if chosen >= lowest && VERSIONS.contains(&chosen) {
            return Self::Welcome { chosen, program: program.into() };
        }
        Self::refuse(Reason::Version, program)
    }

    /// A refusal with the versions that this build supports.
    pub fn refuse(reason: Reason, text: &str) -> Self {
        Self::Refuse {
            reason,
            lowest: *VERSIONS.start(),
            highest: *VERSIONS.end(),
            text: text.into(),
        }
    }

    /// Encodes the preface, magic included. A text is truncated where the body would
    /// exceed [`HELLO_BYTES_MAX`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let (kind, text) = match self {
            Self::Hello { lowest, highest, program } => {
                body.extend(lowest.to_le_bytes());
                body.extend(highest.to_le_bytes());
                (1, program.as_str())
            }
            Self::Welcome { chosen, program } => {
                body.extend(chosen.to_le_bytes());
                (2, program.as_str())
            }
            Self::Refuse { reason, lowest, highest, text } => {
                body.extend(reason.code().to_le_bytes());
                body.extend(lowest.to_le_bytes());
                body.extend(highest.to_le_bytes());
                (3, text.as_str())
            }
            Self::Upgrade { length, digest } => {
                body.extend(length.to_le_bytes());
                body.extend(digest.as_bytes());
                (4, "")
            }
        };
        body.extend(text.bytes().take(HELLO_BYTES_MAX - body.len()));
        let mut bytes = MAGIC.to_vec();
        bytes.push(kind);
        bytes.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// Parses the first eleven bytes; returns the kind and the length of the body.
    pub fn parse_start(bytes: [u8; PREFACE_BYTES]) -> Result<(u8, usize), PrefaceError> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(PrefaceError::NotOurs);
        }
        let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
        if length > HELLO_BYTES_MAX {
            return Err(PrefaceError::TooLong(length));
        }
        Ok((rest[0], length))
    }

    /// Parses the body of a kind.
    pub fn parse_body(kind: u8, body: &[u8]) -> Result<Self, PrefaceError> {
        let mut body = Body(body);
        Ok(match kind {
            1 => Self::Hello { lowest: body.u16()?, highest: body.u16()?, program: body.text() },
            2 => Self::Welcome { chosen: body.u16()?, program: body.text() },
            3 => Self::Refuse {
                reason: Reason::from_code(body.u16()?),
                lowest: body.u16()?,
                highest: body.u16()?,
                text: body.text(),
            },
            4 => Self::Upgrade {
                length: u64::from_le_bytes(body.take()?),
                digest: Digest::from_bytes(body.take()?),
            },
            other => return Err(PrefaceError::UnknownKind(other)),
        })
    }
}

struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PrefaceError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(PrefaceError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, PrefaceError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(std::mem::take(&mut self.0)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(preface: &Preface) -> Preface {
        let bytes = preface.to_bytes();
        let (start, body) = bytes.split_first_chunk::<PREFACE_BYTES>().unwrap();
        let (kind, length) = Preface::parse_start(*start).unwrap();
        assert_eq!(length, body.len());
        Preface::parse_body(kind, body).unwrap()
    }

    /// These bytes are frozen. If this test fails, the code is wrong, not the test.
    #[test]
    fn the_frozen_bytes() {
        let hello = Preface::Hello { lowest: 1, highest: 3, program: "0.1.0".into() };
        assert_eq!(hello.to_bytes(), b"BURST\r\n\0\x01\x09\x00\x01\x00\x03\x000.1.0");
        let welcome = Preface::Welcome { chosen: 1, program: "a".into() };
        assert_eq!(welcome.to_bytes(), b"BURST\r\n\0\x02\x03\x00\x01\x00a");
        let refuse =
            Preface::Refuse { reason: Reason::Version, lowest: 2, highest: 4, text: "old".into() };
        assert_eq!(refuse.to_bytes(), b"BURST\r\n\0\x03\x09\x00\x01\x00\x02\x00\x04\x00old");
        let upgrade = Preface::Upgrade { length: 258, digest: Digest::from_bytes([7; 32]) };
        let mut expected = b"BURST\r\n\0\x04\x28\x00\x02\x01\0\0\0\0\0\0".to_vec();
        expected.extend([7; 32]);
        assert_eq!(upgrade.to_bytes(), expected);
        for preface in [hello, welcome, refuse, upgrade] {
            assert_eq!(read_back(&preface), preface);
        }
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        let (low, high) = (*VERSIONS.start(), *VERSIONS.end());
        assert!(
            matches!(Preface::answer(low, high, ""), Preface::Welcome { chosen, .. } if chosen == high)
        );
        assert!(
            matches!(Preface::answer(low, high + 9, ""), Preface::Welcome { chosen, .. } if chosen == high)
        );
        assert!(matches!(Preface::answer(high + 1, high + 2, ""), Preface::Refuse { .. }));
        assert!(matches!(Preface::answer(0, low - 1, ""), Preface::Refuse { .. }));
    }

    #[test]
    fn foreign_and_truncated_bytes_are_errors() {
        assert_eq!(Preface::parse_start(*b"HTTP/1.1 20"), Err(PrefaceError::NotOurs));
        assert_eq!(
            Preface::parse_start(*b"BURST\r\n\0\x01\xff\xff"),
            Err(PrefaceError::TooLong(65535))
        );
        for kind in 1..=4 {
            assert_eq!(Preface::parse_body(kind, &[0]), Err(PrefaceError::Short));
        }
        assert_eq!(Preface::parse_body(77, &[]), Err(PrefaceError::UnknownKind(77)));
    }
}
