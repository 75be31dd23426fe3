//! Typing into a controlling terminal whose work the client does.
//!
//! Such a terminal (in the mode of `EXTPROC`) does not look at what it passes on: a program's read
//! returns all that is there, and an end of input is one only where nothing else is there. So,
//! while programs read lines, it is given one line or one end of input at a time, the next after
//! the one before has been read. Single keys it is given at once.
//!
//! The kernel reports no event when input has been read. It is looked at only while more waits.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{LocalModes, tcgetattr};

/// The pause between two looks at whether input has been read.
const LOOK: Duration = Duration::from_millis(2);

/// Types what the client has read from its terminal at once. Blocks while earlier lines are not
/// read. An error says that no program has the terminal open any more.
pub(crate) fn write(mut terminal: &File, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        while gives_lines(terminal)? && has_unread(terminal)? {
            #[expect(clippy::disallowed_methods, reason = "no event tells that input is read")]
            std::thread::sleep(LOOK);
        }
        terminal.write_all(piece)?;
    }
    Ok(())
}

/// Whether programs have the terminal give them lines.
fn gives_lines(terminal: &File) -> io::Result<bool> {
    Ok(tcgetattr(terminal)?.local_modes.contains(LocalModes::ICANON))
}

/// Whether something waits for the programs of a terminal to read it.
fn has_unread(terminal: &File) -> io::Result<bool> {
    let look = |at: &dyn AsFd| {
        let mut events = [PollFd::from_borrowed_fd(at.as_fd(), PollFlags::IN)];
        poll(&mut events, Some(&Timespec::default()))?;
        Ok::<_, Errno>(events[0].revents())
    };
    if look(terminal)?.contains(PollFlags::HUP) {
        return Err(Errno::IO.into());
    }
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = ioctl_tiocgptpeer(terminal, flags)?;
    // Before it is counted: this waits until what was written last has arrived there.
    look(&theirs)?;
    Ok(rustix::io::ioctl_fionread(&theirs)? > 0)
}
