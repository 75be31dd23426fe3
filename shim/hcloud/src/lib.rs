//! A typed client for the endpoints of the Hetzner Cloud API that cargo-burst uses.
//!
//! [`Client`] sends requests and retries them in the same cases as the official clients
//! ([`retry`]). The modules [`server`], [`volume`], [`image`], [`firewall`],
//! [`server_type`] and [`pricing`] add the calls for each resource. Lists are read to their
//! last page; [`action`] waits for asynchronous operations; [`label`] defines the grammar of
//! labels and selectors.
//!
//! The API has no idempotency keys. If the response to a create call is lost, the resource
//! may exist. Because names are unique, an existing resource with the requested name and
//! labels is *adopted*; see [`Made`].
//!
//! This crate contains no policy: the shim decides what to create and delete, and when. The
//! token is never printed; see [`Token`].

pub mod action;
mod client;
mod error;
pub mod firewall;
pub mod image;
pub mod label;
mod page;
pub mod pricing;
mod resource;
pub mod retry;
pub mod server;
pub mod server_type;
mod time;
pub mod token;
pub mod volume;

pub use client::{Chance, Client};
pub use error::{Code, Error, Operation};
pub use jiff::Timestamp;
pub use label::{Labels, Selector};
pub use token::Token;

use serde::{Deserialize, Serialize};

/// The numeric id of a resource, unique among resources of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub u64);

impl std::fmt::Display for Id {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The result of a create call.
#[derive(Clone, Debug)]
pub enum Made<T> {
    /// The resource was created; these actions are in progress.
    Created(T, Vec<action::Action>),
    /// The resource existed with the requested labels: from an earlier attempt of this call,
    /// or from another command.
    Adopted(T),
}

impl<T> Made<T> {
    /// The resource.
    pub const fn resource(&self) -> &T {
        match self {
            Self::Created(resource, _) | Self::Adopted(resource) => resource,
        }
    }

    /// Splits the result into the resource and the actions to wait for.
    pub fn into_parts(self) -> (T, Vec<action::Action>) {
        match self {
            Self::Created(resource, actions) => (resource, actions),
            Self::Adopted(resource) => (resource, Vec::new()),
        }
    }
}

/// Defines an enum of strings of the API, which preserves unknown values.
macro_rules! open_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A value that this version does not know, as the API sent it.
            Unknown(String),
        }

        impl $name {
            /// The value as the API writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Unknown(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Unknown(text),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from).map(Self::from)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use open_enum;
