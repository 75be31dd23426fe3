//! Pseudo-terminals, for programs that are to find a terminal.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use burst_protocol::message::WindowSize;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Opcode, Setter, ioctl};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, Termios, Winsize};

/// The size of a terminal whose size is not known.
pub const DEFAULT_SIZE: WindowSize = WindowSize { columns: 80, rows: 24 };

/// Both ends of a pseudo-terminal, which are closed in programs that are started.
#[derive(Debug)]
pub struct PseudoTerminal {
    /// The end that shows and types.
    pub ours: File,
    /// The end that is the program's terminal.
    pub theirs: OwnedFd,
}

impl PseudoTerminal {
    /// Opens one of this size; `set` changes its modes.
    pub fn open(size: WindowSize, set: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&ours)?;
        rustix::pty::unlockpt(&ours)?;
        let name = rustix::pty::ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, Mode::empty())?;
        let mut modes = rustix::termios::tcgetattr(&theirs)?;
        set(&mut modes);
        rustix::termios::tcsetattr(&theirs, OptionalActions::Now, &modes)?;
        resize(ours.as_fd(), size)?;
        Ok(Self { ours: ours.into(), theirs })
    }
}

/// The first byte that is read from a terminal that reports modes: data follows (`TIOCPKT_DATA`).
pub(crate) const DATA: u8 = 0;

/// Has a terminal in the mode of `EXTPROC` report when a program changes its modes, in front of
/// what is written afterwards. See tty_ioctl(4), "packet mode".
pub(crate) fn report_modes(ours: impl AsFd) -> io::Result<()> {
    // SAFETY: for this request the kernel reads one integer.
    #[expect(unsafe_code, reason = "rustix has no safe function for packet mode")]
    let done = unsafe {
        type PacketMode = Setter<{ nix::libc::TIOCPKT as Opcode }, nix::libc::c_int>;
        ioctl(ours, PacketMode::new(1))
    };
    Ok(done?)
}

/// Has a terminal look at what it passes on, from now on; it is no longer in the mode of `EXTPROC`.
/// It shows nothing of that.
pub(crate) fn begin_discipline(ours: impl AsFd) -> io::Result<()> {
    let mut modes = rustix::termios::tcgetattr(&ours)?;
    modes.local_modes.remove(LocalModes::EXTPROC | LocalModes::ECHO);
    Ok(rustix::termios::tcsetattr(&ours, OptionalActions::Now, &modes)?)
}

/// Sets the size of a terminal.
pub fn resize(terminal: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
