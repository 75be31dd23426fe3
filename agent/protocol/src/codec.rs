//! Encoding of messages and records: bincode 2 in its `standard` configuration (little
//! endian, variable-length integers).
//!
//! bincode is unmaintained (RUSTSEC-2025-0141) and therefore pinned. No other module uses
//! it, and `tests/golden.rs` holds the encoded bytes of every message. A decoder rejects
//! bytes that follow the value.
//!
//! Invariant: decoding allocates memory in proportion to the bytes that are there, never to
//! a length that they name. The tiers of `decode_in_tier` see to this for strings, serde for
//! lists, which it allocates as their elements arrive. Nothing recurses but directories, whose
//! depth [`tree`](crate::tree) bounds.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limit::{MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};

/// An error of encoding or decoding.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The message is larger than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes exceeds the limit of {MESSAGE_BYTES_MAX} bytes")]
    TooLarge(usize),
    /// The record is larger than [`RECORD_BYTES_MAX`].
    #[error("a record of {0} bytes exceeds the limit of {RECORD_BYTES_MAX} bytes")]
    RecordTooLarge(usize),
    /// The bytes do not encode a value of the expected type, or the value cannot be
    /// encoded.
    #[error("a message cannot be encoded or decoded: {0}")]
    Malformed(String),
    /// This many bytes follow the message.
    #[error("{0} unexpected bytes follow a message")]
    Trailing(usize),
}

/// Encodes a message. Fails if it is larger than [`MESSAGE_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    match to_bytes(message)? {
        bytes if bytes.len() > MESSAGE_BYTES_MAX => Err(CodecError::TooLarge(bytes.len())),
        bytes => Ok(bytes),
    }
}

/// Decodes a message from exactly `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    decode_in_tier(bytes)
}

/// Encodes a record for a local file. Fails if it is larger than [`RECORD_BYTES_MAX`].
pub fn encode_record<T: Serialize>(record: &T) -> Result<Vec<u8>, CodecError> {
    match to_bytes(record)? {
        bytes if bytes.len() > RECORD_BYTES_MAX => Err(CodecError::RecordTooLarge(bytes.len())),
        bytes => Ok(bytes),
    }
}

/// Decodes a record from exactly `bytes`, which may have any content.
pub fn decode_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(CodecError::RecordTooLarge(bytes.len()));
    }
    decode_in_tier(bytes)
}

fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

/// Decodes a value of at most [`RECORD_BYTES_MAX`] encoded bytes.
///
/// bincode counts what it decodes in decoded bytes, and checks each length against a constant
/// before it allocates. An integer of eight bytes is encoded in one at best, so that constant
/// has to be eight times the encoded bytes; it is that of the smallest tier that fits.
fn decode_in_tier<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    const DECODED_PER_BYTE: usize = 8;
    const SMALL: usize = 64 << 10;
    const MEDIUM: usize = 1 << 20;
    const LARGE: usize = 32 << 20;
    fn decode_within<T: DeserializeOwned, const DECODED_BYTES_MAX: usize>(
        bytes: &[u8],
    ) -> Result<T, CodecError> {
        let limited = bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();
        let (value, read) = bincode::serde::decode_from_slice(bytes, limited)
            .map_err(|error| CodecError::Malformed(error.to_string()))?;
        match bytes.len() - read {
            0 => Ok(value),
            rest => Err(CodecError::Trailing(rest)),
        }
    }
    match bytes.len() {
        length if length <= SMALL => decode_within::<T, { DECODED_PER_BYTE * SMALL }>(bytes),
        length if length <= MEDIUM => decode_within::<T, { DECODED_PER_BYTE * MEDIUM }>(bytes),
        length if length <= LARGE => decode_within::<T, { DECODED_PER_BYTE * LARGE }>(bytes),
        _ => decode_within::<T, { DECODED_PER_BYTE * RECORD_BYTES_MAX }>(bytes),
    }
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::RelativePath;
    use crate::tree::Directory;

    /// A length that a varint of nine bytes names.
    fn huge() -> Vec<u8> {
        let mut bytes = vec![253];
        bytes.extend((u64::MAX >> 4).to_le_bytes());
        bytes
    }

    #[test]
    fn a_length_beyond_the_bytes_allocates_nothing() {
        assert!(matches!(decode_record::<ByteBuf>(&huge()), Err(CodecError::Malformed(_))));
        assert!(matches!(decode_record::<String>(&huge()), Err(CodecError::Malformed(_))));
        assert!(matches!(decode_record::<Vec<u64>>(&huge()), Err(CodecError::Malformed(_))));
        assert!(matches!(decode_record::<RelativePath>(&huge()), Err(CodecError::Malformed(_))));
        assert!(matches!(decode::<ByteBuf>(&huge()), Err(CodecError::Malformed(_))));
        // As a path inside of a list: the shape of a stat cache.
        let list = [vec![1], huge()].concat();
        assert!(matches!(decode_record::<Vec<RelativePath>>(&list), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn what_can_be_encoded_can_be_decoded_at_the_border_of_each_tier() {
        for length in [64 << 10, (64 << 10) + 1, 1 << 20, (1 << 20) + 1] {
            let small_integers: Vec<u64> = vec![7; length];
            let bytes = encode_record(&small_integers).unwrap();
            assert_eq!(decode_record::<Vec<u64>>(&bytes).unwrap(), small_integers);
        }
        let message: Vec<u64> = vec![7; MESSAGE_BYTES_MAX - 5];
        assert_eq!(decode::<Vec<u64>>(&encode(&message).unwrap()).unwrap().len(), message.len());
        assert!(matches!(encode(&vec![7_u64; MESSAGE_BYTES_MAX]), Err(CodecError::TooLarge(_))));
    }

    #[test]
    fn bytes_behind_a_value_are_rejected() {
        assert!(matches!(decode_record::<u64>(&[7, 0, 0]), Err(CodecError::Trailing(2))));
    }

    #[test]
    fn directories_are_nested_to_the_depth_of_a_path() {
        // One entry, named `a`, which is a directory.
        let nested = |depth: usize| [[1, 1, b'a', 2].repeat(depth), vec![0]].concat();
        let deepest: Directory = decode_record(&nested(crate::limit::PATH_DEPTH_MAX)).unwrap();
        assert_eq!(encode_record(&deepest).unwrap(), nested(crate::limit::PATH_DEPTH_MAX));
        for depth in [crate::limit::PATH_DEPTH_MAX + 1, 644, 1 << 20] {
            let decoded = decode_record::<Directory>(&nested(depth));
            assert!(matches!(decoded, Err(CodecError::Malformed(_))), "{depth}");
        }
    }
}
