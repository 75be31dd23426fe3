//! `cargo burst attach`: shows a detached run, from the beginning of its output to its end, and
//! exits as its command does.
//!
//! Only one `attach` shows a run at a time; a second one takes it up, and the first one leaves.
//! An `attach` that is left or killed changes nothing for the run.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use burst_protocol::message::Ending;
use burst_sync::clock::Moment;

use super::choice::choose;
use super::message::{FromAttach, KEYS_BYTES_MAX, MORE, TAKEN, line};
use super::prune::prune;
use super::record::{How, Run, RunDirectory, RunState};
use super::runs::Runs;
use super::transcript::{Piece, Reader};
use crate::background::{lock, socket};
use crate::directories::{Directories, current_directory, unusable};
use crate::error::{Error, ErrorKind, exit_code};
use crate::terminal::attached::{AttachedTerminal, Happening};
use crate::terminal::{Patience, Terminal, bytes, unwritable};

/// How long a holder may take to exit once it does not listen any more.
const EXIT_DEADLINE: Duration = Duration::from_secs(20);

/// Shows the run of this number, or the one that is meant without a number. Returns how its
/// command ended; if it is left before, never success. Blocks. For a process of one thread.
pub(crate) fn attach(
    terminal: &Terminal,
    directories: &Directories,
    number: Option<u32>,
) -> Result<Ending, Error> {
    let runs = Runs::below(&directories.state);
    // Not worth a wait, nor an error: what is there can be shown all the same.
    let lock = runs.try_lock();
    let found = runs.list()?;
    let here = current_directory()?;
    let chosen = choose(&found, number, &here);
    if let Ok(Some(_)) = lock {
        let shown = chosen.as_ref().ok().map(|run| run.number);
        prune(&runs, &found, Moment::now().seconds, shown);
    }
    drop(lock);
    let run = chosen?;
    let workspace = &run.started.workspace;
    if number.is_none() && !here.starts_with(workspace) {
        terminal.say(&format!("run {} of {}", run.number, workspace.display()));
    }
    let directory = runs.directory(run.number);
    let output = Reader::new(directory.path());
    let unprinted = VecDeque::new();
    View { terminal, run, directory, output, unprinted, has_signaled: false }.show()
}

/// How a run is left before its end is shown.
enum Left {
    /// By the user.
    Detached,
    /// Another `attach` has taken it up.
    Taken,
    /// By a signal to this process.
    Signaled(i32),
    /// The holder is gone.
    Over,
}

/// A run that is shown.
struct View<'a> {
    terminal: &'a Terminal,
    run: &'a Run,
    directory: RunDirectory,
    output: Reader,
    /// What has been read of it and not been printed yet.
    unprinted: VecDeque<Piece>,
    /// Whether a signal was passed on to the run.
    has_signaled: bool,
}

