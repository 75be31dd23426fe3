//! The agent's log: plain lines on standard error.
//!
//! The agent, and the supervisor and init of each run, write to the same log; the two
//! inherit the agent's standard error and its filter. Lines of a run carry the spans `run`,
//! `supervisor` or `init` with the number of the run. Keys, wills and command lines are
//! never logged.

use std::io;
use std::thread::JoinHandle;

use tracing::Span;
use tracing_subscriber::EnvFilter;

/// The environment variable with the filter, in the syntax of tracing-subscriber.
const FILTER_VARIABLE: &str = "CARGO_BURST_LOG";

/// The filter if the variable is absent or invalid. Other crates log errors only: QUIC
/// warns of packets that any stranger can send.
const DEFAULT_FILTER: &str = "error,burst_agent=info,burst_sync=info";

/// Starts logging for this process. To be called once, before any thread is started.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| DEFAULT_FILTER.into());
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_env_filter(filter)
        .init();
}

/// Starts a thread whose log lines carry the spans of the calling thread.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    std::thread::spawn(move || span.in_scope(work))
}
