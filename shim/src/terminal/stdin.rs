//! Forwarding of standard input to the run.
//!
//! It is read only for verbs whose programs may read it, so that a script which reads its
//! own text from standard input keeps it. On a terminal it is read only while no pager
//! behind our output does: in `cargo burst run | less` the keys are the pager's. At most one
//! flow control window is on its way, so a program that reads nothing costs no memory.

use std::io::{Read, Stdin};
use std::sync::Arc;
use std::time::Duration;

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::FromShim;
use burst_sync::flow_control::SendWindow;
use burst_sync::wire::Outgoing;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, isatty, tcgetattr};

/// Bytes of one message; several fit into the window.
const PIECE_BYTES: usize = 32 << 10;

/// The pause between two checks of whether a pager still has the terminal. Terminal modes
/// change without an event that could be waited for.
const LOOK_EACH: Duration = Duration::from_millis(50);

/// Starts to forward, on a thread that ends with the input or with the program. The agent's
/// credit is to be added to the returned window.
pub(crate) fn forward(outgoing: Outgoing) -> Arc<SendWindow> {
    let window = Arc::new(SendWindow::new(INPUT_WINDOW_BYTES));
    let shared = window.clone();
    std::thread::spawn(move || {
        let stdin = std::io::stdin();
        let pager_possible = isatty(&stdin) && !isatty(std::io::stdout());
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            shared.wait_for_room(PIECE_BYTES);
            if pager_possible {
                wait_until_ours(&stdin);
            }
            let read = match stdin.lock().read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            shared.sent(read);
            if outgoing.message(&FromShim::Input(buffer[..read].to_vec().into())).is_err() {
                return;
            }
        }
        // After the end of the run it is not needed.
        drop(outgoing.message(&FromShim::InputEnd));
    });
    window
}

/// Waits for input on a terminal that a pager behind our output may read as well. A pager
/// switches the terminal out of line mode; we never do.
fn wait_until_ours(stdin: &Stdin) {
    loop {
        let mut input = [PollFd::new(stdin, PollFlags::IN)];
        match poll(&mut input, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        match tcgetattr(stdin) {
            Ok(modes) if !modes.local_modes.contains(LocalModes::ICANON) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "no event tells that a terminal mode has changed"
                )]
                std::thread::sleep(LOOK_EACH);
            }
            _ => return,
        }
    }
}
