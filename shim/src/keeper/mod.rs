//! The keeper: one background process a user. It holds the warm connection to the
//! server, reaches servers for commands, and deletes what has had its time.
//!
//! A command starts it if it is not there ([`client`]) and talks with it over a socket
//! that only the user can open ([`message`]); [`service`] is its whole life. It holds a lock
//! on its directory, so there is never a second one; it outlives the commands, and ends
//! by itself when there is nothing left to look after. All it knows it also finds out
//! from labels, so one that was killed is replaced by the next command's.
//!
//! Where no keeper runs and none is needed, as for `reap` out of a timer, a command holds
//! the lock itself for a moment ([`client::AccountAccess`]).

pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod service;
pub(crate) mod stream;
