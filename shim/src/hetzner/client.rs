//! The client of the API for the credentials of a user. Nothing is called.

use std::sync::Arc;

use burst_hcloud::Client;
use burst_hcloud::retry::Retries;

use super::credentials::Credentials;
use super::error::{self, api};
use crate::error::{Error, ErrorKind};

/// The client of these credentials, which is for `action`, as errors say. Fails if the token or
/// the endpoint is malformed.
pub(super) fn of(
    credentials: &Credentials,
    action: &str,
    retries: Retries,
) -> Result<Client, Error> {
    let token = credentials.token().map_err(|source| {
        Error::new(ErrorKind::Token, "the Hetzner token is malformed", error::NEW_TOKEN)
            .caused_by(&source)
    })?;
    let url = credentials.endpoint.url();
    Client::new(url, &token, retries, Arc::new(fastrand::f64))
        .map_err(|source| api(&credentials.endpoint, action, &source))
}
