//! What is typed while a run has the keyboard: bytes for the run, and the escapes by which
//! the user reaches this program, the same as in ssh. Pure.
//!
//! An escape is `~` and one more key at the beginning of a line. The `~` is held back until
//! that key is known. Every other byte is sent to the run, Ctrl-C too. A user whose Ctrl-C has
//! no effect is told once of the escape that ends the run.
//!
//! Where the keys go to a command that knows these escapes itself, as those of `attach` do, they
//! are left to it but for two, and `~d` leaves the run.

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// These bytes are for the run.
    Input(Vec<u8>),
    /// `~.`: ends the run, and this program.
    End,
    /// `~^Z`: suspends this program.
    Suspend,
    /// `~?`: lists the escapes.
    List,
    /// `~d`, of `attach` alone: leaves the run, which goes on.
    Detach,
    /// Ctrl-C has changed nothing.
    InVain,
}

/// Whose escapes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Those of the command that has started the run.
    OfRun,
    /// Those of `attach`.
    OfAttach,
}

/// Ctrl-C.
pub(super) const INTERRUPT: u8 = 3;

/// Ctrl-\.
pub(super) const QUIT: u8 = 28;

/// Ctrl-Z.
const SUSPEND: u8 = 26;

/// How many times Ctrl-C is typed one after the other before it counts as in vain even though
/// the run writes something.
const INTERRUPTS_IN_VAIN: u32 = 4;

/// The keys of a run.
#[derive(Debug)]
pub(super) struct Keyboard {
    escapes: Escapes,
    /// Whether the last byte has ended a line, or there is none.
    at_line_start: bool,
    /// Whether a `~` is held back.
    in_escape: bool,
    /// Ctrl-C since any other key.
    interrupts: u32,
    /// Ctrl-C since any other key and since the last output.
    unanswered: u32,
    /// Whether the user was told of the escape.
    is_told: bool,
}

impl Keyboard {
    /// Before the first key.
    pub(super) const fn new(escapes: Escapes) -> Self {
        Self {
            escapes,
            at_line_start: true,
            in_escape: false,
            interrupts: 0,
            unanswered: 0,
            is_told: false,
        }
    }

    /// Takes bytes. `answered`: whether the run has written something since the last ones.
    pub(super) fn type_in(&mut self, bytes: &[u8], answered: bool) -> Vec<Event> {
        if answered {
            self.unanswered = 0;
        }
        let mut events = Vec::new();
        let mut input = Vec::new();
        for byte in bytes {
            let event = self.key(*byte, &mut input);
            if let Some(event) = event {
                if !input.is_empty() {
                    events.push(Event::Input(std::mem::take(&mut input)));
                }
                events.push(event);
            }
        }
        if !input.is_empty() {
            events.push(Event::Input(input));
        }
        events
    }

    fn key(&mut self, byte: u8, input: &mut Vec<u8>) -> Option<Event> {
        if std::mem::take(&mut self.in_escape) {
            match (byte, self.escapes) {
                (SUSPEND, _) => return Some(Event::Suspend),
                (b'?', _) => return Some(Event::List),
                (b'd', Escapes::OfAttach) => return Some(Event::Detach),
                (b'.', Escapes::OfRun) => return Some(Event::End),
                (b'~', Escapes::OfRun) => {
                    input.push(b'~');
                    self.at_line_start = false;
                    return None;
                }
                // No escape: both are the run's.
                _ => input.push(b'~'),
            }
        } else if byte == b'~' && self.at_line_start {
            self.in_escape = true;
            return None;
        }
        self.at_line_start = matches!(byte, b'\r' | b'\n');
        input.push(byte);
        self.count(byte)
    }

    fn count(&mut self, byte: u8) -> Option<Event> {
        if byte != INTERRUPT {
            (self.interrupts, self.unanswered) = (0, 0);
            return None;
        }
        self.interrupts += 1;
        self.unanswered += 1;
        let in_vain = self.unanswered == 2 || self.interrupts == INTERRUPTS_IN_VAIN;
        if !in_vain || self.is_told || self.escapes == Escapes::OfAttach {
            return None;
        }
        self.is_told = true;
        Some(Event::InVain)
    }
}

