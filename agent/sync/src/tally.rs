//! How far a long step has come: files and bytes that are done, and those that are known to be
//! left. Steps count, another thread shows the figures; nothing decides by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// The figures of one step. All of them only grow, and may be read at any time.
#[derive(Debug, Default)]
pub struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    expected_files: AtomicU64,
    expected_bytes: AtomicU64,
}

/// Figures that were read together. Nothing is expected where a step does not know its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The files that are done.
    pub files: u64,
    /// The bytes that are done.
    pub bytes: u64,
    /// The files of the step, as far as they are known; 0 if they are not.
    pub expected_files: u64,
    /// The bytes of the step, likewise.
    pub expected_bytes: u64,
}

impl Tally {
    /// More files and bytes belong to the step.
    pub fn expect(&self, files: u64, bytes: u64) {
        self.expected_files.fetch_add(files, Ordering::Relaxed);
        self.expected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file is done, or was found.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes are done.
    pub fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Figures {
            files: read(&self.files),
            bytes: read(&self.bytes),
            expected_files: read(&self.expected_files),
            expected_bytes: read(&self.expected_bytes),
        }
    }
}
