//! Log files of background processes, readable by the user alone.
//!
//! Invariant: log and previous log together stay below about 2 MiB. The previous log has
//! the name of the log with `.1` appended.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::lock::lock;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes above which a log is replaced by an empty one.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// Opens a log for appending. A log that is too large becomes the previous log. Fails if the
/// file cannot be created or renamed.
pub fn log_file(path: &Path) -> io::Result<File> {
    if size(path) > LOG_BYTES_MAX {
        std::fs::rename(path, previous(path))?;
    }
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// The log of a process that may run for months. It is the process's standard error, so
/// that it also holds the messages of panics.
#[derive(Debug)]
pub struct BoundedLog {
    path: PathBuf,
    bytes_max: u64,
    /// The size of the current log.
    bytes: Mutex<u64>,
}

/// Writes one event.
#[derive(Debug)]
pub struct EventWriter<'a>(&'a BoundedLog);

impl BoundedLog {
    /// The log at `path`, which standard error goes to already.
    pub fn of_stderr(path: PathBuf) -> Self {
        let bytes = Mutex::new(size(&path));
        Self { path, bytes_max: LOG_BYTES_MAX, bytes }
    }

    /// Makes room for an event, and counts it; returns the new log if the old one is full.
    fn reserve(&self, event: &[u8]) -> Option<File> {
        let mut bytes = lock(&self.bytes);
        let added = u64::try_from(event.len()).unwrap_or(u64::MAX);
        *bytes = bytes.saturating_add(added);
        if *bytes <= self.bytes_max {
            return None;
        }
        // If this fails, the log continues to grow until the next attempt.
        *bytes = added;
        std::fs::rename(&self.path, previous(&self.path)).ok()?;
        log_file(&self.path).ok()
    }
}

impl<'a> MakeWriter<'a> for BoundedLog {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter(self)
    }
}

impl Write for EventWriter<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some(file) = self.0.reserve(event) {
            rustix::stdio::dup2_stderr(&file)?;
        }
        io::stderr().lock().write_all(event)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |log| log.len())
}

fn previous(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_becomes_the_previous_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keeper.log");
        let log = BoundedLog { path: path.clone(), bytes_max: 10, bytes: Mutex::new(0) };
        log_file(&path).unwrap().write_all(b"12345678").unwrap();
        assert!(log.reserve(b"12345678").is_none());
        let mut next = log.reserve(b"abcd").unwrap();
        next.write_all(b"abcd").unwrap();
        assert_eq!(std::fs::read(directory.path().join("keeper.log.1")).unwrap(), b"12345678");
        assert_eq!(std::fs::read(&path).unwrap(), b"abcd");
        assert!(log.reserve(b"efgh").is_none());
        assert!(log.reserve(b"ijkl").is_some());
    }
}
