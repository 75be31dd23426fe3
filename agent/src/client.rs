//! Whether the client of a session is still connected, and the event of its departure.
//!
//! A session blocks on things that can take long: a turn in the queue, a volume that is
//! being attached. Each such wait registers a callback, which wakes it when the client's
//! connection closes.

use std::fmt;
use std::sync::Mutex;

use crate::lock::lock;

/// The presence of one client: connected until [`Client::leave`], then gone for good.
#[derive(Default)]
pub(crate) struct Client(Mutex<State>);

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
        lock(&self.0).gone
    }

    /// Records that the connection is closed and calls all registered callbacks.
    pub(crate) fn leave(&self) {
        let callbacks = {
            let mut state = lock(&self.0);
            state.gone = true;
            std::mem::take(&mut state.callbacks)
        };
        for (_, callback) in callbacks {
            callback();
        }
    }

    /// Registers a callback for the departure, until the registration is dropped. It is
    /// called on another thread, or at once on this one if the client is gone already.
    pub(crate) fn when_gone(&self, callback: impl FnOnce() + Send + 'static) -> Registration<'_> {
        let mut state = lock(&self.0);
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
#[must_use]
pub(crate) struct Registration<'a> {
    client: &'a Client,
    id: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        lock(&self.client.0).callbacks.retain(|(id, _)| *id != self.id);
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
