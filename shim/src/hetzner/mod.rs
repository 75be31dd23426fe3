//! Servers and volumes at Hetzner: their creation, adoption, use and deletion.
//!
//! The API is the only source of truth. Every resource has the labels of `naming` from
//! its creation on, so any later command, on this machine or another, finds it and knows
//! when it may be deleted. An `account` is the project at Hetzner that a token gives
//! access to: it reaches a server for a workspace (`provision` creates one if there is
//! none, with its own `keys`), and `reap` deletes expired resources. `lease` decides
//! when a resource expires, `cost_model` what that costs; both are pure. `watch` is what the
//! keeper does with an account, and `holding` what it writes down of one. `books` keeps the record
//! of all resources (`audit`), from which comes what was spent.
//!
//! Nothing here prints, reads settings files or knows the keeper: progress goes to a
//! `progress::Progress`, and errors (`error`) carry their hints.

pub(crate) mod account;
mod activity;
mod announcement;
mod attachment;
pub(crate) mod audit;
mod books;
mod client;
pub mod cost_model;
mod creation;
pub(crate) mod credentials;
mod dead_man;
mod deletion;
mod dial;
pub(crate) mod differences;
mod dispute;
pub(crate) mod error;
pub(crate) mod examination;
pub(crate) mod holding;
mod inventory;
mod ipv6_route;
mod keys;
pub(crate) mod lease;
mod lease_renewal;
mod lookups;
pub(crate) mod loss;
pub(crate) mod market;
pub(crate) mod naming;
pub(crate) mod offers;
mod orders;
mod owner;
mod patience;
pub(crate) mod progress;
mod provision;
pub(crate) mod reap;
mod refusal;
mod rejoin;
pub(crate) mod report;
pub(crate) mod request;
mod same_project;
mod seen;
pub(crate) mod server;
mod throwaway_key;
mod uses;
mod vanished;
mod volume;
mod watch;
