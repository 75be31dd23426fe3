//! The only place that knows how a message becomes bytes: bincode 2, its
//! `standard` configuration (little endian, variable-length integers).
//!
//! bincode is pinned and unmaintained (RUSTSEC-2025-0141), so it appears
//! nowhere else and `tests/golden.rs` holds the bytes of every message. A
//! decoder reads at most [`MESSAGE_BYTES_MAX`] and leaves nothing over: bytes
//! behind a message are an error.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limit::MESSAGE_BYTES_MAX;

/// Why a message was not encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The message is larger than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is over the cap of {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    /// The bytes are not the message that was expected.
    #[error("a message from the other end cannot be read: {0}")]
    Malformed(String),
    /// Bytes stand behind the message.
    #[error("{0} bytes stand behind a message")]
    Trailing(usize),
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MESSAGE_BYTES_MAX>()
}

/// The bytes of `message`.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(message, configuration())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// The message that all of `bytes` are.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    let (message, read) = bincode::serde::decode_from_slice(bytes, configuration())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    match bytes.len() - read {
        0 => Ok(message),
        rest => Err(CodecError::Trailing(rest)),
    }
}

/// Bytes for a file of our own, where the wire's cap does not apply.
pub fn encode_record<T: Serialize>(record: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(record, bincode::config::standard())
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

/// Reads what [`encode_record`] wrote. The caller vouches for the bytes with a
/// digest: without the wire's cap a corrupt length could ask for any memory.
pub fn decode_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (record, read) = bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    match bytes.len() - read {
        0 => Ok(record),
        rest => Err(CodecError::Trailing(rest)),
    }
}
