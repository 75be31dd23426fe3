//! The protection of a resource, which users switch on in the console or by other tools.

use serde::Deserialize;

/// What a resource is protected against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Protection {
    /// Whether the API refuses to delete it.
    #[serde(default)]
    pub delete: bool,
}
