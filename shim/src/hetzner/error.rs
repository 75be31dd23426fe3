//! Errors of servers and volumes: kind and hint for each error of the API, of an agent's
//! connection and of the state that this module keeps.
//!
//! The texts complete "cannot "; they name the resource, never the token.

use burst_agent::error::AgentError;
use burst_agent::transport::SERVER_PORT;
use burst_hcloud::{Code, Error as ApiError};

use super::credentials::Endpoint;
use super::naming::FIREWALL_NAME;
use crate::connection::ConnectionError;
use crate::error::{Error, ErrorKind};

/// The hint for a token that is missing, malformed or revoked.
pub(crate) const NEW_TOKEN: &str = "create a token in the Hetzner console (project, Security, \
     API tokens, Read & Write) and set it with `cargo burst init` or in HCLOUD_TOKEN";

/// The hint where no location has a server of the configured types.
pub(super) const OUT_OF_STOCK: &str = "try again later, or list more values in `region` and \
     `server_type`";

/// The hint for a limit of the account.
pub(super) const RAISE_LIMIT: &str = "delete servers or volumes that you no longer need (`cargo \
     burst status --all` lists those of cargo-burst), or request a higher limit in the Hetzner \
     console";

/// The hint for errors after which a second attempt continues the work of the first.
const RUN_AGAIN: &str = "run the command again; `cargo burst status` lists the servers and \
     volumes that exist";

/// The hint for a server whose agent cannot be reached although it should run.
const REPLACE_SERVER: &str = "delete the server with `cargo burst down`; the next command creates \
     a new one";

/// The last resort without the API.
const BUILD_LOCALLY: &str = "without Hetzner, plain `cargo` builds on this machine, and so does \
     `cargo burst` without a token (`env -u HCLOUD_TOKEN cargo burst build`)";

/// An error of the API at `endpoint`. `action` completes "cannot ".
pub(crate) fn api(endpoint: &Endpoint, action: &str, error: &ApiError) -> Error {
    let (kind, hint) = explain(endpoint, error);
    let failed = Error::new(kind, format!("cannot {action}"), hint);
    match error {
        // The layers of the HTTP client in between say nothing.
        ApiError::Unreachable { source, .. } => {
            failed.cause(error.to_string()).cause(root_cause(source).to_string())
        }
        error => failed.caused_by(error),
    }
}

/// The innermost source of an error.
fn root_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// The kind and the hint of an error of the API.
fn explain(endpoint: &Endpoint, error: &ApiError) -> (ErrorKind, String) {
    if let Some((kind, hint)) = error.code().and_then(rejected) {
        return (kind, hint.to_owned());
    }
    match error {
        ApiError::Endpoint(_) => (ErrorKind::Settings, correct(endpoint)),
        ApiError::Unreachable { unsent: true, .. } => {
            let question = match endpoint.setting() {
                Some(setting) => format!("is that URL right? {setting}. Are you online?"),
                None => "are you online?".to_owned(),
            };
            (ErrorKind::Api, format!("{question} {}", capitalized(BUILD_LOCALLY)))
        }
        ApiError::Unintelligible { .. } => (ErrorKind::Api, correct(endpoint)),
        // A list is never missing, so the endpoint has a wrong path.
        ApiError::Refused { code: Code::NotFound, operation, .. }
            if operation.path.matches('/').count() == 1 =>
        {
            (ErrorKind::Api, correct(endpoint))
        }
        ApiError::Status { status, .. } if *status < 500 && *status != 429 => {
            (ErrorKind::Api, correct(endpoint))
        }
        error if error.is_outage() => (
            ErrorKind::Api,
            format!(
                "https://status.hetzner.com lists outages; run the command again later. Existing \
                 servers and volumes are kept. {}",
                capitalized(BUILD_LOCALLY)
            ),
        ),
        ApiError::Taken { .. } => (
            ErrorKind::Unavailable,
            "rename or delete the resource of that name in the Hetzner console".into(),
        ),
        ApiError::Http(_) => (
            ErrorKind::Api,
            "check the certificates that SSL_CERT_FILE and SSL_CERT_DIR name, and the proxy in \
             HTTPS_PROXY"
                .into(),
        ),
        _ => (ErrorKind::Api, RUN_AGAIN.into()),
    }
}

