//! Forwarding of standard input to the run, and of its terminal.
//!
//! Standard input is read only for verbs whose programs may read it, so that a script which reads
//! its own text from there keeps it. Other verbs that start programs still have the terminal, as
//! for a pager. A terminal is read only while this process is in the foreground. At most one flow
//! control window is on its way, so a program that reads nothing costs no memory.
//!
//! Three ways:
//!
//! - A pipe or file is read to its end.
//! - Where the run has the keyboard, the [`keys`](super::keys) are the run's.
//! - Else a terminal is [shared](super::shared) with what else uses it here: in
//!   `cargo burst run | less` the keys are the pager's.

use std::io::Read;
use std::sync::Arc;

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::{ControllingTerminal, Ending, FromAgent, FromShim, LineDiscipline};
use burst_sync::flow_control::SendWindow;
use burst_sync::wire::Outgoing;
use rustix::stdio::stdin;
use rustix::termios::isatty;

use super::controlling::user_terminal;
use super::foreground::fail_instead_of_stop;
use super::keys::{Keys, PIECE_BYTES};
use super::shared::{SharedTerminal, Typed};
use super::signals::Signals;

/// Standard input on its way to a run. When it is dropped, the keyboard is this machine's again.
pub(crate) struct Forwarding {
    window: Arc<SendWindow>,
    signals: Signals,
    keys: Option<Keys>,
    shared: Option<Arc<SharedTerminal>>,
}

impl Forwarding {
    /// Starts to forward, on threads that end with the input or with the program. `reads`: whether
    /// the run has standard input. `control`: its controlling terminal.
    pub(crate) fn start(
        outgoing: Outgoing,
        signals: &Signals,
        reads: bool,
        control: Option<ControllingTerminal>,
    ) -> Self {
        let window = Arc::new(SendWindow::new(INPUT_WINDOW_BYTES));
        let mut forwarding =
            Self { window: window.clone(), signals: signals.clone(), keys: None, shared: None };
        if control.is_some_and(|control| control.discipline == LineDiscipline::Agent)
            && let Ok(keys) = Keys::start(&outgoing, signals, &window)
        {
            forwarding.keys = Some(keys);
            return forwarding;
        }
        if let (Some(terminal), Some(control)) = (user_terminal(), control) {
            let shared = SharedTerminal::share(terminal, control.modes, signals);
            forwarding.shared = Some(shared.clone());
            if reads && isatty(stdin()) {
                std::thread::spawn(move || forward_lines(&outgoing, &window, &shared));
                return forwarding;
            }
            shared.read_keys(outgoing.clone());
        }
        if reads {
            std::thread::spawn(move || forward(&outgoing, &window));
        }
        forwarding
    }

    /// Learns what the agent tells of the input and the terminal.
    pub(crate) fn note(&self, told: &FromAgent) {
        match told {
            FromAgent::InputCredit(cost) => {
                self.window.credit(*cost);
                if let Some(keys) = &self.keys {
                    keys.credited();
                }
            }
            FromAgent::TerminalModes(modes) => {
                if let Some(shared) = &self.shared {
                    shared.modes_changed(*modes);
                }
            }
            FromAgent::TerminalRead(is_read) => {
                if let Some(shared) = &self.shared {
                    shared.read_changed(*is_read);
                }
            }
            _ => {}
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

impl Drop for Forwarding {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.end(&self.signals);
        }
    }
}

/// Forwards a pipe or file.
fn forward(outgoing: &Outgoing, window: &SendWindow) {
    let stdin = std::io::stdin();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        window.wait_for_room(PIECE_BYTES);
        let read = match stdin.lock().read(&mut buffer) {
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

/// Forwards a terminal that is shared, until it is closed. An end of input that is typed there ends
/// one read of a program, and what is typed behind it is for the next.
fn forward_lines(outgoing: &Outgoing, window: &SendWindow, terminal: &SharedTerminal) {
    fail_instead_of_stop();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        window.wait_for_room(PIECE_BYTES);
        terminal.wait_for_keys();
        let input = match terminal.read(&mut buffer) {
            Typed::Bytes(input) => input,
            Typed::Nothing => continue,
            Typed::Closed => break,
        };
        window.sent(input.len());
        if outgoing.message(&FromShim::Input(input.into())).is_err() {
            return;
        }
    }
    // After the end of the run it is not needed.
    drop(outgoing.message(&FromShim::InputEnd));
}
