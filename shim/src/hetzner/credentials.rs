//! What the API is called with. The token is neither shown nor part of any path.

use burst_hcloud::Token;
use burst_protocol::Digest;
use serde::{Deserialize, Serialize};

/// A token and the API it is for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The URL of the API.
    pub(crate) endpoint: String,
    token: String,
}

impl Credentials {
    /// A token for an endpoint.
    pub(crate) fn new(endpoint: &str, token: &Token) -> Self {
        Self { endpoint: endpoint.to_owned(), token: token.reveal().to_owned() }
    }

    /// The account's name in paths and messages: a digest, which reveals nothing of the
    /// token.
    pub(crate) fn account(&self) -> AccountName {
        let text = format!("{}\n{}", self.endpoint, self.token);
        AccountName(Digest::of(text.as_bytes()).to_hex()[..16].to_owned())
    }

    /// The token's text, to be parsed again.
    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Credentials({}, [private])", self.endpoint)
    }
}

/// An account, in paths and messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AccountName(String);

impl AccountName {
    /// As a file name.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}
