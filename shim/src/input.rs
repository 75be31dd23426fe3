//! Standard input on its way to the run.
//!
//! It is read only for verbs that may want it, so a script that feeds itself from
//! its own input keeps it. No more than a window is ever on its way: a program
//! that reads nothing costs no memory.

use std::io::Read;
use std::sync::Arc;

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::FromShim;
use burst_sync::window::Window;
use burst_sync::wire::Outgoing;

/// Bytes of one message. Several fit into the window.
const PIECE_BYTES: usize = 32 << 10;

/// Begins to forward, on a thread that ends with the input or the program.
pub fn forward(outgoing: Outgoing) -> Arc<Window> {
    let window = Arc::new(Window::new(INPUT_WINDOW_BYTES));
    let shared = window.clone();
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            shared.wait_for_room(PIECE_BYTES);
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
