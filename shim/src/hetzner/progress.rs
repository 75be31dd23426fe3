//! How work at Hetzner reports its progress.

use crate::terminal::Terminal;

/// Receives the progress of work that may take minutes.
pub(crate) trait Progress: Send + Sync {
    /// A step begins.
    fn step(&self, text: &str);
    /// The user should know or change something.
    fn warn(&self, text: &str);
    /// The project's disk is known, by its name below `/dev/disk/by-id`: long before the
    /// server answers.
    fn disk(&self, _device: &str) {}
}

impl Progress for Terminal {
    fn step(&self, text: &str) {
        self.begin(text);
    }

    fn warn(&self, text: &str) {
        Self::warn(self, text);
    }
}
