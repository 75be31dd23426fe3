//! What can go wrong between us and the API.

use std::fmt;
use std::time::Duration;

use crate::{Id, open_enum};

open_enum! {
    /// Why the API refuses. From the error table of the official documentation and,
    /// where marked, from the official clients.
    Code {
        /// The body was no JSON.
        JsonError = "json_error",
        /// No token, or not a valid one.
        Unauthorized = "unauthorized",
        /// A token that may only read.
        TokenReadonly = "token_readonly",
        /// Not allowed.
        Forbidden = "forbidden",
        /// A quota of the account is used up.
        ResourceLimitExceeded = "resource_limit_exceeded",
        /// No such thing.
        NotFound = "not_found",
        /// The name is taken.
        UniquenessError = "uniqueness_error",
        /// It has changed during the request.
        Conflict = "conflict",
        /// The endpoint is gone for ever.
        DeprecatedApiEndpoint = "deprecated_api_endpoint",
        /// Out of stock.
        ResourceUnavailable = "resource_unavailable",
        /// A field is wrong.
        InvalidInput = "invalid_input",
        /// The location has no room for volumes.
        NoSpaceLeftInLocation = "no_space_left_in_location",
        /// The server has to be moved and cannot be.
        PlacementError = "placement_error",
        /// Something else still uses it.
        ResourceInUse = "resource_in_use",
        /// The volume is attached already (from the official Go client).
        VolumeAlreadyAttached = "volume_already_attached",
        /// The server has as many volumes as it can (from the CSI driver).
        LimitExceeded = "limit_exceeded_error",
        /// An action is under way on it.
        Locked = "locked",
        /// It is protected against deletion.
        Protected = "protected",
        /// Too many requests.
        RateLimitExceeded = "rate_limit_exceeded",
        /// The API itself failed.
        ServerError = "server_error",
        /// A gateway in front of the API failed.
        BadGateway = "bad_gateway",
        /// The API is not there.
        Unavailable = "unavailable",
        /// The API took too long.
        Timeout = "timeout",
        /// A part of the API failed.
        ServiceError = "service_error",
    }
}

/// What was asked, for messages: `POST /servers`. It never holds a query or a body.
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

/// An error of the client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refuses.
    #[error("{operation}: {message} ({code}{})", shown(correlation.as_deref()))]
    Refused {
        /// What was asked.
        operation: Operation,
        /// The HTTP status.
        status: u16,
        /// Why.
        code: Code,
        /// Why, for people.
        message: String,
        /// What support asks for.
        correlation: Option<String>,
    },
    /// Something in between answered: a status without the API's own words.
    #[error("{operation}: HTTP status {status}{}", shown(correlation.as_deref()))]
    Status {
        /// What was asked.
        operation: Operation,
        /// The HTTP status.
        status: u16,
        /// What support asks for.
        correlation: Option<String>,
    },
    /// No answer came.
    #[error("{operation}: no answer")]
    Unreachable {
        /// What was asked.
        operation: Operation,
        /// Whether time ran out.
        timed_out: bool,
        /// Whether it is certain that the API has not got the request.
        unsent: bool,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer that cannot be understood.
    #[error("{operation}: the answer cannot be understood{}", shown(correlation.as_deref()))]
    Unintelligible {
        /// What was asked.
        operation: Operation,
        /// What support asks for.
        correlation: Option<String>,
        /// Why.
        source: serde_json::Error,
    },
    /// An action failed.
    #[error("the action {command} ({id}) failed: {message} ({code})")]
    Action {
        /// The action.
        id: Id,
        /// What it was to do.
        command: String,
        /// Why.
        code: String,
        /// Why, for people.
        message: String,
    },
    /// An action did not end.
    #[error("the action {command} ({id}) did not end within {} s", waited.as_secs())]
    ActionDeadline {
        /// The action.
        id: Id,
        /// What it was to do.
        command: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A name is taken by something that is not ours.
    #[error("{operation}: the name `{name}` is taken by something that cargo-burst did not make")]
    Taken {
        /// What was asked.
        operation: Operation,
        /// The name.
        name: String,
    },
    /// The endpoint is no URL.
    #[error("`{0}` is no URL of an API")]
    Endpoint(String),
    /// The HTTP client could not be made.
    #[error("HTTPS cannot be used here")]
    Http(#[source] reqwest::Error),
}

fn shown(correlation: Option<&str>) -> String {
    correlation.map(|id| format!(", correlation id {id}")).unwrap_or_default()
}

impl Error {
    /// The API's code, if it was the API that answered.
    pub const fn code(&self) -> Option<&Code> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the thing is not there (any more). For a deletion that is success.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(&Code::NotFound)
    }

    /// Whether the request may have been carried out all the same.
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

    /// Whether the API, or the way to it, is at fault, and not what was asked.
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
