//! Times in the format of the API, RFC 3339.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// Deserialises a time, for `#[serde(deserialize_with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// Deserialises a time that may be `null`, likewise.
pub(crate) fn deserialize_optional<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}
