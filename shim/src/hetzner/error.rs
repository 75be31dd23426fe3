//! What goes wrong with servers, in a form that a keeper can pass on to a shim. Hints
//! and exit codes are made of it in [`crate::failure`].

use burst_hcloud::{Code, Error};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Kinds of trouble, by what the user can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The token is wrong, or was revoked.
    Token,
    /// The token may only read.
    ReadOnlyToken,
    /// There is no image.
    NoImage,
    /// Nothing of what may be used can be ordered.
    OutOfStock,
    /// No such server type; the nearest names.
    ServerType(Vec<String>),
    /// No such location; all names.
    Location(Vec<String>),
    /// A quota of the account is used up.
    Quota,
    /// A limit of the user's would be passed.
    TooExpensive,
    /// A name is taken by something that is not ours.
    Taken,
    /// The API, or the way to it, is down.
    Outage,
    /// The server does not answer.
    Silent,
    /// The keeper itself.
    Keeper,
    /// Anything else.
    Other,
}

/// Trouble: its kind, and the error with its causes, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", .messages.first().map_or("something went wrong", String::as_str))]
pub struct Trouble {
    /// What kind.
    pub kind: Kind,
    /// The error and its causes.
    pub messages: Vec<String>,
}

impl Trouble {
    /// With one message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, messages: vec![message.into()] }
    }

    /// That of the API, when this was tried.
    pub fn api(what: &str, error: &Error) -> Self {
        let mut trouble = Self::with_causes(kind_of(error), error);
        trouble.messages.insert(0, format!("cannot {what}"));
        trouble
    }

    /// An error with its causes.
    pub fn with_causes(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            if messages.last() != Some(&text) {
                messages.push(text);
            }
            source = error.source();
        }
        Self { kind, messages }
    }

    /// An error of the shim's own.
    pub fn own(kind: Kind, failure: &Failure) -> Self {
        let mut messages = vec![failure.to_string()];
        messages.extend(failure.causes());
        Self { kind, messages }
    }
}

fn kind_of(error: &Error) -> Kind {
    match error.code() {
        Some(Code::Unauthorized) => Kind::Token,
        Some(Code::TokenReadonly | Code::Forbidden) => Kind::ReadOnlyToken,
        Some(Code::ResourceLimitExceeded) => Kind::Quota,
        Some(Code::ResourceUnavailable) => Kind::OutOfStock,
        _ if error.is_outage() => Kind::Outage,
        _ if matches!(error, Error::Taken { .. }) => Kind::Taken,
        _ => Kind::Other,
    }
}
