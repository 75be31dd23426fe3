//! The deadline of work that blocks.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Runs blocking work on a thread of its own; `None` if it has not ended within the deadline.
pub(super) async fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let done = timeout(deadline, spawn_blocking(work)).await;
    done.ok()?.ok()
}
