//! The private modes that a program has set in the terminal, such as the alternate screen or mouse
//! reports: who leaves the program while it runs resets them. Pure.
//!
//! Only `CSI ? … h` and `CSI ? … l` count, and of other attributes the colours.

use std::collections::BTreeSet;

/// Modes that are set in a new terminal: line wrap, and the cursor.
const SET_AT_FIRST: [u16; 2] = [7, 25];

/// Most bytes of the parameters of a sequence.
const PARAMETERS_BYTES_MAX: usize = 64;

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
pub(super) struct PrivateModes {
    place: Place,
    changed: BTreeSet<u16>,
    /// Whether there was any escape sequence.
    has_escapes: bool,
}

impl PrivateModes {
    /// Learns what is shown. A sequence may come in pieces.
    pub(super) fn shown(&mut self, bytes: &[u8]) {
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
    pub(super) fn reset(&self) -> String {
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
