//! cargo's three streams: pipes, or pseudo-terminals where the client has terminals. Each
//! stream is separate, so standard output and standard error are never mixed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use burst_protocol::limit::OUTPUT_BYTES_MAX;
use burst_protocol::message::WindowSize;
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Winsize};

/// Both ends of one stream.
#[derive(Debug)]
pub(crate) struct StreamPair {
    /// The agent's end.
    pub(crate) ours: File,
    /// cargo's end.
    pub(crate) theirs: OwnedFd,
    /// Whether it is a terminal.
    pub(crate) terminal: bool,
}

/// The direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the agent to cargo.
    Input,
    /// From cargo to the agent.
    Output,
}

impl StreamPair {
    /// Opens a pseudo-terminal of this size, or a pipe if there is none.
    pub(crate) fn open(direction: Direction, terminal: Option<WindowSize>) -> io::Result<Self> {
        match terminal {
            Some(size) => Self::terminal(size),
            None => Self::pipe(direction),
        }
    }

    /// An input that is at its end.
    pub(crate) fn null() -> io::Result<OwnedFd> {
        Ok(File::open("/dev/null")?.into())
    }

    fn pipe(direction: Direction) -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (ours, theirs) = match direction {
            Direction::Input => (writer, reader),
            Direction::Output => (reader, writer),
        };
        Ok(Self { ours: ours.into(), theirs, terminal: false })
    }

    fn terminal(size: WindowSize) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&ours)?;
        rustix::pty::unlockpt(&ours)?;
        let name = rustix::pty::ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, Mode::empty())?;
        // The client's own terminal translates line ends and echoes input; both must not
        // happen twice.
        let mut modes = rustix::termios::tcgetattr(&theirs)?;
        modes.output_modes.remove(OutputModes::OPOST);
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VEOF] = END_OF_INPUT;
        rustix::termios::tcsetattr(&theirs, OptionalActions::Now, &modes)?;
        resize(ours.as_fd(), size)?;
        Ok(Self { ours: ours.into(), theirs, terminal: true })
    }
}

/// The control character that ends the input of a terminal.
const END_OF_INPUT: u8 = 4;

/// Ends the input of cargo: by its control character on a terminal, by closing a pipe.
pub(crate) fn end_input(mut stream: File, terminal: bool) {
    if terminal {
        // An error says that the run has ended.
        drop(stream.write_all(&[END_OF_INPUT]));
    }
}

/// Sets the size of a terminal.
pub(crate) fn resize(terminal: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Reads the output that is available, at most `OUTPUT_BYTES_MAX`, and waits if there is
/// none yet; none at the end of the stream.
pub(crate) fn read_some(stream: &mut File) -> Option<Vec<u8>> {
    let mut buffer = vec![0; OUTPUT_BYTES_MAX];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => {
                buffer.truncate(read);
                return Some(buffer);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Reading a terminal whose other end is closed fails.
            Err(_) => return None,
        }
    }
}
