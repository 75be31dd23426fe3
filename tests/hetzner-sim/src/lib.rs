//! A simulator of the Hetzner Cloud API on loopback, for tests.
//!
//! It reproduces the behaviour of the real API that breaks naive clients: actions that
//! continue after a response, locks, unique names, strict request bodies, quotas, stock that
//! is advertised but not available, responses that are lost after the request was carried
//! out, a rate limit, and billing of started hours. Time is virtual ([`clock`]).
//!
//! [`http`] receives a request. The [`scenario`] may make it fail; the [`world`] holds the
//! resources and carries it out; [`render`] makes the response, [`schema`] validates it
//! against the published schemas, and [`log`] records the call. [`ledger`] is the bill. With
//! [`Backend::Hosts`] each server is a real host ([`host`]): a set of namespaces with an
//! address, a metadata service, and volumes as disks.
//!
//! Only the part of the API that cargo-burst and the official clients use is simulated. The
//! simulator contains no text or code of the vendor; `openapi/` has its own licence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a tool of tests: a panic is how it fails"
)]

mod backend;
pub mod catalogue;
pub mod cidr;
pub mod clock;
pub mod control;
pub mod host;
pub mod http;
pub mod ledger;
pub mod log;
pub mod plain_http;
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
pub use scenario::{ActionFault, ActionFaultKind, ControlGroups, Fault, FaultKind, Scenario};
pub use simulator::{Backend, Options, Simulator};
