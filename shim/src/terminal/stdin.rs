//! Forwarding of standard input to the run.
//!
//! It is read only for verbs whose programs may read it, so that a script which reads its
//! own text from standard input keeps it. A terminal is read only while this process is in
//! the foreground. At most one flow control window is on its way, so a program that reads
//! nothing costs no memory.
//!
//! Three ways:
//!
//! - A pipe or file is read to its end.
//! - Where the run has a controlling terminal, the [`keys`](super::keys) are the run's.
//! - Else a terminal is read line by line, and only while no pager behind our output does: in
//!   `cargo burst run | less` the keys are the pager's.

use std::io::{Read, Stdin};
use std::sync::Arc;
use std::time::Duration;

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::{Ending, FromShim};
use burst_sync::flow_control::SendWindow;
use burst_sync::wire::Outgoing;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, isatty, tcgetattr};

use super::foreground::{FOREGROUND_CHECK_INTERVAL, fail_instead_of_stop, is_foreground};
use super::keys::{Keys, PIECE_BYTES};
use super::signals::Signals;

/// The pause between two checks of whether a pager still has the terminal. Terminal modes
/// change without an event that could be waited for.
const LOOK_EACH: Duration = Duration::from_millis(50);

/// Standard input on its way to a run. When it is dropped, the keyboard is this machine's again.
pub(crate) struct Forwarding {
    window: Arc<SendWindow>,
    keys: Option<Keys>,
}

impl Forwarding {
    /// Starts to forward, on a thread that ends with the input or with the program.
    /// `has_control`: whether the run has a controlling terminal.
    pub(crate) fn start(outgoing: Outgoing, signals: &Signals, has_control: bool) -> Self {
        let window = Arc::new(SendWindow::new(INPUT_WINDOW_BYTES));
        if has_control && let Ok(keys) = Keys::start(&outgoing, signals, &window) {
            return Self { window, keys: Some(keys) };
        }
        let shared = window.clone();
        std::thread::spawn(move || forward(&outgoing, &shared));
        Self { window, keys: None }
    }

    /// Takes credit of the agent.
    pub(crate) fn credit(&self, cost: u32) {
        self.window.credit(cost);
        if let Some(keys) = &self.keys {
            keys.credited();
        }
    }

    /// Learns how the run has ended.
    pub(crate) fn ended(&self, ending: Ending) {
        if let Some(keys) = &self.keys {
            keys.ended(ending);
        }
    }

    /// Learns what the run has written.
    pub(crate) fn answered(&self, output: &[u8]) {
        if let Some(keys) = &self.keys {
            keys.answered(output);
        }
    }
}

fn forward(outgoing: &Outgoing, window: &SendWindow) {
    fail_instead_of_stop();
    let stdin = std::io::stdin();
    let is_terminal = isatty(&stdin);
    let pager_possible = is_terminal && !isatty(std::io::stdout());
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        window.wait_for_room(PIECE_BYTES);
        if is_terminal {
            wait_until_ours(&stdin, pager_possible);
        }
        let read = match stdin.lock().read(&mut buffer) {
            Err(_) if is_terminal && !is_foreground(&stdin) => continue,
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        window.sent(read);
        if outgoing.message(&FromShim::Input(buffer[..read].to_vec().into())).is_err() {
            return;
        }
    }
    // After the end of the run it is not needed.
    drop(outgoing.message(&FromShim::InputEnd));
}

/// Waits for input on a terminal while this process is in the foreground. A pager behind our
/// output may read it as well: it switches the terminal out of line mode, which we do not.
fn wait_until_ours(stdin: &Stdin, pager_possible: bool) {
    loop {
        if !is_foreground(stdin) {
            #[expect(
                clippy::disallowed_methods,
                reason = "no event tells that a process is in the foreground"
            )]
            std::thread::sleep(FOREGROUND_CHECK_INTERVAL);
            continue;
        }
        let mut input = [PollFd::new(stdin, PollFlags::IN)];
        match poll(&mut input, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !is_foreground(stdin) => continue,
            Ok(_) => {}
        }
        match tcgetattr(stdin) {
            Ok(modes) if pager_possible && !modes.local_modes.contains(LocalModes::ICANON) => {
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
