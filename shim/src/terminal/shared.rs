//! A terminal that a run shares with other programs here, as in `cargo burst run | less` and
//! `cargo burst run <file`: each of them can open it, read keys and set its modes.
//!
//! This terminal does the line discipline: it echoes, edits lines and makes signals of keys. The
//! agent tells which modes a program of the run sets, and they are set here, in order with the
//! output of the run. So what is typed behind a prompt for a password is not shown, and a program
//! that takes single keys gets them.
//!
//! Keys are left to the other programs unless the run needs them:
//!
//! - Where the terminal is standard input, they are read line by line, and by key after a program
//!   of the run has set such a mode.
//! - Where the run does not have the terminal as standard input, they are read only while a program
//!   of the run has opened the terminal to read it, or has changed its modes.
//! - Where another process here takes single keys, as a pager does, they are its.
//!
//! Not shared is what another program here does to the terminal: programs of the run do not see it.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burst_agent::terminal_modes;
use burst_protocol::message::{FromShim, TerminalModes};
use burst_sync::wire::Outgoing;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex, Termios, tcgetattr};

use super::controlling::has_hung_up;
use super::foreground::{FOREGROUND_CHECK_INTERVAL, fail_instead_of_stop, is_foreground};
use super::keys::PIECE_BYTES;
use super::raw_mode;
use super::signals::Signals;

/// The pause between two checks of whether a pager still has the terminal. Terminal modes
/// change without an event that could be waited for.
const LOOK_EACH: Duration = Duration::from_millis(50);

/// The terminal, shared with a run.
pub(super) struct SharedTerminal {
    terminal: BorrowedFd<'static>,
    /// The modes with which the terminal of the run has begun.
    first: TerminalModes,
    state: Mutex<State>,
    wanted: Condvar,
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The modes that a program of the run has set, if they are not those of the beginning.
    set: Option<TerminalModes>,
    /// Whether a program of the run has opened the terminal to read it.
    is_read: bool,
}

/// What was read from a terminal.
pub(super) enum Typed {
    /// What was typed; an end of input is its character.
    Bytes(Vec<u8>),
    /// Nothing for this process.
    Nothing,
    /// The terminal is closed.
    Closed,
}

impl SharedTerminal {
    /// Shares the terminal with a run whose own has begun with these modes.
    pub(super) fn share(
        terminal: BorrowedFd<'static>,
        first: TerminalModes,
        signals: &Signals,
    ) -> Arc<Self> {
        let shared = Arc::new(Self {
            terminal,
            first,
            state: Mutex::default(),
            wanted: Condvar::new(),
            is_over: AtomicBool::new(false),
        });
        raw_mode::restore_on_panic();
        signals.share_terminal({
            let shared = shared.clone();
            move || shared.apply()
        });
        shared
    }

    /// Learns which modes a program of the run has set. They are set here when this returns.
    pub(super) fn modes_changed(&self, modes: TerminalModes) {
        self.state().set = is_other(&modes, &self.first).then_some(modes);
        self.apply();
        self.wanted.notify_all();
    }

    /// Learns whether a program of the run has opened the terminal to read it.
    pub(super) fn read_changed(&self, is_read: bool) {
        self.state().is_read = is_read;
        self.wanted.notify_all();
    }

    /// Ends the sharing: the terminal has its mode again.
    pub(super) fn end(&self, signals: &Signals) {
        self.is_over.store(true, Ordering::Release);
        signals.take_terminal();
        drop(self.state());
        self.wanted.notify_all();
        raw_mode::restore();
    }

    /// Reads keys for the run while it wants them, on a thread of its own.
    pub(super) fn read_keys(self: &Arc<Self>, outgoing: Outgoing) {
        let shared = self.clone();
        std::thread::spawn(move || {
            fail_instead_of_stop();
            let mut buffer = vec![0; PIECE_BYTES];
            while shared.wait_until_wanted() {
                shared.wait_for_keys();
                if !shared.wants(&shared.state()) {
                    continue;
                }
                let keys = match shared.read(&mut buffer) {
                    Typed::Bytes(keys) => keys,
                    Typed::Nothing => continue,
                    Typed::Closed => return,
                };
                if outgoing.message(&FromShim::Keys(keys.into())).is_err() {
                    return;
                }
            }
        });
    }

