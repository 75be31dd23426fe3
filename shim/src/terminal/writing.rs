//! Writing of a run's output to streams whose readers may have stopped: a signal is heard
//! meanwhile.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What a pipe that can be written takes at once (`PIPE_BUF`).
const PIECE_BYTES: usize = 4096;

/// How long [`Patience::Brief`] waits: half a second.
const BRIEF: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// How long a reader is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience<'a> {
    /// Until it reads.
    Endless,
    /// Until this can be read.
    Until(BorrowedFd<'a>),
    /// Not for long.
    Brief,
}

/// Writes bytes; returns how many are written: all, unless the patience has ended.
pub(super) fn write(to: BorrowedFd<'_>, bytes: &[u8], patience: Patience<'_>) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        if !has_room(to, patience)? {
            break;
        }
        let rest = &bytes[written..];
        match rustix::io::write(to, &rest[..rest.len().min(PIECE_BYTES)]) {
            Ok(more) => written += more,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// Waits until something can be written, or an error says why not; false once the patience has
/// ended.
pub(super) fn has_room(to: BorrowedFd<'_>, patience: Patience<'_>) -> io::Result<bool> {
    let (interrupt, deadline) = match patience {
        Patience::Endless => (None, None),
        Patience::Until(interrupt) => (Some(interrupt), None),
        Patience::Brief => (None, Some(&BRIEF)),
    };
    let mut polled = vec![PollFd::from_borrowed_fd(to, PollFlags::OUT)];
    polled.extend(interrupt.map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)));
    loop {
        match poll(&mut polled, deadline) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(!polled[0].revents().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_reader_that_has_stopped_is_waited_for_until_a_signal() {
        let (mut reader, writer) = io::pipe().unwrap();
        let interrupt = io::pipe().unwrap();
        let bytes = vec![b'x'; 1 << 20];
        let brief = write(writer.as_fd(), &bytes, Patience::Brief).unwrap();
        assert!(brief > 0 && brief < bytes.len(), "{brief}");
        rustix::io::write(&interrupt.1, b"!").unwrap();
        let until = Patience::Until(interrupt.0.as_fd());
        assert_eq!(write(writer.as_fd(), b"y", until).unwrap(), 0);
        let mut read = vec![0; brief];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(write(writer.as_fd(), b"y", until).unwrap(), 1);
        drop(reader);
        let error = write(writer.as_fd(), b"y", Patience::Endless).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
