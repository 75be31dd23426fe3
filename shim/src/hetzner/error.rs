//! Errors of servers and volumes: from what the API answers to kind and next step.

use burst_hcloud::{Code, Error as ApiError};

use crate::connection::ConnectionError;
use crate::error::{Error, ErrorKind};

/// The next step without a usable token.
pub(crate) const NEW_TOKEN: &str = "create a token in the Hetzner console (project, Security, \
     API tokens, Read & Write) and set it with `cargo burst init` or in HCLOUD_TOKEN";

/// The next step after most failures of the API.
const SEE_STATUS: &str = "run the command again; `cargo burst status` shows the servers and \
     volumes that exist";

/// An error of the API. `action` completes "cannot ".
pub(crate) fn api(action: &str, error: &ApiError) -> Error {
    let (kind, hint) = match error.code() {
        Some(Code::Unauthorized) => (ErrorKind::Token, NEW_TOKEN),
        Some(Code::TokenReadonly | Code::Forbidden) => (
            ErrorKind::Token,
            "create a token with the permission Read & Write in the Hetzner console",
        ),
        Some(Code::ResourceLimitExceeded) => (
            ErrorKind::Unavailable,
            "delete servers or volumes that you no longer need (`cargo burst status --all` \
             lists ours), or request a higher limit in the Hetzner console",
        ),
        Some(Code::ResourceUnavailable) => (ErrorKind::Unavailable, OUT_OF_STOCK),
        _ if is_endpoint_wrong(error) => (
            ErrorKind::Api,
            "check `hetzner_endpoint` (`cargo burst config` shows it and its origin)",
        ),
        _ if is_offline(error) => (
            ErrorKind::Api,
            "are you online? `env -u HCLOUD_TOKEN cargo burst …` runs on this machine if the \
             token is in the environment; plain `cargo` always does",
        ),
        _ if error.is_outage() => (
            ErrorKind::Api,
            "https://status.hetzner.com shows disruptions; run the command again later. Existing \
             servers and volumes stay and are found again",
        ),
        _ if matches!(error, ApiError::Taken { .. }) => (
            ErrorKind::Unavailable,
            "rename or delete the resource of that name in the Hetzner console",
        ),
        _ => (ErrorKind::Api, SEE_STATUS),
    };
    Error::new(kind, format!("cannot {action}"), hint).caused_by(error)
}

/// Whether the request never left this machine's network.
const fn is_offline(error: &ApiError) -> bool {
    matches!(error, ApiError::Unreachable { unsent: true, .. })
}

/// Whether the answer, if any, does not come from a Hetzner API.
const fn is_endpoint_wrong(error: &ApiError) -> bool {
    match error {
        ApiError::Endpoint(_) | ApiError::Unintelligible { .. } => true,
        ApiError::Status { status, .. } => *status < 500 && *status != 429,
        _ => false,
    }
}

/// The next step where no location has a server.
pub(super) const OUT_OF_STOCK: &str = "try again later, or list more values in `region` and \
     `server_type`";

/// Any other failure at Hetzner.
pub(super) fn other(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Api, message, SEE_STATUS)
}

/// The agent of a server does not answer.
pub(crate) fn silent(message: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::AgentSilent,
        message,
        "run the command again; if that does not help, check that your network lets UDP port \
         7777 through, or delete the server with `cargo burst down`",
    )
}

/// An error of the connection to the agent of a server.
pub(super) fn connection(error: ConnectionError) -> Error {
    let hint = silent("").hint().to_owned();
    match error {
        ConnectionError::Version { .. } => Error::from(error).with_hint(
            "`cargo burst down` deletes the server; the next command creates one from the \
             newest image (`cargo burst image build`)",
        ),
        error => Error::from(error).with_hint(hint),
    }
}