/// Whether output is more than the echo of Ctrl-C.
pub(super) fn is_answer(output: &[u8]) -> bool {
    !output.chunks(2).all(|echo| echo == b"^C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Event {
        Event::Input(bytes.to_vec())
    }

    #[test]
    fn an_escape_is_a_tilde_at_the_beginning_of_a_line() {
        let typed = |bytes: &[u8]| Keyboard::new(Escapes::OfRun).type_in(bytes, false);
        assert_eq!(typed(b"~."), [Event::End]);
        assert_eq!(typed(b"a~."), [input(b"a~.")]);
        assert_eq!(typed(b"a\r~."), [input(b"a\r"), Event::End]);
        assert_eq!(typed(b"~~."), [input(b"~.")]);
        assert_eq!(typed(b"~~~."), [input(b"~~.")]);
        assert_eq!(typed(b"~?~?\r"), [Event::List, Event::List, input(b"\r")]);
        assert_eq!(typed(b"x\n~\x1ay"), [input(b"x\n"), Event::Suspend, input(b"y")]);
        assert_eq!(typed(b"~/bin\r~\r~."), [input(b"~/bin\r~\r"), Event::End]);
        assert_eq!(typed(b""), []);
    }

    #[test]
    fn attach_leaves_the_escapes_of_the_run_to_the_run() {
        let typed = |bytes: &[u8]| Keyboard::new(Escapes::OfAttach).type_in(bytes, false);
        assert_eq!(typed(b"~d"), [Event::Detach]);
        assert_eq!(typed(b"~.x"), [input(b"~.x")]);
        assert_eq!(typed(b"~~d"), [input(b"~~d")]);
        assert_eq!(typed(b"a~d\r~?~\x1a"), [input(b"a~d\r"), Event::List, Event::Suspend]);
        assert_eq!(typed(b"\x03\x03\x03\x03"), [input(b"\x03\x03\x03\x03")]);
        let of_run = Keyboard::new(Escapes::OfRun).type_in(b"~d", false);
        assert_eq!(of_run, [input(b"~d")]);
    }

    #[test]
    fn an_escape_may_come_in_pieces() {
        let mut keyboard = Keyboard::new(Escapes::OfRun);
        assert_eq!(keyboard.type_in(b"ls\r", false), [input(b"ls\r")]);
        assert_eq!(keyboard.type_in(b"~", true), []);
        assert_eq!(keyboard.type_in(b"x", true), [input(b"~x")]);
        assert_eq!(keyboard.type_in(b"\r", true), [input(b"\r")]);
        assert_eq!(keyboard.type_in(b"~", true), []);
        assert_eq!(keyboard.type_in(b".", true), [Event::End]);
    }

    #[test]
    fn an_interrupt_in_vain_is_told_once() {
        let mut keyboard = Keyboard::new(Escapes::OfRun);
        assert_eq!(keyboard.type_in(b"\x03", true), [input(b"\x03")]);
        assert_eq!(keyboard.type_in(b"\x03", false), [input(b"\x03"), Event::InVain]);
        assert_eq!(keyboard.type_in(b"\x03\x03\x03", false), [input(b"\x03\x03\x03")]);

        let mut keyboard = Keyboard::new(Escapes::OfRun);
        for keys in [b"\x03".as_slice(), b"\x03", b"a\x03", b"\x03", b"\x03"] {
            assert_eq!(keyboard.type_in(keys, true), [input(keys)]);
        }
        assert_eq!(keyboard.type_in(b"\x03", true), [input(b"\x03"), Event::InVain]);
    }

    #[test]
    fn the_echo_of_an_interrupt_is_no_answer() {
        assert!(!is_answer(b"^C") && !is_answer(b"^C^C") && !is_answer(b""));
        assert!(is_answer(b"^C\r\n>>> ") && is_answer(b"x"));
    }
}
