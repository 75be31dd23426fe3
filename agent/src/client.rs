//! Whether the client of a session is still there, and the event of its departure.
//!
//! A client on this machine also names its process. When that ends, the client is gone at
//! once; otherwise one that was killed counts as gone only after a time of silence, and the time
//! for which its stream waits for another connection.
//!
//! A session blocks on things that can take long: a turn in the queue, a volume that is
//! being attached. Each such wait registers a callback, which wakes it when the client
//! leaves.

use std::fmt;
use std::sync::{Mutex, OnceLock};

use burst_protocol::message::ClientProcess;
use tokio::sync::Notify;

use crate::client_process;
use crate::lock::lock;

/// The presence of one client: connected until [`Client::leave`], then gone for good.
#[derive(Default)]
pub(crate) struct Client {
    state: Mutex<State>,
    process: OnceLock<ClientProcess>,
    /// Notified when the process is named.
    named: Notify,
}

#[derive(Default)]
struct State {
    gone: bool,
    next_id: u64,
    callbacks: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("gone", &self.is_gone()).finish()
    }
}

impl Client {
    /// Whether the client's connection is closed.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.state).gone
    }

    /// Records that the connection is closed and calls all registered callbacks.
    pub(crate) fn leave(&self) {
        let callbacks = {
            let mut state = lock(&self.state);
            state.gone = true;
            std::mem::take(&mut state.callbacks)
        };
        for (_, callback) in callbacks {
            callback();
        }
    }

    /// Names the client's process, which is one of this machine.
    pub(crate) fn is_process(&self, process: ClientProcess) {
        // A client has one process, whatever its later requests say.
        if self.process.set(process).is_ok() {
            self.named.notify_one();
        }
    }

    /// Completes when the client's process has ended; never if it is not known.
    pub(crate) async fn process_ended(&self) {
        let process = loop {
            if let Some(process) = self.process.get() {
                break *process;
            }
            self.named.notified().await;
        };
        if let Err(error) = client_process::ended(process).await {
            // Its connection still tells when it is gone.
            tracing::debug!("cannot watch process {}: {error}", process.pid);
            std::future::pending::<()>().await;
        }
    }

    /// Registers a callback for the departure, until the registration is dropped. It is
    /// called on another thread, or at once on this one if the client is gone already.
    pub(crate) fn when_gone(&self, callback: impl FnOnce() + Send + 'static) -> Registration<'_> {
        let mut state = lock(&self.state);
        let id = state.next_id;
        state.next_id += 1;
        if state.gone {
            drop(state);
            callback();
        } else {
            state.callbacks.push((id, Box::new(callback)));
        }
        Registration { client: self, id }
    }
}

/// A registered callback; dropping it removes the callback.
#[derive(Debug)]
#[must_use]
pub(crate) struct Registration<'a> {
    client: &'a Client,
    id: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        lock(&self.client.state).callbacks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn callbacks_run_once_at_the_departure_and_at_once_after_it() {
        let client = Client::default();
        let (sender, called) = mpsc::channel();
        let send = |number: u32| {
            let sender = sender.clone();
            move || sender.send(number).unwrap()
        };
        drop(client.when_gone(send(1)));
        let kept = client.when_gone(send(2));
        assert!(!client.is_gone());
        client.leave();
        client.leave();
        assert!(client.is_gone());
        drop(client.when_gone(send(3)));
        drop(kept);
        assert_eq!(called.try_iter().collect::<Vec<_>>(), [2, 3]);
    }
}
