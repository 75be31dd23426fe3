//! Control of a run from other threads: input, signals, terminal sizes and its end.
//!
//! [`RunInput`] exists before cargo is started, so that input, signals and a kill that arrive early
//! are kept until then; signals also between two calls. [`Control`] is the agent's end of the
//! socket to the init.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::WindowSize;
use burst_sync::SyncError;

use super::spec::{self, Receiver};
use crate::pseudo_terminal;

/// The most messages with keys that wait for the terminal of a call to take them.
const WAITING_KEYS_MAX: usize = 16;

/// Signals a started run; a run that has ended ignores them.
#[derive(Debug)]
pub(crate) struct Control(UnixStream);

impl Control {
    /// The handle on the agent's end of the socket to the init.
    pub(crate) const fn new(socket: UnixStream) -> Self {
        Self(socket)
    }

    /// Sends a signal.
    pub(crate) fn signal(&mut self, signal: i32, receiver: Receiver) {
        if let Some(command) = spec::signal_command(signal, receiver) {
            // An error says that the run has ended.
            drop(self.0.write_all(&[command]));
        }
    }

    /// Ends the run and every process that it has started.
    pub(crate) fn kill(&mut self) {
        // Zero is not a signal; the init ends the run. An error says that it has ended.
        drop(self.0.write_all(&[0]));
    }
}

/// Input and control of a run, from before its first call to the end of the last.
#[derive(Debug, Default)]
pub(crate) struct RunInput {
    control: Option<Control>,
    queue: Option<mpsc::Sender<Vec<u8>>>,
    /// Bytes of input that cargo has not read yet.
    waiting: Arc<AtomicUsize>,
    terminals: Vec<File>,
    /// Whether a terminal is the call's controlling one, which tells it of a new size.
    has_control: bool,
    /// Takes the keys of a controlling terminal that is not the standard input.
    keys: Option<mpsc::SyncSender<Vec<u8>>>,
    /// The signals that the run was started to ignore.
    ignored: Vec<i32>,
    /// Whether the attached call, or the last one, was sent a signal that asks it to end.
    asked_to_end: bool,
    killed: bool,
    /// Whether it was killed because the agent was asked to end.
    ended_with_agent: bool,
    /// Signals that arrived while no call was attached, each once, as the kernel keeps them.
    early_signals: Vec<(i32, Receiver)>,
    /// Input that arrived before the first call was started.
    early: Vec<Vec<u8>>,
    early_end: bool,
}

impl RunInput {
    /// Of a run that is started to ignore these signals.
    pub(crate) fn ignoring(ignored: Vec<i32>) -> Self {
        Self { ignored, ..Self::default() }
    }

    /// Connects a started call with its terminals. It receives the signals that arrived before it,
    /// and is killed if the run was killed already. `has_control`: whether one of the terminals
    /// controls it.
    pub(crate) fn attach(&mut self, mut control: Control, terminals: Vec<File>, has_control: bool) {
        if self.killed {
            control.kill();
        }
        self.control = Some(control);
        self.terminals = terminals;
        self.has_control = has_control;
        self.asked_to_end = false;
        for (signal, receiver) in std::mem::take(&mut self.early_signals) {
            self.signal(signal, receiver);
        }
    }

    /// The input for the attached call, beginning with what has arrived already, and the
    /// counter from which the reader subtracts the bytes that it has passed on.
    pub(crate) fn open_queue(&mut self) -> (mpsc::Receiver<Vec<u8>>, Arc<AtomicUsize>) {
        let (queue, received) = mpsc::channel();
        for bytes in self.early.drain(..) {
            // Cannot fail: the receiver still exists.
            drop(queue.send(bytes));
        }
        self.queue = (!self.early_end).then_some(queue);
        (received, self.waiting.clone())
    }

    /// The keys for the controlling terminal of the attached call.
    pub(crate) fn open_keys(&mut self) -> mpsc::Receiver<Vec<u8>> {
        let (keys, received) = mpsc::sync_channel(WAITING_KEYS_MAX);
        self.keys = Some(keys);
        received
    }

