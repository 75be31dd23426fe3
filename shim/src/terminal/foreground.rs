//! Whether this process may read its terminal: only the foreground process group may, every
//! other process is stopped for it.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

/// The pause between two checks of whether a shell has moved this process to the foreground,
/// which it tells by no event.
pub(super) const FOREGROUND_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Whether this process is in the foreground process group of a terminal. A terminal that is
/// not the controlling one has no such group, and everybody may read it.
pub(super) fn is_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}

/// Has reads of this thread fail where they would stop the process: it may lose the foreground
/// between a check and the read.
pub(super) fn fail_instead_of_stop() {
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTTIN);
    stops.thread_block().ok();
}