/// Kind and hint of the codes with which the API rejects a request for a reason that the
/// user can remove.
const fn rejected(code: &Code) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        Code::Unauthorized => (ErrorKind::Token, NEW_TOKEN),
        Code::TokenReadonly | Code::Forbidden => (
            ErrorKind::Token,
            "create a token with the permission Read & Write in the Hetzner console, and set it \
             with `cargo burst init`",
        ),
        Code::ResourceLimitExceeded => (ErrorKind::Unavailable, RAISE_LIMIT),
        Code::ResourceUnavailable => (ErrorKind::Unavailable, OUT_OF_STOCK),
        Code::NoSpaceLeftInLocation => {
            (ErrorKind::Unavailable, "list another location first in `region`")
        }
        _ => return None,
    })
}

/// The hint where no Hetzner API answers at the endpoint.
fn correct(endpoint: &Endpoint) -> String {
    match endpoint.setting() {
        Some(setting) => format!("correct the URL or remove the setting: {setting}"),
        None => "check the proxy in HTTPS_PROXY: the response is not one of the Hetzner API".into(),
    }
}

fn capitalized(sentence: &str) -> String {
    let mut characters = sentence.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

/// The error of a deletion that the API refuses because of the resource's protection.
pub(super) fn protected(resource: &str) -> Error {
    Error::new(
        ErrorKind::Api,
        format!(
            "{resource} is protected against deletion, and billed until it is deleted: remove the \
             protection in the Hetzner console"
        ),
        "then run `cargo burst down` again",
    )
}

/// The error of a command that deletes only what is idle.
pub(super) fn used_meanwhile() -> Error {
    Error::new(
        ErrorKind::Unconfirmed,
        "a command has begun to use the server meanwhile: nothing was deleted",
        "run `cargo burst down` again, with `--yes` to end that command",
    )
}

/// A call that the API carried out without the result that was to be expected.
pub(super) fn incomplete(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Api, message, RUN_AGAIN)
}

/// The server cannot be used any more, as long as it exists.
pub(super) fn unusable_server(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::AgentSilent, message, REPLACE_SERVER)
}

/// The keys of a server cannot be loaded: another machine has just created it.
pub(super) fn missing_keys(error: &AgentError) -> Error {
    Error::new(
        ErrorKind::AgentSilent,
        "the keys of the server are not on this machine",
        "run the command again: it leaves that server alone and creates one of its own",
    )
    .caused_by(error)
}

/// The agent of a server does not answer.
pub(crate) fn silent(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::AgentSilent, message, reach_port())
}

/// An error of the connection to the agent of a server.
pub(super) fn connection(error: ConnectionError) -> Error {
    let hint = match error {
        ConnectionError::Version { .. } => {
            "`cargo burst down` deletes the server; the next command creates one from the newest \
             image"
                .to_owned()
        }
        ConnectionError::Silent { .. } | ConnectionError::Lost(_) => reach_port(),
        ConnectionError::Ending => {
            "run the command again: the server is being deleted, and a new one is created".into()
        }
        ConnectionError::Keys(_) | ConnectionError::NotOurs { .. } => REPLACE_SERVER.into(),
        ConnectionError::Refused(_) => RUN_AGAIN.into(),
    };
    Error::from(error).with_hint(hint)
}

/// The agent of a server that runs cannot be reached over any transport.
pub(super) fn unreachable_port(server: &str, error: ConnectionError) -> Error {
    let (message, hint) = match &error {
        ConnectionError::Silent { .. } if error.is_refusal() => (
            format!("the agent of the server {server} does not run: its host refuses the port"),
            REPLACE_SERVER.to_owned(),
        ),
        ConnectionError::Silent { .. } => (
            format!(
                "port {SERVER_PORT} of the server {server} does not get through, neither UDP nor \
                 TCP, although Hetzner says that the server runs"
            ),
            format!(
                "a firewall of this machine, of this network or at Hetzner blocks port \
                 {SERVER_PORT}: let UDP or TCP through, or try another network. The firewall \
                 `{FIREWALL_NAME}` in the Hetzner console has a rule for each. The server is \
                 billed until it is deleted: `cargo burst down` does it now"
            ),
        ),
        _ => return connection(error),
    };
    Error::new(ErrorKind::AgentSilent, message, hint).cause(Error::from(error).one_line())
}

