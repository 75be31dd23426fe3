//! The holder of a detached run, a process of one thread: it starts the command, records its
//! output and its end, and gives it the keys and signals of one `attach` at a time.
//!
//! Nothing here waits for anything but in [`Holder::wait`]: an `attach` that is stopped and a
//! command that reads nothing do not keep the output from being recorded.

use std::ffi::OsString;
use std::io::{self, ErrorKind as Io, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use burst_agent::pseudo_terminal;
use burst_protocol::message::Ending;
use burst_sync::clock::Moment;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::command::HeldCommand;
use super::message::{FromAttach, Lines, MORE, TAKEN};
use super::record::{Ended, How, RunDirectory, Started};
use super::transcript::{PIECE_BYTES_MAX, Writer};
use crate::background::socket;
use crate::directories::unusable;
use crate::error::{Error, ErrorKind};

/// Most bytes of keys that wait until the command reads. What is typed beyond is lost, as on a
/// terminal whose program reads nothing.
const WAITING_KEYS_MAX: usize = 1 << 20;

/// Most bytes that a pipe or terminal holds: the limit of pipes of users, `pipe-max-size`.
const PIPE_BYTES_MAX: usize = 1 << 20;

/// How long no `attach` is accepted after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the process that starts a holder reads once the command is started.
pub(super) const READY: &str = "ready";

/// The whole process. The arguments are the directory of the run, what is started as JSON, and
/// the words of the command line.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    match hold(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the log of the run. Before the command is started the starter
            // reads standard output: the log may be on a full disk.
            let line = error.one_line();
            drop(writeln!(io::stderr(), "{line}"));
            drop(writeln!(io::stdout(), "{line}"));
            ExitCode::FAILURE
        }
    }
}

fn hold(arguments: &[OsString]) -> Result<(), Error> {
    let [directory, started, words @ ..] = arguments else { return Err(wrong_call()) };
    let started: Started =
        started.to_str().and_then(|text| serde_json::from_str(text).ok()).ok_or_else(wrong_call)?;
    let directory = RunDirectory::at(PathBuf::from(directory));
    let Some(_lock) = directory.hold()? else { return Err(wrong_call()) };
    let failed = |source: io::Error| unusable("hold the run in", directory.path(), &source);
    let (path, _open) = socket::path(directory.path())?;
    let listener =
        UnixListener::bind(&path).map_err(|source| unusable("listen on", &path, &source))?;
    listener.set_nonblocking(true).map_err(failed)?;
    let transcript = Writer::create(directory.path()).map_err(failed)?;
    let (signals, mask) = receive_signals().map_err(failed)?;
    directory.write_started(&started)?;
    let command = HeldCommand::start(directory.path(), words, &started, mask);
    let command = command.map_err(failed)?;
    let mut stdout = io::stdout();
    // The starter may have been killed.
    drop(writeln!(stdout, "{READY}").and_then(|()| stdout.flush()));
    // The directory may be deleted meanwhile.
    drop(std::env::set_current_dir("/"));
    let keys = Vec::new();
    let mut holder =
        Holder { command, transcript, listener, signals, attached: None, deaf_until: None, keys };
    let ending = holder.serve().map_err(failed)?;
    let how = How::of(ending, directory.is_down());
    let unrecorded = holder.transcript.unrecorded();
    directory.write_ended(&Ended { at: Moment::now().seconds, how, unrecorded })
}

fn wrong_call() -> Error {
    Error::new(
        ErrorKind::Usage,
        "this process holds a detached run and is started by `cargo burst --detach`",
        "call that",
    )
}

/// Has signals that would end this process arrive as events: they are the command's. One for a
/// file that would become too large is left to the error of the write. Returns also the mask
/// before.
fn receive_signals() -> io::Result<(SignalFd, SigSet)> {
    let mut signals = SigSet::empty();
    for kind in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(kind);
    }
    let mut blocked = signals;
    blocked.add(Signal::SIGXFSZ);
    let mask = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok((SignalFd::with_flags(&signals, flags)?, mask))
}

