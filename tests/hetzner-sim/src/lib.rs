//! A Hetzner Cloud API on loopback, for tests.
//!
//! It behaves as the real one does where that breaks naive programs: actions that run
//! on behind an answer, locks, unique names, strict bodies, quotas, stock that is gone
//! although it was shown, answers that are lost after the deed, a rate limit, a bill of
//! started hours. Time is virtual ([`clock`]).
//!
//! [`http`] takes a request: [`scenario`] may make it fail, [`world`] is what there is
//! and does it, [`render`] writes it as the API does, [`schema`] holds every answer
//! against the published schemas, [`log`] keeps what was asked. [`ledger`] is the bill.
//! With [`Backend::Hosts`] each server is a real host ([`host`]): namespaces with an
//! address of their own, a metadata service, volumes as disks.
//!
//! What is simulated is only what cargo-burst needs and the official clients ask for
//! on the way. No sentence and no code of the vendor's is in here; `openapi/` has its
//! own licence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a tool of tests: a panic is how it fails"
)]

pub mod catalogue;
pub mod clock;
pub mod control;
pub mod host;
pub mod http;
pub mod ledger;
pub mod log;
pub mod program;
pub mod query;
pub mod refusal;
pub mod render;
pub mod scenario;
pub mod schema;
pub mod selector;
pub mod simulator;
pub mod world;

pub use program::main;
pub use scenario::{Fault, FaultKind, Scenario};
pub use simulator::{Backend, Options, Simulator};
