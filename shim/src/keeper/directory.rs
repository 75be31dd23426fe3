//! The keeper's directory: its lock, socket, log, process id and holdings.
//!
//! The lock alone decides whether a keeper runs; the process id is for display.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::background::{lock, socket};
use crate::directories::{create_private, unusable};
use crate::error::Error;

/// The keeper's directory, which exists.
#[derive(Clone, Debug)]
pub(crate) struct KeeperDirectory(PathBuf);

/// The lock of the only keeper. It is released when this is dropped.
#[derive(Debug)]
pub(crate) struct KeeperLock {
    _file: File,
}

impl KeeperDirectory {
    /// The directory below the state directory; it is created, for the user alone, if it
    /// does not exist.
    pub(crate) fn open(state: &Path) -> Result<Self, Error> {
        let directory = Self::below(state);
        create_private(&directory.0)?;
        Ok(directory)
    }

    /// The directory below the state directory, which may not exist: for reading.
    pub(crate) fn below(state: &Path) -> Self {
        Self(state.join("keeper"))
    }

    /// The process id of the keeper below a state directory; `None` if none runs.
    pub(crate) fn running(state: &Path) -> Result<Option<u32>, Error> {
        let directory = Self::below(state);
        if !directory.is_taken()? {
            return Ok(None);
        }
        let text = std::fs::read_to_string(directory.pid_path()).unwrap_or_default();
        Ok(text.trim().parse().ok())
    }

    /// The path of the log.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("keeper.log")
    }

    /// The path of what accounts are known to have.
    pub(crate) fn holdings(&self) -> PathBuf {
        self.0.join("holdings.json")
    }

    /// Takes the keeper's lock; `None` if a keeper runs.
    pub(crate) fn take(&self) -> Result<Option<KeeperLock>, Error> {
        let Some(file) = lock::try_take(&self.lock_path())? else { return Ok(None) };
        let path = self.pid_path();
        File::create(&path)
            .and_then(|mut file| writeln!(file, "{}", std::process::id()))
            .map_err(|source| unusable("write", &path, &source))?;
        Ok(Some(KeeperLock { _file: file }))
    }

    /// Whether a keeper runs, or a command holds its lock.
    pub(crate) fn is_taken(&self) -> Result<bool, Error> {
        lock::is_held(&self.lock_path())
    }

    /// Waits until no keeper runs; false if one still runs after `deadline`. Blocks: not
    /// for async code.
    pub(super) fn wait_until_free(&self, deadline: Duration) -> Result<bool, Error> {
        lock::wait_until_released(&self.lock_path(), deadline)
    }

    /// Waits for the lock of commands that start a keeper, so that they do so one after
    /// the other.
    pub(super) fn lock_start(&self) -> Result<File, Error> {
        lock::take(&self.0.join("start.lock"))
    }

    fn pid_path(&self) -> PathBuf {
        self.0.join("pid")
    }

    fn lock_path(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The path of the socket, and the open directory that keeps it valid.
    pub(super) fn socket(&self) -> Result<(PathBuf, Option<File>), Error> {
        socket::path(&self.0)
    }
}