/// The run and its `attach`.
struct Holder {
    command: HeldCommand,
    transcript: Writer,
    listener: UnixListener,
    signals: SignalFd,
    attached: Option<Attached>,
    /// Until when no `attach` is accepted: the last one could not be.
    deaf_until: Option<Instant>,
    /// Keys that the command has not read.
    keys: Vec<u8>,
}

/// What can be done without waiting.
#[derive(Debug, Default)]
struct Ready {
    has_ended: bool,
    has_signals: bool,
    connects: bool,
    has_message: bool,
    takes_keys: bool,
    outputs: Vec<usize>,
}

impl Holder {
    /// Serves until the command has ended and its output is recorded.
    fn serve(&mut self) -> io::Result<Ending> {
        loop {
            let ready = self.wait()?;
            // Standard output first, as a terminal most often shows them; their real order is only
            // known of one pipe.
            let ended = ready.outputs.into_iter().filter(|output| self.record(*output).is_none());
            for output in ended.collect::<Vec<_>>().into_iter().rev() {
                self.command.outputs.remove(output);
            }
            if ready.has_ended {
                break;
            }
            if ready.has_signals {
                while let Some(info) = self.signals.read_signal()? {
                    self.command.signal(i32::try_from(info.ssi_signo).unwrap_or_default());
                }
            }
            if ready.has_message {
                self.take_messages();
            }
            if ready.connects {
                self.accept();
            }
            if ready.takes_keys {
                self.type_keys();
            }
        }
        // A process that the command has left behind may hold an output open, and write on: what
        // is there now is all of the command's.
        for output in 0..self.command.outputs.len() {
            let mut left = PIPE_BYTES_MAX;
            while left > 0
                && let Some(read) = self.record(output).filter(|read| *read > 0)
            {
                left = left.saturating_sub(read);
            }
        }
        self.command.wait()
    }

    fn wait(&self) -> io::Result<Ready> {
        let readable = PollFlags::IN;
        let keys = self.command.terminal.as_ref().filter(|_| !self.keys.is_empty());
        let socket = self.attached.as_ref().map(|attached| &attached.socket);
        let deaf = self.deaf_until.map(|until| until.saturating_duration_since(Instant::now()));
        let deaf = deaf.filter(|left| !left.is_zero());
        let connecting = if deaf.is_some() { PollFlags::empty() } else { readable };
        let mut polled = vec![
            PollFd::new(&self.command.end, readable),
            PollFd::from_borrowed_fd(self.signals.as_fd(), readable),
            PollFd::new(&self.listener, connecting),
        ];
        polled.extend(self.command.outputs.iter().map(|(_, file)| PollFd::new(file, readable)));
        let outputs = 3..polled.len();
        polled.extend(socket.map(|socket| PollFd::new(socket, readable)));
        let at_keys = polled.len();
        polled.extend(keys.map(|terminal| PollFd::new(terminal, PollFlags::OUT)));
        let deadline = deaf.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, deadline.as_ref()) {
            Err(Errno::INTR) => return Ok(Ready::default()),
            other => other?,
        };
        let is_ready = |at: usize| polled.get(at).is_some_and(|one| !one.revents().is_empty());
        Ok(Ready {
            has_ended: is_ready(0),
            has_signals: is_ready(1),
            connects: is_ready(2),
            has_message: socket.is_some() && is_ready(outputs.end),
            takes_keys: keys.is_some() && is_ready(at_keys),
            outputs: outputs
                .clone()
                .filter(|at| is_ready(*at))
                .map(|at| at - outputs.start)
                .collect(),
        })
    }

    /// Records output that is there. Returns how much it was; `None` at the end.
    fn record(&mut self, output: usize) -> Option<usize> {
        let (stream, file) = self.command.outputs.get_mut(output)?;
        let mut buffer = [0; PIECE_BYTES_MAX];
        let read = match file.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), Io::WouldBlock | Io::Interrupted) => {
                return Some(0);
            }
            // A terminal that nobody holds open any more.
            Err(_) => return None,
        };
        self.transcript.append(*stream, &buffer[..read]);
        if let Some(attached) = &mut self.attached {
            attached.tell_more();
        }
        Some(read)
    }

    /// Takes an `attach` that connects; the one before leaves.
    fn accept(&mut self) {
        let accepted = self.listener.accept();
        let accepted =
            accepted.and_then(|(socket, _)| socket.set_nonblocking(true).map(|()| socket));
        let socket = match accepted {
            Ok(socket) => socket,
            Err(error) => {
                if !matches!(error.kind(), Io::WouldBlock | Io::Interrupted | Io::ConnectionAborted)
                {
                    // Such as without a free descriptor: it still waits, so this would fail at
                    // once.
                    self.deaf_until = Instant::now().checked_add(ACCEPT_PAUSE);
                }
                return;
            }
        };
        if let Some(mut last) = self.attached.replace(Attached::new(socket)) {
            last.tell(TAKEN);
        }
    }

    fn take_messages(&mut self) {
        let Some(attached) = &mut self.attached else { return };
        let Ok(messages) = attached.receive() else {
            self.attached = None;
            return;
        };
        for message in messages {
            match message {
                FromAttach::Looks => {
                    if let Some(attached) = &mut self.attached {
                        attached.looks();
                    }
                }
                FromAttach::Keys(keys) if self.command.terminal.is_some() => {
                    let room = WAITING_KEYS_MAX.saturating_sub(self.keys.len());
                    self.keys.extend(keys.into_iter().take(room));
                }
                FromAttach::Size(size) => {
                    if let Some(terminal) = &self.command.terminal {
                        // The command has ended otherwise.
                        drop(pseudo_terminal::resize(terminal, size));
                    }
                }
                FromAttach::Signal(number) => self.command.signal(number),
                FromAttach::Keys(_) => {}
            }
        }
    }

    /// Gives the terminal of the command as many keys as it takes.
    fn type_keys(&mut self) {
        let Some(terminal) = &mut self.command.terminal else { return };
        match terminal.write(&self.keys) {
            Ok(written) => drop(self.keys.drain(..written)),
            Err(error) if matches!(error.kind(), Io::WouldBlock | Io::Interrupted) => {}
            Err(_) => self.keys.clear(),
        }
    }
}

