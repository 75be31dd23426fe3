//! Where agents come from: this machine, or a server at Hetzner.

pub(crate) mod keep_alive;
pub(crate) mod local;
mod notice;
pub(crate) mod provider;
pub(crate) mod reached;
pub(crate) mod remote;
pub(crate) mod route;
