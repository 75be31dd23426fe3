//! Tasks of the runtime that move frames.
//!
//! With the feature `simulation` a test can have each of their steps wait until nothing else
//! happens, so that what a step finds does not depend on how fast threads are.

#[cfg(feature = "simulation")]
use std::sync::OnceLock;

#[cfg(feature = "simulation")]
use tokio::task::JoinHandle;

#[cfg(not(feature = "simulation"))]
pub(crate) use tokio::spawn;

#[cfg(feature = "simulation")]
static WAIT: OnceLock<fn()> = OnceLock::new();

/// Starts a task, whose steps wait as [`before_steps`] says.
#[cfg(feature = "simulation")]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut future = Box::pin(future);
    tokio::spawn(std::future::poll_fn(move |context| {
        if let Some(wait) = WAIT.get() {
            wait();
        }
        future.as_mut().poll(context)
    }))
}

/// From now on each step of a task calls this first. Only the first call in a process counts.
#[cfg(feature = "simulation")]
pub fn before_steps(wait: fn()) {
    WAIT.get_or_init(|| wait);
}
