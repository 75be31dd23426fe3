//! The file of the record: one JSON object a line, appended to.
//!
//! Several processes may append at the same time. Lines that cannot be parsed are skipped: a process
//! may be killed while it writes, and other versions may write other lines. A pipe or a device in
//! the place of the file is an error, and not waited for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use burst_sync::regular_file::{self, Links};
use rustix::fs::OFlags;

use super::archive::{SIZE_MAX, archive, archived, carried, is_same, lines};
use super::record::Entry;
use crate::directories::unusable;
use crate::error::Error;

/// Most bytes of a file of the record that are read: it is archived long before.
const BYTES_MAX: u64 = 64 << 20;

/// The file of the record.
#[derive(Clone, Debug)]
pub(crate) struct AuditLog(PathBuf);

impl AuditLog {
    /// The record in a state directory.
    pub(crate) fn new(state: &Path) -> Self {
        Self(state.join("audit.jsonl"))
    }

    /// Appends lines, in one write. If that fails, it is logged, and the command continues.
    pub(crate) fn append(&self, entries: &[Entry]) {
        let lines = lines(entries);
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.write(&lines) {
            tracing::warn!("cannot write `{}`: {error}", self.0.display());
        }
    }

    fn write(&self, lines: &[u8]) -> io::Result<()> {
        // Local runs may come before anything else is kept here.
        if let Some(directory) = self.0.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut file = self.open_locked()?;
        file.write_all(lines)?;
        if file.metadata()?.len() < SIZE_MAX {
            return Ok(());
        }
        let now = burst_hcloud::Timestamp::now().as_second();
        archive(&self.0, &file, &carried(&entries_of(&self.0)?, now))
    }

    /// Opens the file to append to it, locked, so that it is not archived meanwhile.
    fn open_locked(&self) -> io::Result<File> {
        let mut options = File::options();
        // A pipe without a reader in its place is an error, not a wait.
        options.append(true).create(true).mode(0o600);
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        loop {
            let file = options.open(&self.0)?;
            file.lock()?;
            // Another process may have archived it before the lock.
            let current = std::fs::metadata(&self.0);
            if current.is_ok_and(|current| file.metadata().is_ok_and(|own| is_same(&own, &current)))
            {
                return Ok(file);
            }
        }
    }

    /// All lines of the file that can be parsed; none if there is none. What is archived is not
    /// among them. Blocks.
    pub(crate) fn read(&self) -> Result<Vec<Entry>, Error> {
        entries_of(&self.0).map_err(|error| unusable("read", &self.0, &error))
    }

    /// The same, after all lines that are archived. Blocks.
    pub(crate) fn read_all(&self) -> Result<Vec<Entry>, Error> {
        let failed = |error| unusable("read", &self.0, &error);
        // It is opened first: if it is archived meanwhile, it is found there again.
        let mut file = match regular_file::open(&self.0, Links::Followed) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let current = file.metadata().map_err(failed)?;
        let mut all = Vec::new();
        for path in archived(&self.0) {
            let failed = |error| unusable("read", &path, &error);
            if !is_same(&current, &std::fs::metadata(&path).map_err(failed)?) {
                all.extend(entries_of(&path).map_err(failed)?);
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        all.extend(parsed(&bytes));
        Ok(all)
    }
}

/// The lines of a file that can be parsed; none if there is no file.
fn entries_of(path: &Path) -> io::Result<Vec<Entry>> {
    match regular_file::read(path, BYTES_MAX, Links::Followed) {
        Ok(bytes) => Ok(parsed(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parsed(bytes: &[u8]) -> Vec<Entry> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::audit;
    use super::super::record::{Command, Place, Resource};
    use super::*;
    use crate::error::ErrorKind;

    fn server(created: i64) -> Entry {
        Entry::Opened(Box::new(Resource::server_of_tests(1, created)))
    }

    fn command(began: i64, bytes: usize) -> Entry {
        Entry::Command(Box::new(Command {
            workspace: "w".repeat(bytes),
            place: Place::Server { server_type: "cx53".into(), location: "hel1".into() },
            began,
            ..Command::default()
        }))
    }

    #[test]
    fn a_pipe_in_its_place_is_an_error() {
        let state = tempfile::tempdir().unwrap();
        let log = AuditLog::new(state.path());
        nix::unistd::mkfifo(&log.0, nix::sys::stat::Mode::S_IRWXU).unwrap();
        log.append(&[server(1)]);
        assert_eq!(log.read().unwrap_err().kind(), ErrorKind::State);
        assert_eq!(log.read_all().unwrap_err().kind(), ErrorKind::State);
    }

    #[test]
    fn damaged_lines_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::new(&directory.path().join("not/there/yet"));
        assert!(log.read().unwrap().is_empty());
        log.append(&[command(5, 1)]);
        std::fs::OpenOptions::new()
            .append(true)
            .open(directory.path().join("not/there/yet/audit.jsonl"))
            .and_then(|mut file| file.write_all(b"{\"event\":\"comm\xc3\n"))
            .unwrap();
        log.append(&[command(6, 1), command(7, 1)]);
        assert_eq!(log.read().unwrap(), [command(5, 1), command(6, 1), command(7, 1)]);
    }

    #[test]
    fn a_large_file_is_archived_and_audit_reads_all() {
        let directory = tempfile::tempdir().unwrap();
        let (log, path) = (AuditLog::new(directory.path()), directory.path().join("audit.jsonl"));
        let now = burst_hcloud::Timestamp::now().as_second();
        let size = usize::try_from(SIZE_MAX).unwrap();
        let commands = || audit(&log.read_all().unwrap(), None, now).commands;
        assert_eq!(log.read_all().unwrap(), []);
        log.append(&[server(now), command(now, 1)]);
        assert_eq!(log.read_all().unwrap(), [server(now), command(now, 1)]);
        for round in 1..=2 {
            log.append(&[command(now, size)]);
            assert_eq!(archived(&path).len(), round);
            assert_eq!(log.read().unwrap(), [server(now), Entry::Used { began: now, until: now }]);
            assert_eq!(commands(), 1 + round);
        }
        // An archiving that was interrupted after the link, and the next one.
        log.append(&[command(now, 1)]);
        std::fs::hard_link(&path, directory.path().join("audit-3.jsonl")).unwrap();
        assert_eq!(commands(), 4);
        log.append(&[command(now, size)]);
        assert_eq!((archived(&path).len(), commands()), (3, 5));
        assert_eq!(audit(&log.read_all().unwrap(), None, now).servers, 1);
    }

    #[test]
    fn what_is_appended_while_the_file_is_archived_is_in_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::new(directory.path());
        let file = log.open_locked().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| log.append(&[command(5, 1)]));
            archive(&log.0, &file, &[server(3)]).unwrap();
            drop(file);
        });
        assert_eq!(log.read().unwrap(), [server(3), command(5, 1)]);
    }
}
