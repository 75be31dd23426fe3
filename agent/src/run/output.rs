//! The agent's end of cargo's outputs, and what a terminal reports whose work the client does.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use burst_protocol::limit::OUTPUT_BYTES_MAX;
use burst_protocol::message::{Stream, TerminalModes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OutputModes, tcgetattr};

use crate::lock::lock;
use crate::pseudo_terminal::DATA;
use crate::terminal_modes;

/// How long the second byte of a translated line end may come after the first one, which the kernel
/// writes at once: 20 ms.
const PAIR_DEADLINE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// More than what a pipe or terminal holds.
const HELD_BYTES_MAX: usize = 1 << 20;

/// An output.
#[derive(Debug)]
pub(crate) struct Output {
    /// The stream that it is at the client.
    pub(crate) stream: Stream,
    passage: Arc<Passage>,
    /// Whether it is a terminal that reports when its modes change.
    reports_modes: bool,
}

impl Output {
    /// The output that is read from a file.
    pub(super) fn new(stream: Stream, file: File, reports_modes: bool) -> Self {
        let passage = Passage { file, passed: Mutex::new(0), changed: Condvar::new() };
        Self { stream, passage: Arc::new(passage), reports_modes }
    }

    /// What other threads see of it.
    pub(crate) fn passage(&self) -> Arc<Passage> {
        self.passage.clone()
    }

    /// Whether it is a terminal whose work the client does.
    pub(crate) const fn reports_modes(&self) -> bool {
        self.reports_modes
    }

    /// Passes on what is available, at most `OUTPUT_BYTES_MAX`, and waits if there is nothing yet;
    /// nothing if modes of a terminal have changed. False at the end of the stream. What comes from
    /// a terminal that reports modes does not end within a translated line end.
    pub(crate) fn pass_on(&mut self, pass: impl FnOnce(Vec<u8>)) -> bool {
        let passage = self.passage.clone();
        passage.wait_for_more();
        let mut passed = lock(&passage.passed);
        let read = self.read();
        let goes_on = read.is_some();
        if let Some(bytes) = read {
            *passed = passed.wrapping_add(bytes.len());
            pass(bytes);
        }
        drop(passed);
        passage.changed.notify_all();
        goes_on
    }

    fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = self.read_at_most(OUTPUT_BYTES_MAX - 1)?;
        while self.reports_modes
            && bytes.last() == Some(&b'\r')
            && bytes.len() < OUTPUT_BYTES_MAX
            && self.passage.has_more(&PAIR_DEADLINE)
        {
            // The end of the stream is there the next time, too.
            bytes.extend(self.read_at_most(1).unwrap_or_default());
        }
        Some(bytes)
    }

    fn read_at_most(&self, size: usize) -> Option<Vec<u8>> {
        // In front of what a reporting terminal has is one byte that says what follows.
        let head = usize::from(self.reports_modes);
        let mut buffer = vec![0; head + size];
        loop {
            match (&self.passage.file).read(&mut buffer) {
                Ok(0) => return None,
                Ok(_) if self.reports_modes && buffer[0] != DATA => return Some(Vec::new()),
                Ok(read) => {
                    buffer.truncate(read);
                    buffer.drain(..head);
                    return Some(buffer);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Reading a terminal whose other end is closed fails.
                Err(_) => return None,
            }
        }
    }
}

/// An output as it is passed on, for those who wait for that.
#[derive(Debug)]
pub(crate) struct Passage {
    file: File,
    /// The number of bytes so far. Locked from before bytes are read until they are passed on.
    passed: Mutex<usize>,
    changed: Condvar,
}

impl Passage {
    /// Waits until all that was written so far is passed on, or the stream has ended.
    pub(crate) fn wait_until_passed(&self) {
        let passed = lock(&self.passed);
        let before = *passed;
        let has_earlier = |passed: &mut usize| {
            passed.wrapping_sub(before) < HELD_BYTES_MAX && self.has_more(&Timespec::default())
        };
        drop(self.changed.wait_while(passed, has_earlier).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until there is something to read, or the end of the stream.
    fn wait_for_more(&self) {
        while poll(&mut [PollFd::new(&self.file, PollFlags::IN)], None) == Err(Errno::INTR) {}
    }

    /// Whether there is more within this time.
    fn has_more(&self, deadline: &Timespec) -> bool {
        let mut events = [PollFd::new(&self.file, PollFlags::IN)];
        poll(&mut events, Some(deadline)).is_ok_and(|ready| {
            // A terminal that no process has open has no more.
            ready > 0 && events[0].revents().contains(PollFlags::IN)
        })
    }
}

/// The modes that programs set in a terminal whose work the client does.
#[derive(Debug)]
pub(crate) struct SetModes {
    terminal: File,
    /// What the client knows.
    told: Mutex<TerminalModes>,
}

impl SetModes {
    /// The modes of a terminal, which the client knows so far.
    pub(super) fn of(terminal: File) -> io::Result<Self> {
        let told = Mutex::new(terminal_modes::of(&tcgetattr(&terminal)?));
        Ok(Self { terminal, told })
    }

    /// Tells the client of modes that it does not know. Called after output is read and before it
    /// is sent: when the client shows a prompt, it knows that what is typed is not to be shown,
    /// whatever stream the prompt was written to.
    pub(crate) fn tell(&self, tell: impl FnOnce(TerminalModes)) {
        let mut told = lock(&self.told);
        if let Ok(modes) = tcgetattr(&self.terminal) {
            let modes = terminal_modes::of(&modes);
            if std::mem::replace(&mut *told, modes) != modes {
                tell(modes);
            }
        }
    }

    /// Undoes the translation of line ends in what the terminal shows, since the client's one does
    /// it. If the modes have changed since that was written, both ends go by the new ones, and the
    /// client's terminal gets the same line ends.
    pub(crate) fn untranslated(&self, shown: Vec<u8>) -> Vec<u8> {
        let translates = OutputModes::OPOST | OutputModes::ONLCR;
        if !OutputModes::from_bits_retain(lock(&self.told).output).contains(translates) {
            return shown;
        }
        let next = shown.iter().skip(1).map(Some).chain([None]);
        let kept = shown.iter().zip(next).filter(|pair| *pair != (&b'\r', Some(&b'\n')));
        kept.map(|(byte, _)| *byte).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_as_a_program_has_written_them() {
        let terminal = || File::from(rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap());
        let shown = |output: OutputModes, text: &[u8]| {
            let told = TerminalModes { output: output.bits(), ..terminal_modes::USUAL };
            SetModes { terminal: terminal(), told: Mutex::new(told) }.untranslated(text.to_vec())
        };
        let usual = OutputModes::OPOST | OutputModes::ONLCR;
        assert_eq!(shown(usual, b"a\r\nb\r\r\n\rc\r"), b"a\nb\r\n\rc\r");
        assert_eq!(shown(OutputModes::OPOST, b"a\r\n"), b"a\r\n");
        assert_eq!(shown(OutputModes::ONLCR, b"a\r\n"), b"a\r\n");
    }
}
