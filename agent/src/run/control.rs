//! Control of a run from other threads: input, signals, terminal sizes and its end.
//!
//! [`RunInput`] exists before cargo is started, so that input and a kill that arrive early
//! are kept until then. [`Control`] is the agent's end of the socket to the init.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use burst_protocol::limit::INPUT_WINDOW_BYTES;
use burst_protocol::message::WindowSize;
use burst_sync::SyncError;

use super::stdio;

/// The handle by which other threads signal a run.
#[derive(Debug)]
pub(crate) struct Control(UnixStream);

impl Control {
    /// The handle on the agent's end of the socket to the init.
    pub(crate) const fn new(socket: UnixStream) -> Self {
        Self(socket)
    }

    /// Sends a signal to cargo's process group.
    pub(crate) fn signal(&mut self, signal: i32) {
        if let Ok(signal) = u8::try_from(signal) {
            // A run that is over needs no signal.
            drop(self.0.write_all(&[signal]));
        }
    }

    /// Ends the run and all it started.
    pub(crate) fn kill(&mut self) {
        // Zero is no signal: the init takes everything down.
        drop(self.0.write_all(&[0]));
    }
}

/// What reaches a run from outside.
#[derive(Debug, Default)]
pub(crate) struct RunInput {
    pub(crate) control: Option<Control>,
    pub(crate) queue: Option<mpsc::Sender<Vec<u8>>>,
    /// Bytes that the run has not taken yet.
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) terminals: Vec<File>,
    pub(crate) interrupted: bool,
    pub(crate) killed: bool,
    /// Input that came before the run was there.
    pub(crate) early: Vec<Vec<u8>>,
    pub(crate) early_end: bool,
}

impl RunInput {
    /// Ends the run, now or as soon as it starts.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        if let Some(control) = &mut self.control {
            control.kill();
        }
    }

    pub(crate) fn signal(&mut self, signal: i32) {
        self.interrupted = true;
        if let Some(control) = &mut self.control {
            control.signal(signal);
        }
    }

    pub(crate) fn resize(&mut self, size: WindowSize) {
        for terminal in &self.terminals {
            // A terminal of a run that is over has no size.
            drop(stdio::resize(terminal, size));
        }
        if let Some(control) = &mut self.control {
            control.signal(nix::libc::SIGWINCH);
        }
    }

    pub(crate) fn push(&mut self, bytes: Vec<u8>) -> Result<(), SyncError> {
        let waiting = self.waiting.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if waiting > INPUT_WINDOW_BYTES {
            return Err(SyncError::violation("more input than there is credit for"));
        }
        match &self.queue {
            // A run that has closed its input does not want it.
            Some(queue) => drop(queue.send(bytes)),
            None => self.early.push(bytes),
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) {
        self.early_end = true;
        self.queue = None;
    }
}