impl View<'_> {
    fn show(mut self) -> Result<Ending, Error> {
        let number = self.run.number;
        loop {
            match self.directory.state()? {
                RunState::Ended(ended) => {
                    let is_killed = self.has_signaled && matches!(ended.how, How::Signal(_));
                    self.print_output(if is_killed { Patience::Brief } else { Patience::Endless })?;
                    if ended.unrecorded > 0 {
                        let size = bytes(ended.unrecorded);
                        self.terminal.warn(&format!("{size} of the output could not be recorded"));
                    }
                    self.directory.note_shown();
                    return match ended.how {
                        How::Code(code) => Ok(Ending::Exited(code)),
                        How::Signal(signal) => Ok(Ending::Signaled(signal)),
                        How::Down => Err(ended_by_down(number)),
                    };
                }
                state @ (RunState::Lost | RunState::EndUnknown) => {
                    self.print_output(Patience::Endless)?;
                    self.directory.note_shown();
                    let error = match state {
                        RunState::Lost => lost(number),
                        _ => unknown_end(number, &self.directory),
                    };
                    return Err(match self.directory.last_message() {
                        Some(message) => error.cause(message),
                        None => error,
                    });
                }
                RunState::Running => match self.follow()? {
                    Left::Detached => {
                        self.terminal.say(&goes_on(number));
                        return Ok(Ending::Exited(exit_code::RUN_LOST.into()));
                    }
                    Left::Taken => return Err(taken(number)),
                    Left::Signaled(signal) => {
                        // Also with `--quiet`: it tells this from a run that the signal has ended.
                        self.terminal.notice(&goes_on(number));
                        return Ok(Ending::Signaled(signal));
                    }
                    Left::Over => self.wait_for_holder()?,
                },
            }
        }
    }

    /// Shows the run while its holder lives.
    fn follow(&mut self) -> Result<Left, Error> {
        let Some(mut socket) = self.connect()? else { return Ok(Left::Over) };
        let has_terminal = self.run.started.terminal.is_some();
        let failed = |source| unusable("follow the run in", self.directory.path(), &source);
        let mut keyboard = AttachedTerminal::take(has_terminal).map_err(failed)?;
        let mut has_more = true;
        loop {
            // Piece by piece, so that keys are heard meanwhile.
            has_more = has_more && self.show_some(&keyboard)?;
            let failed = |source| unusable("follow the run in", self.directory.path(), &source);
            let happening = keyboard.next(socket.as_fd(), !has_more).map_err(failed)?;
            let Some(happening) = happening else { continue };
            let message = match happening {
                Happening::Readable => match news(&mut socket) {
                    Some(MORE) => {
                        // Before the transcript is read: what comes later is told again.
                        has_more = true;
                        FromAttach::Looks
                    }
                    Some(TAKEN) => {
                        keyboard.leave();
                        return Ok(Left::Taken);
                    }
                    _ => return Ok(Left::Over),
                },
                Happening::Detached => {
                    keyboard.leave();
                    return Ok(Left::Detached);
                }
                Happening::Ends(signal) => {
                    keyboard.leave();
                    return Ok(Left::Signaled(signal));
                }
                Happening::Size(size) if has_terminal => FromAttach::Size(size),
                Happening::Keys(keys) if has_terminal => {
                    for keys in keys.chunks(KEYS_BYTES_MAX) {
                        send(&mut socket, &FromAttach::Keys(keys.to_vec()));
                    }
                    continue;
                }
                Happening::Size(_) | Happening::Keys(_) => continue,
                Happening::Signal(signal) => {
                    self.has_signaled = true;
                    FromAttach::Signal(signal)
                }
            };
            send(&mut socket, &message);
        }
    }

    /// Connects to the holder; `None` if it does not listen any more.
    fn connect(&self) -> Result<Option<UnixStream>, Error> {
        let (path, _directory) = socket::path(self.directory.path())?;
        match UnixStream::connect(&path) {
            Ok(socket) => Ok(Some(socket)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(unusable("connect to", &path, &source)),
        }
    }

    fn wait_for_holder(&self) -> Result<(), Error> {
        if lock::wait_until_released(&self.directory.lock(), EXIT_DEADLINE)? {
            return Ok(());
        }
        let log = self.directory.log();
        Err(Error::new(
            ErrorKind::State,
            format!("the process that holds run {} does not answer", self.run.number),
            format!("its log is `{}`; `cargo burst down` ends the run", log.display()),
        ))
    }

    /// Prints what the transcript holds and was not printed yet: the run is over, and its terminal
    /// with it.
    fn print_output(&mut self, patience: Patience<'_>) -> Result<(), Error> {
        while self.read_some()? {
            if !self.print(patience)? {
                break;
            }
        }
        self.terminal.undo_modes();
        Ok(())
    }

    /// Prints a part of that while the run is followed. Returns whether there may be more.
    fn show_some(&mut self, keyboard: &AttachedTerminal) -> Result<bool, Error> {
        if !self.read_some()? {
            return Ok(false);
        }
        self.print(keyboard.patience()).map(|_| true)
    }

    /// Reads a part of the transcript unless one is not printed yet. Returns whether there is any.
    fn read_some(&mut self) -> Result<bool, Error> {
        if !self.unprinted.is_empty() {
            return Ok(true);
        }
        let pieces = self
            .output
            .next()
            .map_err(|source| unusable("read the transcript in", self.directory.path(), &source))?;
        let skipped = self.output.take_skipped();
        if skipped > 0 {
            let size = bytes(skipped);
            self.terminal.say(&format!("{size} of the output are not kept any more"));
        }
        let Some(pieces) = pieces else { return Ok(false) };
        self.unprinted.extend(pieces);
        Ok(true)
    }

    /// Prints what has been read. Returns whether all of it is printed.
    fn print(&mut self, patience: Patience<'_>) -> Result<bool, Error> {
        while let Some(piece) = self.unprinted.front_mut() {
            let printed = self.terminal.pass_on(piece.stream, &piece.bytes, patience);
            let printed = printed.map_err(|source| unwritable(&source))?;
            if printed < piece.bytes.len() {
                piece.bytes.drain(..printed);
                return Ok(false);
            }
            self.unprinted.pop_front();
        }
        Ok(true)
    }
}

/// The most important byte that the holder has sent; `None` at the end.
fn news(socket: &mut UnixStream) -> Option<u8> {
    let mut buffer = [0; 16];
    let read = socket.read(&mut buffer).ok()?;
    let news = &buffer[..read];
    if news.contains(&TAKEN) { Some(TAKEN) } else { news.first().copied() }
}

/// Sends a message. A holder that is gone is noticed when it is read from.
fn send(socket: &mut UnixStream, message: &FromAttach) {
    socket.write_all(&line(message)).ok();
}

fn goes_on(number: u32) -> String {
    format!("run {number} goes on: `cargo burst attach {number}` shows it again")
}

fn lost(number: u32) -> Error {
    Error::new(
        ErrorKind::RunLost,
        format!(
            "run {number} was lost: the process that held it is gone, and so is the run; how it \
             ended is not recorded"
        ),
        "start it again; what it had changed comes back with the next command of its workspace",
    )
}

fn unknown_end(number: u32, directory: &RunDirectory) -> Error {
    let path = directory.path().display();
    Error::new(
        ErrorKind::RunLost,
        format!("run {number} has ended, but the record of its end cannot be read"),
        format!("its output is complete; look at `{path}/ended.json`, or start it again"),
    )
}

fn ended_by_down(number: u32) -> Error {
    Error::new(
        ErrorKind::RunLost,
        format!("run {number} was ended by `cargo burst down`"),
        "start it again; what it had changed comes back with the next command of its workspace",
    )
}

fn taken(number: u32) -> Error {
    Error::new(
        ErrorKind::RunLost,
        format!("another terminal has taken run {number} up, so its exit code is not known here"),
        format!("`cargo burst attach {number}` takes it back"),
    )
}
