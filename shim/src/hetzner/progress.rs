//! The interface through which work at Hetzner reports its progress.
//!
//! The receiver is a terminal, or the keeper, which passes reports on to a command.

use crate::terminal::Terminal;

/// A receiver of progress reports.
pub(crate) trait Progress: Send + Sync {
    /// A step begins, which may take minutes. `text` completes "burst: ".
    fn step(&self, text: &str);
    /// Something that the user is to know before it happens, such as what it costs.
    fn say(&self, text: &str);
    /// A warning for the user.
    fn warn(&self, text: &str);
    /// Something that is paid for is being made: what the user is told if the command is
    /// interrupted from now on.
    fn pays_for(&self, _text: &str) {}
    /// The project's disk is known by its name below `/dev/disk/by-id`, long before the
    /// server answers.
    fn disk(&self, _device: &str) {}
}

impl Progress for Terminal {
    fn step(&self, text: &str) {
        self.begin(text);
    }

    fn say(&self, text: &str) {
        Self::say(self, text);
    }

    fn warn(&self, text: &str) {
        Self::warn(self, text);
    }
}
