//! A typed client for the endpoints of the Hetzner Cloud API that cargo-burst uses.
//!
//! [`Client`] sends requests and retries them in the same cases as the official clients
//! ([`retry`]). The modules [`server`], [`volume`], [`image`], [`firewall`], [`ssh_key`],
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
pub mod endpoint;
mod error;
pub mod firewall;
mod id;
pub mod image;
pub mod label;
mod made;
mod open_enum;
mod page;
pub mod pricing;
mod protection;
mod resource;
pub mod retry;
mod rights;
pub mod server;
pub mod server_type;
pub mod ssh_key;
mod time;
pub mod token;
pub mod volume;

pub use client::{Chance, Client};
pub use error::{Code, Error, Operation};
pub use id::Id;
pub use jiff::Timestamp;
pub use label::{Labels, Selector};
pub use made::Made;
pub use protection::Protection;
pub use token::Token;
