//! The command of a detached run: a child of the holder with a session, and a terminal or pipes,
//! of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use burst_agent::pseudo_terminal::PseudoTerminal;
use burst_agent::terminal_modes;
use burst_protocol::message::{Ending, Stream};
use nix::sys::signal::SigSet;
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::HELD;
use super::record::Started;
use crate::background;
use crate::terminal::streams::StartTerminal;

/// A command that was started.
#[derive(Debug)]
pub(super) struct HeldCommand {
    child: Child,
    /// Can be read once the command has ended.
    pub(super) end: OwnedFd,
    /// The holder's ends of its output, which never block.
    pub(super) outputs: Vec<(Stream, File)>,
    /// The holder's end of its terminal, if it has one.
    pub(super) terminal: Option<File>,
}

impl HeldCommand {
    /// Starts this program with its record, `words` and this signal mask. It is killed when the
    /// calling thread ends.
    pub(super) fn start(
        record: &Path,
        words: &[OsString],
        started: &Started,
        mask: SigSet,
    ) -> io::Result<Self> {
        let mut command = background::same_environment(HELD);
        command.arg(record).args(words);
        let (outputs, terminal) = match &started.terminal {
            Some(terminal) => {
                let ours = give_terminal(&mut command, terminal)?;
                (vec![(Stream::Output, ours.try_clone()?)], Some(ours))
            }
            None => (give_pipes(&mut command, started.one_output)?, None),
        };
        for (_, output) in &outputs {
            let flags = rustix::fs::fcntl_getfl(output)?;
            rustix::fs::fcntl_setfl(output, flags | OFlags::NONBLOCK)?;
        }
        let child = spawn(&mut command, terminal.is_some(), mask)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let end = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { child, end, outputs, terminal })
    }

    /// Sends a signal to the command and what it has started, as a terminal does.
    pub(super) fn signal(&self, number: i32) {
        let group = i32::try_from(self.child.id()).ok().map(nix::unistd::Pid::from_raw);
        if let (Some(group), Ok(kind)) = (group, nix::sys::signal::Signal::try_from(number)) {
            // A command that has ended needs no signal.
            nix::sys::signal::killpg(group, kind).ok();
        }
    }

    /// How the command ended. Blocks until it has.
    pub(super) fn wait(&mut self) -> io::Result<Ending> {
        let status = self.child.wait()?;
        Ok(match status.signal() {
            Some(signal) => Ending::Signaled(signal),
            None => Ending::Exited(status.code().unwrap_or_default()),
        })
    }
}

/// Gives the command a terminal like this one. Returns the holder's end.
fn give_terminal(command: &mut Command, like: &StartTerminal) -> io::Result<File> {
    let PseudoTerminal { ours, theirs } =
        PseudoTerminal::open(like.size, |modes| terminal_modes::apply(&like.modes, modes))?;
    command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
    Ok(ours)
}

/// Gives the command pipes, one alone if both outputs are one file, and an empty input. Returns
/// the holder's ends.
fn give_pipes(command: &mut Command, is_one: bool) -> io::Result<Vec<(Stream, File)>> {
    let (output, their_output) = io::pipe()?;
    let mut ours = vec![(Stream::Output, OwnedFd::from(output).into())];
    let their_error = match is_one {
        true => their_output.try_clone()?,
        false => {
            let (error, their_error) = io::pipe()?;
            ours.push((Stream::Error, OwnedFd::from(error).into()));
            their_error
        }
    };
    command.stdin(Stdio::null()).stdout(their_output).stderr(their_error);
    Ok(ours)
}

/// Starts the command as the leader of a session, which has the terminal that is its input.
#[expect(unsafe_code, reason = "the standard library has no other way between fork and exec")]
fn spawn(command: &mut Command, has_terminal: bool, mask: SigSet) -> io::Result<Child> {
    let holder = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The holder may have been killed before that call.
        if rustix::process::getppid() != Some(holder) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        rustix::process::setsid()?;
        if has_terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin().as_fd())?;
        }
        Ok(mask.thread_set_mask()?)
    };
    // SAFETY: the closure only makes system calls that are allowed after a fork.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}
