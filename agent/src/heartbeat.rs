//! `Working` messages while a request is worked on, by which the client can tell an agent that
//! is slow from one that hangs.
//!
//! A sync of a large tree, a place in the queue and the deletion of all projects can take
//! minutes in which there is nothing to say. Invariant: nothing is sent after the heartbeat was
//! dropped, so that no message falls between the pieces of a blob.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use burst_protocol::message::FromAgent;
use burst_sync::wire::Outgoing;

use crate::lock::lock;

/// Sends `Working` until it is dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl Heartbeat {
    /// Starts a thread that sends each `interval`.
    pub(crate) fn start(outgoing: Outgoing, interval: Duration) -> Self {
        let stop = Arc::new(Stop::default());
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || while stop.is_running_after(interval) && send(&outgoing) {}
        });
        Self { stop, thread: Some(thread) }
    }
}

/// Whether the client is still there.
fn send(outgoing: &Outgoing) -> bool {
    outgoing.message(&FromAgent::Working).is_ok()
}

impl Stop {
    /// Waits for the interval, or until the heartbeat is dropped: then false.
    fn is_running_after(&self, interval: Duration) -> bool {
        let is_over = lock(&self.is_over);
        let waited = self.changed.wait_timeout_while(is_over, interval, |is_over| !*is_over);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        *lock(&self.stop.is_over) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It panics no more than its one statement.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use burst_protocol::message::FromShim;
    use burst_sync::SyncError;
    use burst_sync::wire::{self, Opening};

    use super::*;

    /// Two ends of a stream in memory.
    fn ends(runtime: &tokio::runtime::Runtime) -> (wire::Incoming, Outgoing) {
        let _entered = runtime.enter();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (read, write) = tokio::io::split(ours);
        let (_, outgoing, _) = wire::connect(read, write, 1, Opening::Read).unwrap();
        let (read, write) = tokio::io::split(theirs);
        let (incoming, unused, _) = wire::connect(read, write, 1, Opening::Read).unwrap();
        // Kept open: the end of this direction is not the subject.
        std::mem::forget(unused);
        (incoming, outgoing)
    }

    #[test]
    fn it_sends_until_it_is_dropped_and_silence_is_an_error() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (mut incoming, outgoing) = ends(&runtime);
        let heartbeat = Heartbeat::start(outgoing.clone(), Duration::from_millis(1));
        for _ in 0..3 {
            assert_eq!(incoming.message::<FromAgent>().unwrap(), FromAgent::Working);
        }
        drop(heartbeat);
        outgoing.message(&FromAgent::Done).unwrap();
        while incoming.message::<FromAgent>().unwrap() == FromAgent::Working {}
        incoming.set_silence_deadline(Duration::from_millis(1));
        assert!(matches!(incoming.message::<FromShim>(), Err(SyncError::Silent(0))));
    }
}
