//! What is recorded of a detached run: one directory a run, `runs/NUMBER` below the state
//! directory.
//!
//! | file | |
//! |---|---|
//! | `run.json` | what is started, written by the holder before it starts that |
//! | `lock` | held by the holder as long as it lives, with the number of its process |
//! | `socket` | where the holder listens |
//! | `output-…` | the [transcript] |
//! | `waits` | what the command waits for; exists only meanwhile |
//! | `down` | `cargo burst down` is about to end the run |
//! | `reserve` | keeps room for the next one on a disk that is full by then |
//! | `ended.json` | how the command ended, written by the holder before it exits |
//! | `over` | when it was noticed that the run is over without such a record, in Unix seconds |
//! | `shown` | exists once `attach` has shown the end |
//! | `holder.log` | messages of the holder |
//!
//! A directory without `run.json` is no run: it is about to be one, or about to be deleted. So
//! a run whose holder does not live has ended or is lost. What is no directory is no record, and
//! a link to one is not followed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use burst_protocol::message::Ending;
use nix::sys::signal::Signal;
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::record_file::{self, Content, PRIVATE};
use super::transcript;
use crate::atomic_file;
use crate::background::lock;
use crate::directories::unusable;
use crate::error::{Error, ErrorKind, exit_code};
use crate::terminal::streams::StartTerminal;

/// The file of what is started.
pub(super) const STARTED: &str = "run.json";

/// The file of what the command waits for.
pub(crate) const WAITS: &str = "waits";

/// The file that says that `down` is about to end the run.
const DOWN: &str = "down";

/// The file that says when a run was noticed to be over.
const OVER: &str = "over";

/// The file that keeps room for the record of the end.
const RESERVE: &str = "reserve";

/// Its size: more than that record takes, in blocks.
const RESERVE_BYTES: usize = 16 << 10;

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    /// The command, for people.
    pub(crate) title: String,
    /// The root of the workspace.
    pub(crate) workspace: PathBuf,
    /// When, in Unix seconds.
    pub(crate) at: i64,
    /// The terminal of the command, as it was where the run was detached; `None` if it has
    /// pipes.
    pub(crate) terminal: Option<StartTerminal>,
    /// Whether one pipe is its standard output and its standard error. Earlier builds recorded it
    /// not, and had two.
    #[serde(default)]
    pub(crate) one_output: bool,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// When, in Unix seconds.
    pub(crate) at: i64,
    /// Its exit code, or the signal that ended it.
    pub(crate) how: How,
    /// Bytes of output that could not be recorded.
    pub(crate) unrecorded: u64,
}

/// An exit code, a signal, or what has ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// The exit code.
    Code(i32),
    /// The signal.
    Signal(i32),
    /// `cargo burst down` has ended it.
    Down,
}

impl How {
    /// How a command ended, as its process tells it. `is_down`: whether `down` was about to end
    /// it. A command that ended by itself meanwhile keeps its exit code.
    pub(super) fn of(ending: Ending, is_down: bool) -> Self {
        const KILLED: i32 = Signal::SIGKILL as i32;
        const TERMINATED: i32 = Signal::SIGTERM as i32;
        let agent =
            [ErrorKind::AgentStart, ErrorKind::RunLost].map(|kind| exit_code::of(kind).into());
        match ending {
            Ending::Signaled(KILLED | TERMINATED) if is_down => Self::Down,
            Ending::Exited(code) if is_down && agent.contains(&code) => Self::Down,
            Ending::Exited(code) => Self::Code(code),
            Ending::Signaled(signal) => Self::Signal(signal),
        }
    }
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// The holder lives.
    Running,
    /// The command has ended.
    Ended(Ended),
    /// The command has ended, but the record of its end cannot be read.
    EndUnknown,
    /// The holder is gone and has recorded no end.
    Lost,
}

/// A run as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its number.
    pub(crate) number: u32,
    /// What was started.
    pub(crate) started: Started,
    /// Its state.
    pub(crate) state: RunState,
    /// What it waits for while it is running, as far as [`RunDirectory::waits_for`] was asked.
    pub(crate) waits_for: Option<String>,
    /// Whether `attach` has shown its end.
    pub(crate) is_shown: bool,
}

/// What the directory of one run holds.
pub(super) enum Record {
    /// A run.
    Run(Run),
    /// A record that cannot be read, and why.
    Unreadable(String),
    /// About to be a record, in use.
    Begun,
    /// No record, and no process uses it.
    Leftover,
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub(crate) struct RunDirectory(PathBuf);

/// Writes the number of this process into a lock that it has taken. A disk that is full costs that
/// alone.
pub(super) fn write_process(mut lock: &File) {
    let process = std::process::id().to_string();
    drop(lock.set_len(0).and_then(|()| lock.write_all(process.as_bytes())));
}

/// The number of the run with this directory.
pub(crate) fn number_of(directory: &Path) -> Option<u32> {
    directory.file_name()?.to_str()?.parse().ok()
}

impl RunDirectory {
    /// At this path.
    pub(super) const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it.
    pub(super) fn find(&self, number: u32) -> Record {
        let started = match record_file::read(&self.0.join(STARTED)) {
            Content::Value(started) => started,
            Content::Unreadable(why) => return Record::Unreadable(format!("`{STARTED}`: {why}")),
            Content::Absent => {
                return match self.is_held() {
                    Ok(false) => Record::Leftover,
                    Ok(true) | Err(_) => Record::Begun,
                };
            }
        };
        let state = match self.state() {
            Ok(state) => state,
            Err(error) => return Record::Unreadable(error.one_line()),
        };
        let is_shown = self.0.join("shown").symlink_metadata().is_ok();
        Record::Run(Run { number, started, state, waits_for: None, is_shown })
    }

