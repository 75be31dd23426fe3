//! Standard input on its way to the run.
//!
//! It is read only for verbs that may want it, so a script that feeds itself from
//! its own input keeps it. No more than a window is ever on its way: a program
//! that reads nothing costs no memory.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::FromShim;
use burst_sync::wire::Outgoing;

/// Bytes of one message. Several fit into the window.
const PIECE_BYTES: usize = 32 << 10;

/// How much is on its way.
#[derive(Debug, Default)]
pub struct Window {
    on_the_way: Mutex<usize>,
    moved: Condvar,
}

impl Window {
    /// The run has taken this much.
    pub fn taken(&self, count: u32) {
        let mut held = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        *held = held.saturating_sub(count as usize);
        self.moved.notify_all();
    }

    fn wait_for_room(&self) {
        let held = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |held: &mut usize| *held + PIECE_BYTES > INPUT_WINDOW_BYTES;
        drop(self.moved.wait_while(held, full));
    }

    fn sent(&self, count: usize) {
        *self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner) += count;
    }
}

/// Begins to forward, on a thread that ends with the input or the program.
pub fn forward(outgoing: Outgoing) -> Arc<Window> {
    let window = Arc::new(Window::default());
    let shared = window.clone();
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            shared.wait_for_room();
            let read = match stdin.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            shared.sent(read);
            if outgoing.message(&FromShim::Input(buffer[..read].to_vec().into())).is_err() {
                return;
            }
        }
        // A run that is over needs no end of input.
        drop(outgoing.message(&FromShim::InputEnd));
    });
    window
}
