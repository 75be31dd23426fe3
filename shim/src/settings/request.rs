//! What a project file asks for beyond the user's own settings.

use std::fmt;

use super::kind::Shown;

/// One value of a project file that needs trust.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// The key.
    pub(crate) key: &'static str,
    /// The part of its value that goes beyond the user's own.
    pub(crate) asked: Shown,
    /// The user's own value.
    pub(crate) own: Shown,
}

/// As a line of TOML: the key with what is asked for, and the user's own value.
impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {}  # yours: {}", self.key, self.asked, self.own)
    }
}