fn reach_port() -> String {
    format!(
        "run the command again; if that does not help, check that your network lets port \
         {SERVER_PORT} of UDP or TCP through, or delete the server with `cargo burst down`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use burst_hcloud::Operation;

    fn operation() -> Operation {
        Operation { method: "GET", path: "/servers".into() }
    }

    fn endpoint(url: Option<&str>) -> Endpoint {
        let directory = tempfile::tempdir().unwrap();
        let variable = url.map(|url| ("HCLOUD_ENDPOINT".into(), url.into()));
        Endpoint::of(&Settings::load(directory.path(), None, variable).unwrap())
    }

    #[test]
    fn a_wrong_endpoint_is_shown_with_its_origin() {
        let error =
            api(&endpoint(Some("nonsense")), "list servers", &ApiError::Endpoint("x".into()));
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.hint().contains("`hetzner_endpoint` is `nonsense` (set in environment"));
        assert!(error.hint().contains("HCLOUD_ENDPOINT"), "{}", error.hint());
        let status = ApiError::Status { operation: operation(), status: 404, correlation: None };
        let error = api(&endpoint(Some("https://example.org")), "list servers", &status);
        assert!(error.hint().starts_with("correct the URL"), "{}", error.hint());
        let error = api(&endpoint(None), "list servers", &status);
        assert!(error.hint().contains("HTTPS_PROXY"), "{}", error.hint());
    }

    #[test]
    fn a_password_in_the_endpoint_is_in_no_error() {
        let endpoint = endpoint(Some("https://me:password@api.example/v1"));
        let status = ApiError::Status { operation: operation(), status: 404, correlation: None };
        assert_eq!(
            api(&endpoint, "list servers", &status).hint(),
            "correct the URL or remove the setting: `hetzner_endpoint` is \
             `https://[hidden]@api.example/v1` (set in environment variable HCLOUD_ENDPOINT)"
        );
        assert!(!format!("{endpoint:?}").contains("password"), "{endpoint:?}");
    }

    #[test]
    fn a_host_that_refuses_is_told_from_a_port_that_is_blocked() {
        let told = |source: Option<std::io::Error>| {
            let address = ([192, 0, 2, 1], SERVER_PORT).into();
            let source = source.map(Into::into);
            let error = ConnectionError::Silent { address, source };
            unreachable_port("a in hel1", error)
        };
        let refused = told(Some(std::io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(
            refused.to_string(),
            "the agent of the server a in hel1 does not run: its host refuses the port"
        );
        assert_eq!(refused.hint(), REPLACE_SERVER);
        for silent in [told(None), told(Some(std::io::ErrorKind::TimedOut.into()))] {
            assert!(silent.to_string().starts_with("port 7777 of the server a in hel1 does not"));
            assert_eq!((silent.kind(), silent.causes().len()), (ErrorKind::AgentSilent, 1));
        }
    }

    #[test]
    fn rejections_have_their_own_exit_codes() {
        let rejected = |code: Code| {
            let (status, message) = (400, "no".into());
            let refused = ApiError::Refused {
                operation: operation(),
                status,
                code,
                message,
                limits: Box::default(),
                correlation: None,
            };
            let error = api(&endpoint(None), "create a server", &refused);
            (error.kind(), error.exit_code())
        };
        assert_eq!(rejected(Code::Unauthorized), (ErrorKind::Token, 116));
        assert_eq!(rejected(Code::TokenReadonly), (ErrorKind::Token, 116));
        assert_eq!(rejected(Code::ResourceLimitExceeded), (ErrorKind::Unavailable, 117));
        assert_eq!(rejected(Code::Conflict), (ErrorKind::Api, 120));
    }
}
