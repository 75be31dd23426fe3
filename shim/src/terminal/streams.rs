//! What the standard streams are here, so that they are the same on the agent.

use std::os::fd::{AsFd, BorrowedFd};

use burst_agent::pseudo_terminal::DEFAULT_SIZE;
use burst_agent::terminal_modes;
use burst_protocol::message::{
    ControllingTerminal, LineDiscipline, Stream, Terminal, TerminalModes, WindowSize,
};
use rustix::fs::{FileType, fstat};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{LocalModes, isatty, tcgetattr};
use serde::{Deserialize, Serialize};

use super::controlling::user_terminal;
use super::foreground::is_foreground;
use crate::environment;

/// The terminal of this command, and which streams are connected to it. `reads`: whether the run
/// may read standard input. `has_programs`: whether it starts programs that may use the terminal.
pub(crate) fn describe(reads: bool, has_programs: bool) -> Terminal {
    Terminal {
        input: isatty(stdin()),
        output: isatty(stdout()),
        error: isatty(stderr()),
        one_output: is_one_output(),
        control: if has_programs { control(reads) } else { None },
        name: environment::terminal_name(),
        size: window_size(),
    }
}

/// The controlling terminal that a run gets here: one if there is one here. The work of the
/// terminal is done on the agent if the run can have the keyboard.
fn control(reads: bool) -> Option<ControllingTerminal> {
    user_terminal()?;
    let discipline = match reads && may_take_keyboard() {
        true => LineDiscipline::Agent,
        false => LineDiscipline::Client,
    };
    Some(ControllingTerminal { modes: modes(), discipline })
}

/// The terminal of a run that is detached from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartTerminal {
    /// Its size.
    pub(crate) size: WindowSize,
    /// Its modes.
    pub(crate) modes: TerminalModes,
}

/// The terminal that a detached run is to have: one like that of standard output; none if that
/// is no terminal.
pub(crate) fn start_terminal() -> Option<StartTerminal> {
    let size = window_size().unwrap_or(DEFAULT_SIZE);
    isatty(stdout()).then(|| StartTerminal { size, modes: modes() })
}

/// Where output of a run goes; nowhere if it is a terminal's and there is none.
pub(super) fn destination(stream: Stream) -> Option<BorrowedFd<'static>> {
    match stream {
        Stream::Output => Some(stdout()),
        Stream::Error => Some(stderr()),
        Stream::Terminal => user_terminal(),
    }
}

/// The size of the terminal, if there is one.
pub(crate) fn window_size() -> Option<WindowSize> {
    let streams = [stdout(), stderr()];
    streams.into_iter().chain(user_terminal()).find_map(|stream| {
        let size = rustix::termios::tcgetwinsize(stream).ok()?;
        (size.ws_col > 0).then_some(WindowSize { columns: size.ws_col, rows: size.ws_row })
    })
}

/// Whether standard output and standard error are one file.
pub(crate) fn is_one_output() -> bool {
    is_one_file(stdout(), stderr())
}

/// Whether standard output is a terminal.
pub(crate) fn shows_output() -> bool {
    isatty(stdout())
}

/// Whether two streams are one file: written to both, the order is visible.
pub(super) fn is_one_file(one: impl AsFd, other: impl AsFd) -> bool {
    let (Ok(one), Ok(other)) = (fstat(one), fstat(other)) else { return false };
    let is_device = |mode| FileType::from_raw_mode(mode) == FileType::CharacterDevice;
    match (is_device(one.st_mode), is_device(other.st_mode)) {
        // A device can have several names.
        (true, true) => one.st_rdev == other.st_rdev,
        (false, false) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// Whether a run can have the keyboard: standard input is a terminal, what the run shows is
/// seen, and no pager reads keys. A process behind a pipe may be a pager.
pub(super) fn may_take_keyboard() -> bool {
    isatty(stdin()) && (isatty(stdout()) || isatty(stderr()) && !is_pipe(stdout()))
}

/// Whether another process may read what is written to this stream.
pub(super) fn is_pipe(stream: BorrowedFd<'_>) -> bool {
    fstat(stream).is_ok_and(|found| {
        matches!(FileType::from_raw_mode(found.st_mode), FileType::Fifo | FileType::Socket)
    })
}

/// The modes of the terminal. In the background, and without lines, they are those of the shell
/// that reads a command line or of a pager: no program is started with them.
fn modes() -> TerminalModes {
    let terminal = user_terminal().filter(|terminal| is_foreground(terminal));
    match terminal.and_then(|terminal| tcgetattr(terminal).ok()) {
        Some(modes) if modes.local_modes.contains(LocalModes::ICANON) => terminal_modes::of(&modes),
        _ => terminal_modes::USUAL,
    }
}
