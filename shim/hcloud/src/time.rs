//! Points in time as the API writes them (RFC 3339).

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// For serde.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}
