//! Errors of the client and of the API.

use std::fmt;
use std::time::Duration;

use crate::id::Id;
use crate::open_enum::open_enum;

open_enum! {
    /// An error code of the API, from the table in the official documentation or, where
    /// noted, from the official clients.
    Code {
        /// The request body is not JSON.
        JsonError = "json_error",
        /// The token is missing or invalid.
        Unauthorized = "unauthorized",
        /// The token permits only reading.
        TokenReadonly = "token_readonly",
        /// The token's permissions do not allow the request.
        Forbidden = "forbidden",
        /// A quota of the account is exhausted.
        ResourceLimitExceeded = "resource_limit_exceeded",
        /// The resource does not exist.
        NotFound = "not_found",
        /// Another resource has the name.
        UniquenessError = "uniqueness_error",
        /// The resource changed during the request.
        Conflict = "conflict",
        /// The endpoint has been removed.
        DeprecatedApiEndpoint = "deprecated_api_endpoint",
        /// The server type or location is out of stock.
        ResourceUnavailable = "resource_unavailable",
        /// A field of the request is invalid.
        InvalidInput = "invalid_input",
        /// The location has no space for volumes.
        NoSpaceLeftInLocation = "no_space_left_in_location",
        /// No host can take the server.
        PlacementError = "placement_error",
        /// Another resource uses this one.
        ResourceInUse = "resource_in_use",
        /// The volume is already attached (from the official Go client).
        VolumeAlreadyAttached = "volume_already_attached",
        /// The server has the maximum number of volumes (from the CSI driver).
        LimitExceeded = "limit_exceeded_error",
        /// An action on the resource is in progress.
        Locked = "locked",
        /// The resource is protected against deletion.
        Protected = "protected",
        /// The rate limit is exceeded.
        RateLimitExceeded = "rate_limit_exceeded",
        /// The API itself failed.
        ServerError = "server_error",
        /// A gateway in front of the API failed.
        BadGateway = "bad_gateway",
        /// The API is unavailable.
        Unavailable = "unavailable",
        /// The API took too long.
        Timeout = "timeout",
        /// A service behind the API failed.
        ServiceError = "service_error",
    }
}

/// A request in error messages, such as `POST /servers`, without its query and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The HTTP method.
    pub method: &'static str,
    /// The path below the endpoint.
    pub path: String,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// An error of a request or action.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API rejected the request.
    #[error("{operation}: {message} ({code}{})", shown(correlation.as_deref()))]
    Refused {
        /// The request.
        operation: Operation,
        /// The HTTP status.
        status: u16,
        /// The error code of the API.
        code: Code,
        /// The message of the API, without control characters, at most 500 characters.
        message: Box<str>,
        /// The names of the limits of the account that the request would exceed.
        limits: Box<[Box<str>]>,
        /// The correlation id, for Hetzner's support.
        correlation: Option<Box<str>>,
    },
    /// A response without an error of the API, for example from a proxy.
    #[error("{operation}: HTTP status {status}{}", shown(correlation.as_deref()))]
    Status {
        /// The request.
        operation: Operation,
        /// The HTTP status.
        status: u16,
        /// The correlation id, for Hetzner's support.
        correlation: Option<Box<str>>,
    },
    /// No response was received.
    #[error("{operation}: no response")]
    Unreachable {
        /// The request.
        operation: Operation,
        /// Whether a deadline was exceeded.
        timed_out: bool,
        /// Whether the request certainly did not reach the API.
        unsent: bool,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
    /// The response does not have the expected form.
    #[error("{operation}: the response cannot be parsed{}", shown(correlation.as_deref()))]
    Unintelligible {
        /// The request.
        operation: Operation,
        /// The correlation id, for Hetzner's support.
        correlation: Option<Box<str>>,
        /// The error of the JSON parser.
        source: serde_json::Error,
    },
    /// An action failed.
    #[error("the action {command} ({id}) failed: {message} ({code})")]
    Action {
        /// The id of the action.
        id: Id,
        /// The operation, such as `create_server`.
        command: String,
        /// The error code of the API.
        code: String,
        /// The message of the API.
        message: String,
    },
    /// An action was not completed in time.
    #[error("the action {command} ({id}) was not completed within {} s", waited.as_secs())]
    ActionDeadline {
        /// The id of the action.
        id: Id,
        /// The operation, such as `create_server`.
        command: String,
        /// The time since the start of the wait.
        waited: Duration,
    },
    /// A resource that cargo-burst did not create has the requested name.
    #[error("{operation}: a resource named `{name}` exists, which cargo-burst did not create")]
    Taken {
        /// The request.
        operation: Operation,
        /// The requested name.
        name: String,
    },
    /// The endpoint is not an HTTP or HTTPS URL. A password in it is hidden.
    #[error("`{0}` is not an http or https URL")]
    Endpoint(String),
    /// The HTTP client cannot be created.
    #[error("the HTTPS client cannot be created")]
    Http(#[source] reqwest::Error),
}

fn shown(correlation: Option<&str>) -> String {
    correlation.map(|id| format!(", correlation id {id}")).unwrap_or_default()
}

impl Error {
    /// The error code, if the API itself rejected the request.
    pub const fn code(&self) -> Option<&Code> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the resource does not exist. For a deletion this is success.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(&Code::NotFound)
    }

    /// Whether the API may have carried out the request despite the error.
    pub const fn is_uncertain(&self) -> bool {
        match self {
            Self::Unreachable { unsent, .. } => !*unsent,
            Self::Status { status, .. } => *status >= 500,
            Self::Refused { code, .. } => {
                matches!(code, Code::BadGateway | Code::Timeout | Code::ServerError)
            }
            Self::Unintelligible { .. } => true,
            _ => false,
        }
    }

    /// Whether the API or the network is at fault, rather than the request.
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } | Self::Refused { status, .. } => {
                *status >= 500 || *status == 429
            }
            _ => false,
        }
    }
}
