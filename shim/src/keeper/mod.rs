//! The keeper: one background process per user. It holds the warm connection to the
//! server, reaches servers for commands, and deletes expired resources.
//!
//! A command starts it if none runs ([`client`]), and talks to it over a socket that only
//! the user can open ([`message`]). [`service`] is its life, [`session`] one command's
//! conversation with it, [`stream`] a command's stream to an agent by way of it.
//!
//! Invariants: a lock on its directory keeps a second one out. It outlives commands, and
//! stays while something exists that costs money, or may exist: no error of the API ends it. It
//! keeps no state that it cannot find again in labels, so a keeper that was killed is replaced by
//! the next command's, which finds in [`holdings`] what there was to look after.
//!
//! Where no keeper runs, `status`, `down` and `reap` take the lock and work by themselves
//! ([`client::AccountAccess`]), and then start one if something is left to look after.

pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod holdings;
pub(crate) mod message;
pub(crate) mod service;
mod session;
mod state;
pub(crate) mod stream;
