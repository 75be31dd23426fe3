//! The output of a run on its way to readers that may have stopped.
//!
//! Until a signal is forwarded to the run, a reader is waited for, and with it the run. Afterwards
//! output is held, so that the end of the run is heard: a run that the signal has ended takes what
//! nobody reads along, as a program here does whose reader has stopped. Of any other run all
//! output is written.

use std::collections::VecDeque;
use std::io;

use burst_protocol::message::{Ending, FromShim, Stream};
use burst_sync::wire::Outgoing;

use crate::error::Error;
use crate::terminal::signals::Signals;
use crate::terminal::{Patience, Terminal, unwritable};

/// Most bytes that are held. A run that writes more waits for the reader.
const HELD_BYTES_MAX: usize = 8 << 20;

/// The output that is passed on.
pub(super) struct PassedOutput<'a> {
    terminal: &'a Terminal,
    signals: &'a Signals,
    held: VecDeque<(Stream, Vec<u8>)>,
}

impl<'a> PassedOutput<'a> {
    pub(super) const fn new(terminal: &'a Terminal, signals: &'a Signals) -> Self {
        Self { terminal, signals, held: VecDeque::new() }
    }

    /// Passes on output, or holds it.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        bytes: Vec<u8>,
        outgoing: &Outgoing,
    ) -> Result<(), Error> {
        self.held.push_back((stream, bytes));
        let mut written = self.write(self.signals.patience());
        let held: usize = self.held.iter().map(|(_, bytes)| bytes.len()).sum();
        if held > HELD_BYTES_MAX {
            written = written.and_then(|()| self.write(Patience::Endless));
        }
        written.map_err(|error| {
            // SIGPIPE or a write error would end cargo here, too.
            drop(outgoing.message(&FromShim::Kill));
            unwritable(&error)
        })
    }

    /// Passes on what is held: all of it, unless a signal has ended the run.
    pub(super) fn end(&mut self, ending: Ending) -> Result<(), Error> {
        let written = self.write(match ending {
            Ending::Signaled(_) if self.signals.has_forwarded() => Patience::Brief,
            _ => Patience::Endless,
        });
        written.map_err(|error| unwritable(&error))
    }

    fn write(&mut self, patience: Patience<'_>) -> io::Result<()> {
        while let Some((stream, bytes)) = self.held.front_mut() {
            let written = self.terminal.pass_on(*stream, bytes, patience)?;
            if written < bytes.len() {
                bytes.drain(..written);
                return Ok(());
            }
            self.held.pop_front();
        }
        Ok(())
    }
}
