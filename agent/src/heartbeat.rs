//! `Working` messages while a request is worked on, by which the client can tell an agent that
//! is slow from one that hangs.
//!
//! A sync of a large tree, a place in the queue and the deletion of all projects can take
//! minutes in which there is nothing to say. Invariant: nothing is sent after the heartbeat was
//! dropped, so that no message falls between the pieces of a blob.

use std::time::Duration;

use burst_protocol::message::FromAgent;
use burst_sync::wire::Outgoing;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Sends `Working` until it is dropped. Must not be dropped by async code: dropping
/// it blocks until the task has ended.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    runtime: Handle,
    /// Dropped, it ends the task.
    running: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts a task that sends each `interval`, by the clock of the runtime.
    pub(crate) fn start(runtime: Handle, outgoing: Outgoing, interval: Duration) -> Self {
        let (running, stopped) = oneshot::channel();
        let task = runtime.spawn(send(outgoing, interval, stopped));
        Self { runtime, running: Some(running), task: Some(task) }
    }
}

/// Sends until there is no sender of `stopped`, or no client.
async fn send(outgoing: Outgoing, interval: Duration, mut stopped: oneshot::Receiver<()>) {
    while tokio::time::timeout(interval, &mut stopped).await.is_err() {
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            sent = outgoing.queue(&FromAgent::Working) => if sent.is_err() { return },
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(task) = self.task.take() {
            // An error says that the runtime has ended: nothing more is sent either.
            drop(self.runtime.block_on(task));
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
        let heartbeat =
            Heartbeat::start(runtime.handle().clone(), outgoing.clone(), Duration::from_millis(1));
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
