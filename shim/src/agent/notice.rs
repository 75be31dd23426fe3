//! What the user is told of a connection that has broken.

use std::time::Duration;

use crate::terminal::Terminal;

/// The connection has broken; the command connects again within this time. Shown after a
/// moment, and until the next output.
pub(super) fn broke(terminal: &Terminal, grace: Duration) {
    let secs = grace.as_secs();
    tracing::info!(secs, "the connection broke");
    terminal.begin(format!("connection lost, reconnecting (gives up after {secs} s)"));
}

/// There is another connection, or no hope of one.
pub(super) fn over(terminal: &Terminal) {
    terminal.quiet();
}
