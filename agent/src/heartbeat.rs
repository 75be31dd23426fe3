//! `Working` messages while a request is worked on, by which the client can tell an agent that
//! is slow from one that hangs.
//!
//! A sync of a large tree, a place in the queue and the deletion of all projects can take
//! minutes in which there is nothing to say. Invariant: nothing is sent after the heartbeat was
//! dropped, so that no message falls between the pieces of a blob.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use burst_protocol::message::FromAgent;
use burst_sync::wire::Outgoing;

/// Sends `Working` until it is dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// Dropped, it wakes and ends the thread.
    running: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts a thread that sends each `interval`.
    pub(crate) fn start(outgoing: Outgoing, interval: Duration) -> Self {
        let (running, stopped) = mpsc::channel();
        let is_due = move || stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout);
        let thread = std::thread::spawn(move || while is_due() && send(&outgoing) {});
        Self { running: Some(running), thread: Some(thread) }
    }
}

/// Whether the client is still there.
fn send(outgoing: &Outgoing) -> bool {
    outgoing.message(&FromAgent::Working).is_ok()
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // An error says that it has panicked: it sends nothing either.
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
