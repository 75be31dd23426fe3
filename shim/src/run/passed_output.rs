//! The output of a run on its way to readers that may have stopped.
//!
//! Until a signal is forwarded to the run, a reader is waited for, and with it the run. Afterwards
//! output is held, so that the end of the run is heard, and a thread writes it as soon as there is
//! room. If the signal has ended the run, held output that its reader does not take is dropped, as
//! the output of a program here is whose reader has stopped. Of any other run all is written.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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
    outgoing: &'a Outgoing,
    held: Mutex<Held>,
    /// Tells the writer of held output that there is some, or that it is to end.
    changed: Condvar,
    /// Can be read once the writer is to end.
    closed: PipeReader,
}

/// Output that its reader did not take at once.
struct Held {
    pieces: VecDeque<(Stream, Vec<u8>)>,
    /// What the writer of held output has met.
    error: Option<io::Error>,
    /// Present until the writer is to end.
    open: Option<PipeWriter>,
}

impl<'a> PassedOutput<'a> {
    pub(super) fn new(
        terminal: &'a Terminal,
        signals: &'a Signals,
        outgoing: &'a Outgoing,
    ) -> io::Result<Self> {
        let (closed, open) = io::pipe()?;
        let held = Held { pieces: VecDeque::new(), error: None, open: Some(open) };
        let (held, changed) = (Mutex::new(held), Condvar::new());
        Ok(Self { terminal, signals, outgoing, held, changed, closed })
    }

    /// Passes on output, or holds it.
    pub(super) fn push(&self, stream: Stream, bytes: Vec<u8>) -> Result<(), Error> {
        let mut held = self.held();
        held.pieces.push_back((stream, bytes));
        let mut written = self.write(&mut held, self.signals.patience());
        if !held.pieces.is_empty() {
            let size: usize = held.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
            if size > HELD_BYTES_MAX {
                written = written.and_then(|()| self.write(&mut held, Patience::Endless));
            }
            self.changed.notify_all();
        }
        written.map_err(|error| {
            self.end_run();
            unwritable(&error)
        })
    }

    /// Passes on what is held: all of it, unless a signal has ended the run.
    pub(super) fn end(&self, ending: Ending) -> Result<(), Error> {
        let patience = match ending {
            Ending::Signaled(_) if self.signals.has_forwarded() => Patience::Brief,
            _ => Patience::Endless,
        };
        self.write(&mut self.held(), patience).map_err(|error| unwritable(&error))
    }

    /// Has [`Self::write_held`] return.
    pub(super) fn close(&self) {
        self.held().open = None;
        self.changed.notify_all();
    }

    /// Writes what is held whenever there is room for it, until [`Self::close`].
    pub(super) fn write_held(&self) {
        loop {
            let is_idle = |held: &mut Held| held.pieces.is_empty() && held.open.is_some();
            let waited = self.changed.wait_while(self.held(), is_idle);
            let held = waited.unwrap_or_else(PoisonError::into_inner);
            let (Some(&(stream, _)), true) = (held.pieces.front(), held.open.is_some()) else {
                return;
            };
            drop(held);
            let until_closed = Patience::Until(self.closed.as_fd());
            let has_room = self.terminal.wait_for_room(stream, until_closed);
            let mut held = self.held();
            if held.open.is_none() {
                return;
            }
            let written = has_room.and_then(|_| self.write(&mut held, self.signals.patience()));
            if let Err(error) = written {
                held.error = Some(error);
                self.end_run();
                return;
            }
        }
    }

    /// SIGPIPE or a write error would end cargo here, too.
    fn end_run(&self) {
        // If the connection is lost, the agent ends the run by itself.
        drop(self.outgoing.message(&FromShim::Kill));
    }

    fn write(&self, held: &mut Held, patience: Patience<'_>) -> io::Result<()> {
        if let Some(error) = held.error.take() {
            return Err(error);
        }
        while let Some((stream, bytes)) = held.pieces.front_mut() {
            let written = self.terminal.pass_on(*stream, bytes, patience)?;
            if written < bytes.len() {
                bytes.drain(..written);
                return Ok(());
            }
            held.pieces.pop_front();
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
