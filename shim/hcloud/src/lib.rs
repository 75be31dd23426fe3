//! The dozen endpoints of the Hetzner Cloud API that cargo-burst uses, typed.
//!
//! [`Client`] sends one request and retries it exactly where the official clients
//! do ([`retry`]). On it stand the resources: [`server`], [`volume`], [`image`],
//! [`firewall`], [`server_type`], [`pricing`]; lists are read to their last page,
//! and [`action`] waits for what the API has begun. [`label`] has the grammar of
//! labels and selectors.
//!
//! A create call whose answer was lost may have been carried out, and the API knows
//! no idempotency keys. Names are unique, so what is there under the name and bears
//! the labels that were asked for is *adopted*: see [`Made`].
//!
//! There is no policy here: what is created when, and deleted, is the shim's to
//! decide. No token is ever printed: see [`Token`].

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

/// A resource's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub u64);

impl std::fmt::Display for Id {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What came of a create call.
#[derive(Clone, Debug)]
pub enum Made<T> {
    /// It was created, and these actions are under way.
    Created(T, Vec<action::Action>),
    /// It was there already, from this call or from another that is ours.
    Adopted(T),
}

impl<T> Made<T> {
    /// The resource.
    pub const fn resource(&self) -> &T {
        match self {
            Self::Created(resource, _) | Self::Adopted(resource) => resource,
        }
    }

    /// The resource and the actions to wait for.
    pub fn into_parts(self) -> (T, Vec<action::Action>) {
        match self {
            Self::Created(resource, actions) => (resource, actions),
            Self::Adopted(resource) => (resource, Vec::new()),
        }
    }
}

/// An enum as the API writes it, in which values that are not known here survive.
macro_rules! open_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A value that this version does not know.
            Unknown(String),
        }

        impl $name {
            /// As the API writes it.
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
