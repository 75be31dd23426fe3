//! What `attach` and the holder tell each other over the holder's socket.
//!
//! `attach` sends lines, each a [`FromAttach`] as JSON; the holder answers with single bytes. It
//! sends [`MORE`] once, and again only after [`FromAttach::Looks`], so that a reader that is
//! stopped never fills the socket.

use std::io;

use burst_protocol::message::WindowSize;
use serde::{Deserialize, Serialize};

/// From the holder: the transcript has grown.
pub(super) const MORE: u8 = b'm';

/// From the holder: another `attach` has taken the run up.
pub(super) const TAKEN: u8 = b't';

/// Most bytes of keys in a message.
pub(super) const KEYS_BYTES_MAX: usize = 32 << 10;

/// Most bytes of a line: each key is a number of at most three digits and a comma.
const LINE_BYTES_MAX: usize = 5 * KEYS_BYTES_MAX;

/// From `attach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FromAttach {
    /// It is about to read the transcript to its end.
    Looks,
    /// Keys for the terminal of the command.
    Keys(Vec<u8>),
    /// The size of its terminal.
    Size(WindowSize),
    /// A signal for the command, such as that of Ctrl-C where keys are not passed on.
    Signal(i32),
}

/// A message as it is sent.
pub(super) fn line(message: &FromAttach) -> Vec<u8> {
    // A value without maps and floats always has a text.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Puts lines together from what arrives.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes; returns the messages that are complete. Fails if a line is too long or no
    /// message.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<Vec<FromAttach>> {
        self.0.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            messages.push(serde_json::from_slice(&line)?);
        }
        match self.0.len() {
            ..=LINE_BYTES_MAX => Ok(messages),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_split() {
        let sent = [
            FromAttach::Looks,
            FromAttach::Keys(vec![0, b'\n', 255]),
            FromAttach::Size(WindowSize { columns: 1, rows: 2 }),
            FromAttach::Signal(2),
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(line).collect();
        for at in 0..=bytes.len() {
            let mut lines = Lines::default();
            let mut found = lines.take(&bytes[..at]).unwrap();
            found.extend(lines.take(&bytes[at..]).unwrap());
            assert_eq!(found, sent);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(Lines::default().take(b"nonsense\n").is_err());
        assert!(Lines::default().take(&vec![b' '; LINE_BYTES_MAX + 1]).is_err());
        let most = line(&FromAttach::Keys(vec![255; KEYS_BYTES_MAX]));
        let mut lines = Lines::default();
        assert_eq!(lines.take(&most[..most.len() - 1]).unwrap(), []);
        assert_eq!(lines.take(b"\n").unwrap().len(), 1);
    }
}
