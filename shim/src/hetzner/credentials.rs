//! The token and the endpoint of the Hetzner API.
//!
//! The token is neither printed nor part of any path; an account is named by a digest. A
//! password in the URL is not printed either. Of the spellings of one URL one is kept.

use burst_hcloud::Token;
use burst_hcloud::endpoint::{normalised, without_userinfo};
use burst_hcloud::token::NotAToken;
use serde::{Deserialize, Serialize};

use super::naming::short_digest;
use crate::settings::{Origin, Settings};

/// The setting of the endpoint.
const ENDPOINT_KEY: &str = "hetzner_endpoint";

/// A token and the API that accepts it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The API.
    pub(crate) endpoint: Endpoint,
    token: String,
}

/// The URL of the API in one spelling, and the place where it is set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    url: String,
    /// The file or the variable; `None` for the default.
    origin: Option<String>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Endpoint({}, {:?})", self.shown(), self.origin)
    }
}

impl Credentials {
    /// The credentials in the settings; `None` without a token.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let token = settings.hetzner_token.as_ref()?.reveal().to_owned();
        Some(Self { endpoint: Endpoint::of(settings), token })
    }

    /// The account's name in logs: a digest of endpoint and token.
    pub(crate) fn account(&self) -> AccountName {
        let text = format!("{}\n{}", self.endpoint.url, self.token);
        AccountName(short_digest(text.as_bytes()))
    }

    /// The token. It was checked where the settings were read, but a process of another
    /// version may have sent it.
    pub(super) fn token(&self) -> Result<Token, NotAToken> {
        Token::parse(&self.token)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Credentials({}, [private])", self.endpoint.shown())
    }
}

impl Endpoint {
    /// The endpoint in the settings.
    pub(crate) fn of(settings: &Settings) -> Self {
        let url = normalised(&settings.hetzner_endpoint);
        let setting = settings.effective().iter().find(|setting| setting.key == ENDPOINT_KEY);
        let origin = setting.and_then(|setting| setting.origins.last());
        let origin = origin.filter(|origin| **origin != Origin::Default);
        Self { url, origin: origin.map(ToString::to_string) }
    }

    /// The URL, which may contain a password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A digest of the URL.
    pub(super) fn digest(&self) -> String {
        short_digest(self.url.as_bytes())
    }

    /// The URL without a password.
    fn shown(&self) -> String {
        without_userinfo(&self.url)
    }

    /// The setting with its value and its origin, for hints; `None` for the default.
    pub(super) fn setting(&self) -> Option<String> {
        let origin = self.origin.as_deref()?;
        Some(format!("`{ENDPOINT_KEY}` is `{}` (set in {origin})", self.shown()))
    }
}

/// The name of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AccountName(String);

impl AccountName {
    /// Hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