    /// Passes keys on. They are lost if the call has not read many earlier ones, or does not have
    /// such a terminal.
    pub(crate) fn type_in(&mut self, bytes: Vec<u8>) {
        if let Some(keys) = &self.keys {
            drop(keys.try_send(bytes));
        }
    }

    /// Disconnects the call that has ended.
    pub(crate) fn detach(&mut self) {
        self.control = None;
        self.queue = None;
        self.keys = None;
        self.terminals.clear();
    }

    /// Whether the client has asked the attached call, or the last one, to end.
    pub(crate) const fn is_asked_to_end(&self) -> bool {
        self.asked_to_end || self.killed
    }

    /// Ends the run, at once or as soon as it is started.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        if let Some(control) = &mut self.control {
            control.kill();
        }
    }

    /// Ends the run because the agent was asked to end.
    pub(crate) fn end_with_agent(&mut self) {
        self.ended_with_agent = true;
        self.kill();
    }

    /// Whether the run was ended because the agent was asked to end.
    pub(crate) const fn is_ended_with_agent(&self) -> bool {
        self.ended_with_agent
    }

    /// Sends a signal to the attached call, or to the next one.
    pub(crate) fn signal(&mut self, signal: i32, receiver: Receiver) {
        let Some(control) = &mut self.control else {
            if !self.early_signals.contains(&(signal, receiver)) {
                self.early_signals.push((signal, receiver));
            }
            return;
        };
        self.asked_to_end |= asks_to_end(signal) && !self.ignored.contains(&signal);
        control.signal(signal, receiver);
    }

    /// Sets the size of the terminals and tells cargo of it.
    pub(crate) fn resize(&mut self, size: WindowSize) {
        for terminal in &self.terminals {
            // An error says that the terminal is closed.
            drop(pseudo_terminal::resize(terminal, size));
        }
        if let (Some(control), false) = (&mut self.control, self.has_control) {
            control.signal(nix::libc::SIGWINCH, Receiver::Group);
        }
    }

    /// Passes input on. An error says that the client exceeds its window.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) -> Result<(), SyncError> {
        let waiting = self.waiting.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if waiting > INPUT_WINDOW_BYTES {
            return Err(SyncError::violation("more input than there is credit for"));
        }
        match &self.queue {
            // An error says that cargo has closed its input.
            Some(queue) => drop(queue.send(bytes)),
            None => self.early.push(bytes),
        }
        Ok(())
    }

    /// Ends the input.
    pub(crate) fn end(&mut self) {
        self.early_end = true;
        self.queue = None;
    }
}

/// Whether a program that handles a signal is expected to end all the same, with a code of its own.
/// Others tell it something, as SIGUSR1 tells nextest to show what it does.
const fn asks_to_end(signal: i32) -> bool {
    use nix::libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::libc::{SIGINT, SIGUSR1, SIGWINCH};

    use super::*;

    /// Attaches a call; returns the init's end of its socket.
    fn attach(input: &mut RunInput) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        input.attach(Control::new(ours), Vec::new(), false);
        theirs
    }

    #[test]
    fn a_signal_between_two_calls_is_the_next_ones() {
        let mut input = RunInput::default();
        for signal in [SIGUSR1, SIGINT, SIGUSR1] {
            input.signal(signal, Receiver::Group);
        }
        assert!(!input.is_asked_to_end());
        let mut init = attach(&mut input);
        assert!(input.is_asked_to_end());
        input.detach();
        let mut commands = Vec::new();
        init.read_to_end(&mut commands).unwrap();
        let expected =
            [SIGUSR1, SIGINT].map(|signal| spec::signal_command(signal, Receiver::Group));
        assert_eq!(commands, expected.map(Option::unwrap));
    }

    #[test]
    fn a_call_is_asked_to_end_by_signals_to_it_that_mean_that() {
        let mut input = RunInput::default();
        let init = attach(&mut input);
        for signal in [SIGUSR1, SIGWINCH] {
            input.signal(signal, Receiver::Cargo);
        }
        assert!(!input.is_asked_to_end());
        input.signal(SIGINT, Receiver::Group);
        input.detach();
        assert!(input.is_asked_to_end());
        drop((init, attach(&mut input)));
        assert!(!input.is_asked_to_end());
        input.kill();
        assert!(input.is_asked_to_end());
    }
}
