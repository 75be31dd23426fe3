//! The terminal at which the user sits: standard input, or else the controlling terminal of this
//! process, whatever its streams are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::stdin;
use rustix::termios::isatty;

/// That terminal, as it was found first; none if there was none. One that is closed later remains
/// it, though it then no longer says that it is a terminal.
pub(super) fn user_terminal() -> Option<BorrowedFd<'static>> {
    static FOUND: OnceLock<Found> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if isatty(stdin()) {
            return Found::Input;
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        open("/dev/tty", flags, Mode::empty()).map_or(Found::None, Found::Controlling)
    });
    match found {
        Found::Input => Some(stdin()),
        Found::Controlling(terminal) => Some(terminal.as_fd()),
        Found::None => None,
    }
}

/// Where the terminal was found.
enum Found {
    Input,
    Controlling(OwnedFd),
    None,
}

/// Whether the terminal is closed.
pub(super) fn has_hung_up() -> bool {
    let Some(terminal) = user_terminal() else { return false };
    let mut events = [PollFd::new(&terminal, PollFlags::empty())];
    poll(&mut events, Some(&Timespec::default())).is_ok()
        && events[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
