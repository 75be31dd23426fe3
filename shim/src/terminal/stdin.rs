//! Standard input on its way to the run.
//!
//! It is read only for verbs that may want it, so a script that feeds itself from
//! its own input keeps it, and only while it is ours: in `cargo burst run | less` the
//! keys are the pager's. No more than a window is ever on its way: a program
//! that reads nothing costs no memory.

use std::io::{Read, Stdin};
use std::sync::Arc;
use std::time::Duration;

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::FromShim;
use burst_sync::flow_control::SendWindow;
use burst_sync::wire::Outgoing;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, isatty, tcgetattr};

/// Bytes of one message. Several fit into the window.
const PIECE_BYTES: usize = 32 << 10;

/// How soon to look again whether a terminal with input is ours.
const LOOK_EACH: Duration = Duration::from_millis(50);

/// Begins to forward, on a thread that ends with the input or the program.
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
        // A run that is over needs no end of input.
        drop(outgoing.message(&FromShim::InputEnd));
    });
    window
}

/// Waits for input of a terminal that a program behind our output may be reading, too.
///
/// A pager takes the terminal line by line no more: what is typed then is for the pager.
/// We ourselves leave the terminal's mode alone.
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
                std::thread::sleep(LOOK_EACH);
            }
            _ => return,
        }
    }
}
