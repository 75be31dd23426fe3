//! What has happened in a world, in order, in a file that outlives the process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// The user has edited or removed a file of the workspace; `sources` is the digest of its
    /// sources afterwards.
    Edited { path: String, content: Option<String>, sources: String },
    /// A command was started.
    Began { command: u32 },
    /// Its program was started, and saw these sources.
    Started { command: u32, sources: String },
    /// Its program has written a file, or a line of the shared one.
    Left { command: u32, path: String, content: String },
    /// Its program was about to exit, and had printed so many lines.
    Exited { command: u32, code: i32, lines: u32 },
    /// It has ended, with the exit code of its program or an error.
    Done { command: u32, ended: Result<i32, String> },
}

/// The journal of one world.
#[derive(Debug)]
pub(super) struct Journal {
    file: Mutex<(File, Vec<Entry>)>,
}

impl Journal {
    /// Opens a journal, which may be one of a process that was killed.
    pub(super) fn open(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut whole = 0;
        let mut entries = Vec::new();
        for line in text.split_inclusive('\n') {
            // A kill can cut off the last one.
            let Ok(entry) = serde_json::from_str(line) else { break };
            whole += line.len() as u64;
            entries.push(entry);
        }
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.set_len(whole).unwrap();
        Self { file: Mutex::new((file, entries)) }
    }

    /// Adds an entry.
    pub(super) fn add(&self, entry: Entry) {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, entries) = &mut *guard;
        let line = serde_json::to_string(&entry).unwrap() + "\n";
        file.write_all(line.as_bytes()).unwrap();
        entries.push(entry);
    }

    /// Everything so far.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