/// An `attach` that shows the run.
struct Attached {
    socket: UnixStream,
    lines: Lines,
    /// Whether it was told that there is more, and has not looked since.
    is_told: bool,
    /// Whether there is more since it was told.
    has_more: bool,
}

impl Attached {
    /// It may have read the transcript before it was accepted, so it is told to read again.
    fn new(socket: UnixStream) -> Self {
        let mut attached =
            Self { socket, lines: Lines::default(), is_told: false, has_more: false };
        attached.tell_more();
        attached
    }

    /// Takes what has arrived. Fails when it has left.
    fn receive(&mut self) -> io::Result<Vec<FromAttach>> {
        let mut buffer = [0; PIECE_BYTES_MAX];
        match self.socket.read(&mut buffer) {
            Ok(0) => Err(Io::UnexpectedEof.into()),
            Ok(read) => self.lines.take(&buffer[..read]),
            Err(error) if matches!(error.kind(), Io::WouldBlock | Io::Interrupted) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn tell_more(&mut self) {
        match self.is_told {
            true => self.has_more = true,
            false => {
                self.is_told = true;
                self.tell(MORE);
            }
        }
    }

    fn looks(&mut self) {
        self.is_told = false;
        if std::mem::take(&mut self.has_more) {
            self.tell_more();
        }
    }

    /// Sends a byte, for which there is always room. One that has left is noticed when it is
    /// read from.
    fn tell(&mut self, byte: u8) {
        drop(self.socket.write(&[byte]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte is on its way at most, and none of the growth is kept back.
    #[test]
    fn an_attach_is_told_once_until_it_looks_and_then_of_what_came_meanwhile() {
        let (socket, mut other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        let mut told = || {
            let mut buffer = [0; 8];
            other.read(&mut buffer).map(|read| buffer[..read].to_vec()).unwrap_or_default()
        };
        let mut attached = Attached::new(socket);
        assert_eq!(told(), [MORE]);
        attached.tell_more();
        attached.tell_more();
        assert_eq!(told(), Vec::<u8>::new());
        attached.looks();
        assert_eq!(told(), [MORE]);
        attached.looks();
        assert_eq!(told(), Vec::<u8>::new());
        attached.tell_more();
        assert_eq!(told(), [MORE]);
    }
}
