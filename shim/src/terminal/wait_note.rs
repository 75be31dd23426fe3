//! What a detached run waits for, in a file that `status` reads and that exists only meanwhile.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::atomic_file;

/// The mode of the file: for the user alone.
const PRIVATE: u32 = 0o600;

/// The file.
#[derive(Debug)]
pub(super) struct WaitNote {
    path: PathBuf,
    /// Whether it may exist.
    is_written: AtomicBool,
}

impl WaitNote {
    /// At this path, where no file is.
    pub(super) const fn at(path: PathBuf) -> Self {
        Self { path, is_written: AtomicBool::new(false) }
    }

    /// Notes what is waited for. A disk that is full costs the note alone.
    pub(super) fn write(&self, what: &str) {
        self.is_written.store(true, Ordering::Relaxed);
        drop(atomic_file::write(&self.path, what.as_bytes(), PRIVATE));
    }

    /// Nothing is waited for any more.
    pub(super) fn clear(&self) {
        if self.is_written.swap(false, Ordering::Relaxed) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}
