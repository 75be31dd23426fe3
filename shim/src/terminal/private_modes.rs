//! The private modes that a program has set in the terminal, such as the alternate screen or mouse
//! reports. They are reset where the program cannot do it itself: it goes on elsewhere, or was
//! killed. What a program leaves when it ends is left, as without cargo-burst.
//!
//! The modes belong to a terminal, and a signal on any thread has to reset them, so they are a
//! static. Output of a run can go to several terminals: each has its own modes, whatever stream
//! leads there.
//!
//! Only `CSI ? … h` and `CSI ? … l` count, and of other attributes the colours.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::stdio::stdout;
use rustix::termios::isatty;

use super::streams::is_one_file;
use super::writing::{self, Patience};

/// What programs have set in the terminals of this process.
static SHOWN: Mutex<Vec<Shown>> = Mutex::new(Vec::new());

/// A terminal to which output of programs went.
struct Shown {
    terminal: BorrowedFd<'static>,
    modes: PrivateModes,
}

/// Modes that are set in a new terminal: line wrap, and the cursor.
const SET_AT_FIRST: [u16; 2] = [7, 25];

/// Most bytes of the parameters of a sequence.
const PARAMETERS_BYTES_MAX: usize = 64;

/// Learns what a program shows at the end of a stream, which may be a terminal.
pub(super) fn note(to: BorrowedFd<'static>, bytes: &[u8]) {
    let mut shown = shown();
    // A descriptor does not change, so that a known one needs no system call.
    let is_known = |one: &Shown| one.terminal.as_raw_fd() == to.as_raw_fd();
    let known = shown.iter().position(is_known);
    let known = known.or_else(|| shown.iter().position(|one| is_one_file(one.terminal, to)));
    let place = match known {
        Some(place) => place,
        None if isatty(to) => {
            shown.push(Shown { terminal: to, modes: PrivateModes::default() });
            shown.len() - 1
        }
        None => return,
    };
    shown[place].modes.shown(bytes);
}

/// Resets what programs have set in the terminals.
pub(super) fn undo() {
    for one in shown().iter_mut().filter(|one| !one.modes.changed.is_empty()) {
        show(one.terminal, &one.modes.reset());
        one.modes = PrivateModes::default();
    }
}

/// The same, for a user who leaves a program while it runs: also ends the line that it has begun.
pub(super) fn leave() {
    for one in shown().iter() {
        show(one.terminal, &one.modes.reset());
    }
    if isatty(stdout()) {
        show(stdout(), "\r\n");
    }
}

fn show(terminal: BorrowedFd<'_>, text: &str) {
    // A terminal that is closed or stopped does not need it.
    drop(writing::write(terminal, text.as_bytes(), Patience::Brief));
}

fn shown() -> MutexGuard<'static, Vec<Shown>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where in a sequence the output has stopped.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Text,
    Escape,
    Bracket,
    Parameters(Vec<u8>),
}

/// The modes that are not as in a new terminal.
#[derive(Debug, Default)]
struct PrivateModes {
    place: Place,
    changed: BTreeSet<u16>,
    /// Whether there was any escape sequence.
    has_escapes: bool,
}

impl PrivateModes {
    /// Learns what is shown. A sequence may come in pieces.
    fn shown(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.place = match (std::mem::take(&mut self.place), byte) {
                (_, 0x1b) => {
                    self.has_escapes = true;
                    Place::Escape
                }
                (Place::Escape, b'[') => Place::Bracket,
                (Place::Bracket, b'?') => Place::Parameters(Vec::new()),
                (Place::Parameters(mut text), b'0'..=b'9' | b';')
                    if text.len() < PARAMETERS_BYTES_MAX =>
                {
                    text.push(*byte);
                    Place::Parameters(text)
                }
                (Place::Parameters(text), b'h' | b'l') => {
                    self.change(&text, *byte == b'h');
                    Place::Text
                }
                _ => Place::Text,
            };
        }
    }

    fn change(&mut self, parameters: &[u8], is_set: bool) {
        let modes = parameters.split(|byte| *byte == b';');
        for mode in modes.filter_map(|text| std::str::from_utf8(text).ok()?.parse().ok()) {
            match is_set == SET_AT_FIRST.contains(&mode) {
                true => self.changed.remove(&mode),
                false => self.changed.insert(mode),
            };
        }
    }

    /// What makes the terminal as it was.
    fn reset(&self) -> String {
        let mut text = String::new();
        for mode in &self.changed {
            let end = if SET_AT_FIRST.contains(mode) { 'h' } else { 'l' };
            text.push_str(&format!("\x1b[?{mode}{end}"));
        }
        if self.has_escapes {
            text.push_str("\x1b[m");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(pieces: &[&str]) -> String {
        let mut modes = PrivateModes::default();
        for piece in pieces {
            modes.shown(piece.as_bytes());
        }
        modes.reset()
    }

    #[test]
    fn what_a_program_has_changed_is_undone() {
        assert_eq!(reset(&["plain [?25l"]), "");
        assert_eq!(reset(&["\x1b[1mbold"]), "\x1b[m");
        assert_eq!(reset(&["\x1b[?1049h\x1b[?25l"]), "\x1b[?25h\x1b[?1049l\x1b[m");
        assert_eq!(reset(&["\x1b[?1049h\x1b[?25l..\x1b[?25h\x1b[?1049l"]), "\x1b[m");
        assert_eq!(reset(&["\x1b[?1000;1006h"]), "\x1b[?1000l\x1b[?1006l\x1b[m");
        assert_eq!(reset(&["\x1b", "[", "?20", "04", "h"]), "\x1b[?2004l\x1b[m");
        assert_eq!(reset(&["\x1b[?99999h\x1b[?;h\x1b[?1x\x1b[4h"]), "\x1b[m");
        assert_eq!(reset(&["\x1b[?1\x1b[?2h"]), "\x1b[?2l\x1b[m");
    }
}
