//! Control messages of a stream that survives its connection.
//!
//! ```text
//! shim   hello    Open { id, .. }         frames ...         a new stream
//! agent  welcome  frames ...
//!
//! shim   hello    Resume { id, received, attempt }           another connection
//! agent  welcome  Resumed { received }    frames from there  or Refused
//! shim   Acknowledge { received }         frames from there
//!
//! shim   hello    Cancel { id }                              another connection
//! agent  welcome
//! ```
//!
//! The agent cannot know whether its answer to `Resume` comes in time: until the shim has said
//! something behind it, the end of that connection is one more break. A connection of an earlier
//! attempt never replaces one of a later attempt.
//!
//! `received` is the number of bytes, headers included, of all frames of one direction that
//! have arrived whole: messages, raw and compressed frames, [`Control::Stop`] and
//! [`Control::End`]. The other control messages are not counted and never sent again. Both
//! ends send [`Control::End`] after their last frame; a stream that ends without it has
//! broken. Who knows the id may go on with a stream, so it is random and only sent on
//! connections on which both ends have proved who they are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The random name of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamId([u8; 16]);

impl StreamId {
    /// The name with these bytes, which are from a source of random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for StreamId {
    /// Without the bytes, which are a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StreamId")
    }
}

/// A message of the stream itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// From the shim, after its hello: the stream has this name.
    Open {
        /// The name.
        id: StreamId,
        /// How long the agent is to wait for the shim after the connection has broken.
        grace_secs: u32,
    },
    /// From the shim, after its hello: this stream replaces one whose connection has broken.
    Resume {
        /// The name.
        id: StreamId,
        /// The bytes that the shim has received.
        received: u64,
        /// The number of times that the shim has tried to go on with the stream, from 1.
        attempt: u32,
    },
    /// The answer to `Resume`.
    Resumed {
        /// The bytes that the agent has received.
        received: u64,
    },
    /// The answer to `Resume` if the stream cannot go on.
    Refused(Refusal),
    /// So many bytes have been received.
    Acknowledge {
        /// The bytes since the stream was opened.
        received: u64,
    },
    /// The sender of this message reads nothing more.
    Stop,
    /// The sender of this message sends no further messages, raw or compressed frames.
    End,
    /// From the shim, after its hello: the client of this stream has ended without a message, and
    /// will not resume it. The agent ends the stream; it ignores an unknown name.
    Cancel {
        /// The name.
        id: StreamId,
    },
}

/// Why a stream cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The agent does not know it: it has been restarted, or the stream has ended.
    Unknown,
    /// The shim was away for longer than the grace time.
    Expired {
        /// The grace time.
        after_secs: u32,
    },
}
