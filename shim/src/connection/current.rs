//! The connection of a command: another one after each break.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Connection;

/// The connection that is in use, and what the ones before have carried.
#[derive(Debug)]
pub(crate) struct CurrentConnection(Mutex<State>);

#[derive(Debug)]
struct State {
    connection: Connection,
    /// Bytes sent and received on the ones before.
    past: (u64, u64),
}

impl CurrentConnection {
    /// The first connection.
    pub(crate) const fn new(connection: Connection) -> Self {
        Self(Mutex::new(State { connection, past: (0, 0) }))
    }

    /// The connection that is in use.
    pub(crate) fn get(&self) -> Connection {
        self.lock().connection.clone()
    }

    /// From now on another one is in use.
    pub(crate) fn replace(&self, next: Connection) {
        let mut state = self.lock();
        let (sent, received) = state.connection.bytes();
        state.past = (state.past.0 + sent, state.past.1 + received);
        state.connection = next;
    }

    /// Bytes sent and received in datagrams, on all of them.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let state = self.lock();
        let (sent, received) = state.connection.bytes();
        (state.past.0 + sent, state.past.1 + received)
    }

    /// Closes the connection on behalf of a process that is about to end.
    pub(crate) async fn say_farewell(&self, reason: &[u8]) {
        self.get().farewell().say(reason).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
