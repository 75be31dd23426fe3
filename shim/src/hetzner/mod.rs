//! Servers and volumes at Hetzner: what is created, adopted, attached and deleted, and
//! when.
//!
//! The truth is what the API says. Everything of ours bears [`naming`]'s labels from the
//! moment of its creation, so that any later command, on this machine or another, finds
//! it and knows when it may be deleted. An [`account`] is what one token sees: it
//! reaches a server for a project ([`provision`] makes one if there is none, with
//! [`keys`] of its own), and [`sweep`] deletes what has had its time. When that is, is
//! decided in [`lease`], without effects; [`cost_model`] tells what that costs. What goes wrong is told as [`error`].

pub(crate) mod account;
pub(crate) mod audit;
pub mod cost_model;
pub(crate) mod credentials;
pub(crate) mod dial;
pub(crate) mod error;
pub(crate) mod inventory;
pub(crate) mod keys;
pub(crate) mod lease;
pub(crate) mod naming;
pub(crate) mod progress;
pub(crate) mod provision;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod sweep;
