//! What is recorded of a detached run: one directory a run, `runs/NUMBER` below the state
//! directory.
//!
//! | file | |
//! |---|---|
//! | `run.json` | what is started, written by the holder before it starts that |
//! | `lock` | held by the holder as long as it lives |
//! | `socket` | where the holder listens |
//! | `output-…` | the [transcript](super::transcript) |
//! | `reserve` | keeps room for the next one on a disk that is full by then |
//! | `ended.json` | how the command ended, written by the holder before it exits |
//! | `shown` | exists once `attach` has shown the end |
//! | `holder.log` | messages of the holder |
//!
//! A directory without `run.json` is no run: it is about to be one, or about to be deleted. So
//! a run whose holder does not live has ended or is lost.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use burst_protocol::message::Ending;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::background::lock;
use crate::directories::{create_private, unusable};
use crate::error::Error;
use crate::terminal::streams::StartTerminal;

/// The mode of the files of a run.
pub(super) const PRIVATE: u32 = 0o600;

/// The file of what is started.
pub(super) const STARTED: &str = "run.json";

/// The file that keeps room for the record of the end.
const RESERVE: &str = "reserve";

/// Its size: more than that record takes, in blocks.
const RESERVE_BYTES: usize = 16 << 10;

/// The file of the last number that was given.
const LAST: &str = "last";

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

/// An exit code or a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// The exit code.
    Code(i32),
    /// The signal.
    Signal(i32),
}

impl From<How> for Ending {
    fn from(how: How) -> Self {
        match how {
            How::Code(code) => Self::Exited(code),
            How::Signal(signal) => Self::Signaled(signal),
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
    /// The holder was killed.
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
    /// Whether `attach` has shown its end.
    pub(crate) is_shown: bool,
}

/// The directory of all runs.
#[derive(Clone, Debug)]
pub(crate) struct Runs(PathBuf);

/// The directory of one run.
#[derive(Clone, Debug)]
pub(crate) struct RunDirectory(PathBuf);

impl Runs {
    /// Below the state directory.
    pub(crate) fn below(state: &Path) -> Self {
        Self(state.join("runs"))
    }

    /// The directory of a run.
    pub(crate) fn directory(&self, number: u32) -> RunDirectory {
        RunDirectory(self.0.join(number.to_string()))
    }

    /// All runs, by their numbers.
    pub(crate) fn list(&self) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        for number in self.numbers()? {
            runs.extend(self.directory(number).find(number)?);
        }
        Ok(runs)
    }

    /// The numbers of all directories, sorted.
    pub(super) fn numbers(&self) -> Result<Vec<u32>, Error> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(unusable("read", &self.0, &source)),
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut numbers: Vec<u32> =
            names.filter_map(|name| name.to_str().and_then(|name| name.parse().ok())).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Waits for the lock of those who create and delete runs.
    pub(super) fn lock(&self) -> Result<File, Error> {
        create_private(&self.0)?;
        lock::take(&self.0.join("lock"))
    }

    /// Creates the directory of a run under a number that no run has had. The caller holds
    /// the [lock](Self::lock).
    pub(super) fn create(&self) -> Result<(u32, RunDirectory), Error> {
        let path = self.0.join(LAST);
        let last = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let highest = self.numbers()?.last().copied();
        let number = last.max(highest).unwrap_or(0).saturating_add(1);
        atomic_file::write(&path, format!("{number}\n").as_bytes(), PRIVATE)
            .map_err(|source| unusable("write", &path, &source))?;
        let directory = self.directory(number);
        create_private(&directory.0)?;
        Ok((number, directory))
    }
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

    /// The run in it; `None` if there is none.
    pub(super) fn find(&self, number: u32) -> Result<Option<Run>, Error> {
        let Some(started) = self.read(STARTED)? else { return Ok(None) };
        let state = self.state()?;
        let is_shown = self.0.join("shown").exists();
        Ok(Some(Run { number, started, state, is_shown }))
    }

    /// The state of the run.
    pub(super) fn state(&self) -> Result<RunState, Error> {
        // In this order: the holder writes how the command ended before it releases the lock.
        let is_alive = self.is_held()?;
        Ok(match self.read("ended.json")? {
            Some(ended) => RunState::Ended(ended),
            None if is_alive => RunState::Running,
            None => RunState::Lost,
        })
    }

    /// Whether a holder lives.
    pub(super) fn is_held(&self) -> Result<bool, Error> {
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
        let path = self.0.join("shown");
        drop(OpenOptions::new().create(true).append(true).mode(PRIVATE).open(path));
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let path = self.0.join(name);
        let written = serde_json::to_vec(value)
            .map_err(io::Error::other)
            .and_then(|text| atomic_file::write(&path, &text, PRIVATE));
        written.map_err(|source| unusable("write", &path, &source))
    }

    /// Reads a file of ours; none if there is none, or if it is of a version that is too
    /// different.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.0.join(name);
        match std::fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(unusable("read", &path, &source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn states_follow_the_lock_and_the_end() {
        let state = tempfile::tempdir().unwrap();
        let runs = Runs::below(state.path());
        assert_eq!(runs.list().unwrap(), []);
        let lock = runs.lock().unwrap();
        let (number, directory) = runs.create().unwrap();
        drop(lock);
        assert_eq!((number, runs.list().unwrap().len()), (1, 0));
        let workspace = PathBuf::from("/w");
        let started = Started { title: "cargo x".into(), workspace, at: 5, terminal: None };
        directory.write_started(&started).unwrap();
        let found = |state, is_shown| Run { number: 1, started: started.clone(), state, is_shown };
        assert_eq!(runs.list().unwrap(), [found(RunState::Lost, false)]);
        let holder = lock::try_take(&directory.lock()).unwrap().unwrap();
        assert_eq!(runs.list().unwrap(), [found(RunState::Running, false)]);
        let ended = Ended { at: 6, how: How::Signal(2), unrecorded: 0 };
        directory.write_ended(&ended).unwrap();
        assert_eq!(runs.list().unwrap(), [found(RunState::Ended(ended), false)]);
        drop(holder);
        directory.note_shown();
        assert_eq!(runs.list().unwrap(), [found(RunState::Ended(ended), true)]);
        let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.path().join("runs/1")), 0o700);
        assert_eq!(mode(state.path().join("runs/1/ended.json")), 0o600);
    }

    #[test]
    fn a_number_is_given_once() {
        let state = tempfile::tempdir().unwrap();
        let runs = Runs::below(state.path());
        let _lock = runs.lock().unwrap();
        let (_, first) = runs.create().unwrap();
        std::fs::remove_dir(first.path()).unwrap();
        assert_eq!(runs.create().unwrap().0, 2);
        std::fs::write(state.path().join("runs/last"), "nonsense").unwrap();
        assert_eq!(runs.create().unwrap().0, 3);
    }
}
