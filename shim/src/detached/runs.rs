//! The directory of all detached runs, `runs` below the state directory: their numbers, and the
//! lock of the commands that create and delete them.
//!
//! What is no directory is no [record](super::record), and a link to one is not followed. No
//! number is given twice as long as there is another one.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{Record, Run, RunDirectory, RunState, write_process};
use super::record_file::{self, PRIVATE};
use crate::atomic_file;
use crate::background::lock;
use crate::directories::{create_private, unusable};
use crate::error::{Error, ErrorKind};

/// The file of the last number that was given.
const LAST: &str = "last";

/// How long the lock of all runs is waited for: longer than a start of a holder may take.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The number of the run.
    pub(crate) number: u32,
    /// Its directory.
    pub(crate) path: PathBuf,
    /// Why.
    pub(crate) why: String,
}

/// What the directory of all runs holds, by the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The runs.
    pub(crate) runs: Vec<Run>,
    /// Records that cannot be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Directories that are no record and that no process uses.
    pub(crate) leftovers: Vec<u32>,
}

/// The directory of all runs.
#[derive(Clone, Debug)]
pub(crate) struct Runs(PathBuf);

impl Runs {
    /// Below the state directory.
    pub(crate) fn below(state: &Path) -> Self {
        Self(state.join("runs"))
    }

    /// The directory of a run.
    pub(crate) fn directory(&self, number: u32) -> RunDirectory {
        RunDirectory::at(self.0.join(number.to_string()))
    }

    /// All runs and what else there is.
    pub(crate) fn list(&self) -> Result<Found, Error> {
        let mut found = Found::default();
        for number in self.numbers(|kind| kind.is_dir())? {
            let directory = self.directory(number);
            match directory.find(number) {
                Record::Run(run) => found.runs.push(run),
                Record::Unreadable(why) => {
                    found.unreadable.push(Unreadable {
                        number,
                        path: directory.path().to_owned(),
                        why,
                    });
                }
                Record::Begun => {}
                Record::Leftover => found.leftovers.push(number),
            }
        }
        Ok(found)
    }

    /// Whether the run of this number is running in a workspace.
    pub(crate) fn is_running(&self, number: u32, workspace: &Path) -> bool {
        let directory = self.directory(number);
        // A link is no record.
        let is_record = directory.path().symlink_metadata().is_ok_and(|found| found.is_dir());
        is_record
            && matches!(directory.find(number), Record::Run(run)
                if run.state == RunState::Running && run.started.workspace == workspace)
    }

    /// The numbers that name entries of this kind.
    fn numbers(
        &self,
        is_meant: impl Fn(std::fs::FileType) -> bool,
    ) -> Result<BTreeSet<u32>, Error> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(source) => return Err(unusable("read", &self.0, &source)),
        };
        let number = |entry: std::fs::DirEntry| {
            // Not that of what a link leads to.
            let kind = entry.file_type().ok()?;
            let name = entry.file_name();
            let number: u32 = name.to_str()?.parse().ok()?;
            (is_meant(kind) && name == *number.to_string()).then_some(number)
        };
        Ok(entries.flatten().filter_map(number).collect())
    }

    /// Waits for the lock of the commands that create and delete runs, up to 30 seconds.
    pub(super) fn lock(&self) -> Result<File, Error> {
        self.lock_within(LOCK_DEADLINE)
    }

    fn lock_within(&self, deadline: Duration) -> Result<File, Error> {
        create_private(&self.0)?;
        let path = self.0.join("lock");
        match lock::take_within(&path, deadline)? {
            Some(lock) => {
                // A command that waits in vain names this process.
                write_process(&lock);
                Ok(lock)
            }
            None => Err(is_locked(&path)),
        }
    }

    /// Takes that lock if no process holds it.
    pub(super) fn try_lock(&self) -> Result<Option<File>, Error> {
        lock::try_take(&self.0.join("lock"))
    }

    /// Creates the directory of a run under a number that no run has had, as long as there is
    /// one. The caller holds the [lock](Self::lock).
    pub(super) fn create(&self) -> Result<(u32, RunDirectory), Error> {
        let path = self.0.join(LAST);
        let number = next_number(record_file::number(&path), &self.numbers(|_| true)?);
        atomic_file::write(&path, format!("{number}\n").as_bytes(), PRIVATE)
            .map_err(|source| unusable("write", &path, &source))?;
        let directory = self.directory(number);
        let created = DirBuilder::new().mode(0o700).create(directory.path());
        created.map_err(|source| unusable("create", directory.path(), &source))?;
        Ok((number, directory))
    }
}

/// The number of the next run: behind all others; behind the largest one there is, the smallest
/// that is free. Pure.
fn next_number(last: Option<u32>, taken: &BTreeSet<u32>) -> u32 {
    let highest = last.max(taken.last().copied()).unwrap_or(0);
    let free = || (1..=u32::MAX).find(|number| !taken.contains(number));
    highest.checked_add(1).or_else(free).unwrap_or(u32::MAX)
}

/// The error of a lock that another command does not release.
fn is_locked(path: &Path) -> Error {
    let process = record_file::number(path);
    let name = |process: u32| {
        let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
        Some(format!("process {process} (`{}`)", name.trim()))
    };
    let (holder, hint) = match process.and_then(|process| Some((process, name(process)?))) {
        Some((process, holder)) => {
            (holder, format!("wait until it ends, or end it: `kill {process}`"))
        }
        None => {
            let command = format!("`fuser {}` tells which one", path.display());
            ("another process".to_owned(), format!("wait until it ends, or end it; {command}"))
        }
    };
    Error::new(
        ErrorKind::State,
        format!("{holder} keeps the records of detached runs locked"),
        hint,
    )
}

#[cfg(test)]
mod tests;
