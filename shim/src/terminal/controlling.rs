//! The terminal at which the user sits: standard input, or else the controlling terminal of this
//! process, whatever its streams are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::stdin;
use rustix::termios::isatty;

/// That terminal; none if there is none.
pub(super) fn user_terminal() -> Option<BorrowedFd<'static>> {
    static CONTROLLING: OnceLock<Option<OwnedFd>> = OnceLock::new();
    if isatty(stdin()) {
        return Some(stdin());
    }
    let opened = CONTROLLING.get_or_init(|| {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        open("/dev/tty", flags, Mode::empty()).ok()
    });
    opened.as_ref().map(OwnedFd::as_fd)
}

/// Whether the terminal is closed.
pub(super) fn has_hung_up() -> bool {
    let Some(terminal) = user_terminal() else { return false };
    let mut events = [PollFd::new(&terminal, PollFlags::empty())];
    poll(&mut events, Some(&Timespec::default())).is_ok()
        && events[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
