//! The agent's log: plain lines on standard error.
//!
//! The agent, and the supervisor and init of each run, write to the same log; the two
//! inherit the agent's standard error and its filter. On the user's machine the log is bounded
//! ([`BoundedLog`]); what a run that began before writes then goes to the previous log. Lines of
//! a run carry the spans `run`,
//! `supervisor` or `init` with the number of the run. Keys, wills and command lines are
//! never logged.

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;

use tracing::Span;
use tracing_subscriber::EnvFilter;

use crate::log_file::BoundedLog;

/// The environment variable with the filter, in the syntax of tracing-subscriber.
const FILTER_VARIABLE: &str = "CARGO_BURST_LOG";

/// The filter if the variable is absent or invalid. Other crates log errors only: QUIC
/// warns of packets that any stranger can send.
const DEFAULT_FILTER: &str = "error,burst_agent=info,burst_sync=info";

/// Starts logging for this process, to standard error. If that goes to the file at `path`, a
/// new file takes its place when it is large. To be called once, before any thread is started.
pub(crate) fn start(path: Option<PathBuf>) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| DEFAULT_FILTER.into());
    let log = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter);
    match path {
        Some(path) => log.with_writer(BoundedLog::of_stderr(path)).init(),
        None => log.with_writer(io::stderr).init(),
    }
}

/// Starts a thread whose log lines carry the spans of the calling thread.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    std::thread::spawn(move || span.in_scope(work))
}
