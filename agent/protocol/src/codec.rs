//! Encoding of messages and records: bincode 2 in its `standard` configuration (little
//! endian, variable-length integers).
//!
//! bincode is unmaintained (RUSTSEC-2025-0141) and therefore pinned. No other module uses
//! it, and `tests/golden.rs` holds the encoded bytes of every message. A decoder accepts
//! at most [`MESSAGE_BYTES_MAX`] bytes and rejects bytes that follow the message.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limit::MESSAGE_BYTES_MAX;

/// An error of encoding or decoding.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The message is larger than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes exceeds the limit of {MESSAGE_BYTES_MAX} bytes")]
    TooLarge(usize),
    /// The bytes do not encode a value of the expected type, or the value cannot be
    /// encoded.
    #[error("a message cannot be encoded or decoded: {0}")]
    Malformed(String),
    /// This many bytes follow the message.
    #[error("{0} unexpected bytes follow a message")]
    Trailing(usize),
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MESSAGE_BYTES_MAX>()
}

/// Encodes a message. Fails if it is larger than [`MESSAGE_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(message, configuration())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// Decodes a message from exactly `bytes`.
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

/// Encodes a record for a local file, without the cap for messages.
pub fn encode_record<T: Serialize>(record: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(record, bincode::config::standard())
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

/// Decodes a record from exactly `bytes`. The caller must have verified a digest of the
/// bytes: without a cap, a corrupt length could request any amount of memory.
pub fn decode_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (record, read) = bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    match bytes.len() - read {
        0 => Ok(record),
        rest => Err(CodecError::Trailing(rest)),
    }
}