    /// Reads what is typed.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Typed {
        match rustix::io::read(self.terminal, &mut *buffer) {
            Ok(0) if !has_hung_up() => Typed::Bytes(vec![self.end_of_input()]),
            Ok(read) if read > 0 => Typed::Bytes(buffer[..read].to_vec()),
            Err(Errno::INTR | Errno::AGAIN) => Typed::Nothing,
            Err(_) if !is_foreground(self.terminal) => Typed::Nothing,
            Ok(_) | Err(_) => Typed::Closed,
        }
    }

    /// Waits for keys on the terminal while this process is in the foreground and no other one
    /// takes single keys.
    pub(super) fn wait_for_keys(&self) {
        loop {
            let pause = match self.look() {
                Look::Background => FOREGROUND_CHECK_INTERVAL,
                Look::OtherTakesKeys => LOOK_EACH,
                Look::Ours => {
                    self.apply();
                    match poll(&mut [PollFd::new(&self.terminal, PollFlags::IN)], None) {
                        Err(Errno::INTR) => continue,
                        Ok(_) if !matches!(self.look(), Look::Ours) => continue,
                        _ => return,
                    }
                }
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "no event tells that a process is in the foreground, or that modes change"
            )]
            std::thread::sleep(pause);
        }
    }

    fn look(&self) -> Look {
        if !is_foreground(self.terminal) {
            return Look::Background;
        }
        let has_lines = |modes: Termios| modes.local_modes.contains(LocalModes::ICANON);
        match raw_mode::is_ours() || tcgetattr(self.terminal).map_or(true, has_lines) {
            true => Look::Ours,
            false => Look::OtherTakesKeys,
        }
    }

    /// Sets the modes of the run here, unless another process has the terminal.
    fn apply(&self) {
        let state = self.state();
        match &state.set {
            Some(modes) if matches!(self.look(), Look::Ours) => {
                raw_mode::enter(&self.is_over, true, |here| follow(modes, here));
            }
            Some(_) => {}
            None => raw_mode::restore(),
        }
    }

    /// Waits until the run wants keys; false once it is over.
    fn wait_until_wanted(&self) -> bool {
        let is_idle = |state: &mut State| !self.wants(state) && !self.is_over();
        let waited = self.wanted.wait_while(self.state(), is_idle);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !self.is_over()
    }

    fn wants(&self, state: &State) -> bool {
        !self.is_over() && (state.is_read || state.set.is_some())
    }

    /// What tells the run of an end of input, which the terminal here has made of a key: alone in a
    /// message, the control character that ends the input of the run's terminal.
    fn end_of_input(&self) -> u8 {
        let state = self.state();
        let modes = state.set.as_ref().unwrap_or(&self.first);
        modes.characters[terminal_modes::END_OF_INPUT]
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has the terminal.
enum Look {
    /// This process can use it.
    Ours,
    /// Another process group is in the foreground.
    Background,
    /// Another process reads single keys.
    OtherTakesKeys,
}

/// Whether a program has changed the modes of a terminal that has begun with `first`, but for what
/// the agent sets itself.
fn is_other(modes: &TerminalModes, first: &TerminalModes) -> bool {
    const OF_KERNEL: LocalModes =
        LocalModes::EXTPROC.union(LocalModes::PENDIN).union(LocalModes::FLUSHO);
    let local = |modes: &TerminalModes| LocalModes::from_bits_retain(modes.local) - OF_KERNEL;
    modes.input != first.input
        || modes.output != first.output
        || local(modes) != local(first)
        || modes.characters != first.characters
}

/// Sets the modes of a program of the run here.
fn follow(modes: &TerminalModes, here: &mut Termios) {
    terminal_modes::apply(modes, here);
    here.local_modes -= LocalModes::EXTPROC;
    here.special_codes[SpecialCodeIndex::VMIN] = 1;
    here.special_codes[SpecialCodeIndex::VTIME] = 0;
}

#[cfg(test)]
mod tests {
    use rustix::termios::InputModes;

    use super::*;

    const FIRST: TerminalModes = terminal_modes::USUAL;

    /// The modes that an agent reports: those of the beginning, without these.
    fn without(local: LocalModes, input: InputModes) -> TerminalModes {
        TerminalModes {
            input: FIRST.input & !input.bits(),
            local: FIRST.local & !local.bits() | LocalModes::EXTPROC.bits(),
            ..FIRST
        }
    }

    #[test]
    fn a_program_has_changed_what_it_did_not_find() {
        let none = (LocalModes::empty(), InputModes::empty());
        assert!(!is_other(&without(none.0, none.1), &FIRST));
        assert!(is_other(&without(LocalModes::ECHO, none.1), &FIRST));
        assert!(is_other(&without(none.0, InputModes::ICRNL), &FIRST));
        let mut characters = without(none.0, none.1);
        characters.characters[0] = 1;
        assert!(is_other(&characters, &FIRST));
        let raw = TerminalModes { output: 0, ..without(none.0, none.1) };
        assert!(is_other(&raw, &FIRST));
    }
}