    /// What the command waits for: on this machine or the agent's queue, as it says itself; for a
    /// lock of cargo's, as cargo says.
    pub(crate) fn waits_for(&self) -> Option<String> {
        record_file::text(&self.0.join(WAITS)).or_else(|| transcript::blocked_on(&self.0))
    }

    /// The state of the run.
    pub(super) fn state(&self) -> Result<RunState, Error> {
        // In this order: the holder writes how the command ended before it releases the lock.
        let is_alive = self.is_held()?;
        Ok(match record_file::read(&self.0.join("ended.json")) {
            Content::Value(ended) => RunState::Ended(ended),
            _ if is_alive => RunState::Running,
            Content::Unreadable(_) => RunState::EndUnknown,
            Content::Absent => RunState::Lost,
        })
    }

    /// Whether a holder lives.
    fn is_held(&self) -> Result<bool, Error> {
        lock::is_held(&self.lock())
    }

    /// The lock of the holder.
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The log of the holder.
    pub(super) fn log(&self) -> PathBuf {
        self.0.join("holder.log")
    }

    /// The last line of that log.
    pub(super) fn last_message(&self) -> Option<String> {
        let text = record_file::text(&self.log())?;
        text.trim_end().lines().last().map(str::to_owned)
    }

    /// Records what is started.
    pub(super) fn write_started(&self, started: &Started) -> Result<(), Error> {
        let reserve = self.0.join(RESERVE);
        atomic_file::write(&reserve, &[0; RESERVE_BYTES], PRIVATE)
            .map_err(|source| unusable("write", &reserve, &source))?;
        self.write(STARTED, started)
    }

    /// Records how the command ended.
    pub(super) fn write_ended(&self, ended: &Ended) -> Result<(), Error> {
        // Without it the disk has to have room.
        drop(std::fs::remove_file(self.0.join(RESERVE)));
        self.write("ended.json", ended)
    }

    /// Notes that the end was shown. If that fails, it is shown once more.
    pub(super) fn note_shown(&self) {
        self.note("shown");
    }

    /// When it was noticed that the run is over without a record of its end; `now` if it was not
    /// before, which is noted. On a disk that is full it is noticed again.
    pub(super) fn noticed_over(&self, now: i64) -> i64 {
        let path = self.0.join(OVER);
        record_file::number(&path).unwrap_or_else(|| {
            drop(atomic_file::write(&path, format!("{now}\n").as_bytes(), PRIVATE));
            now
        })
    }

    /// Takes the lock of the holder, for this process; `None` if there is one.
    pub(super) fn hold(&self) -> Result<Option<File>, Error> {
        let lock = lock::try_take(&self.lock())?;
        Ok(lock.inspect(write_process))
    }

    /// Ends the run for `down`, and notes that: the command gets SIGTERM from its holder. One that
    /// waits for a server or another run would go on otherwise.
    pub(crate) fn end_for_down(&self) {
        self.note(DOWN);
        let holder = record_file::number(&self.lock()).and_then(Pid::from_raw);
        let holder = holder.and_then(|holder| pidfd_open(holder, PidfdFlags::empty()).ok());
        // Held even now, so it is no later process with that number.
        if let Some(holder) = holder
            && self.is_held() == Ok(true)
        {
            pidfd_send_signal(holder, rustix::process::Signal::TERM).ok();
        }
    }

    /// Whether `down` is about to end the run.
    pub(crate) fn is_down(&self) -> bool {
        self.0.join(DOWN).symlink_metadata().is_ok()
    }

    fn note(&self, name: &str) {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(PRIVATE).custom_flags(flags);
        drop(options.open(self.0.join(name)));
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let path = self.0.join(name);
        record_file::write(&path, value).map_err(|source| unusable("write", &path, &source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn down_ends_what_was_killed_and_not_what_has_ended_by_itself() {
        assert_eq!(How::of(Ending::Signaled(9), true), How::Down);
        assert_eq!(How::of(Ending::Signaled(15), true), How::Down);
        assert_eq!(How::of(Ending::Exited(114), true), How::Down);
        assert_eq!(How::of(Ending::Signaled(9), false), How::Signal(9));
        assert_eq!(How::of(Ending::Signaled(2), true), How::Signal(2));
        assert_eq!(How::of(Ending::Exited(101), true), How::Code(101));
    }
}
