//! The records of the streams on which commands run something on a server.
//!
//! A command that ends while its connection is broken cannot tell the agent, which keeps the run
//! for its grace time. So the name of the stream is recorded before the stream is opened, and
//! removed once the exchange is over. The record of a process that has ended names an orphaned
//! stream: no process will resume it. A name is a secret: only the user can read the directory.
//!
//! A process has ended if the lock of its record is free; it takes that lock before it opens the
//! stream. Process ids do not tell: containers that share the directory do not see each other's
//! processes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use burst_protocol::link::StreamId;
use burst_sync::SyncError;
use burst_sync::stat_cache::{read_record, write_record};

use crate::background::lock;

/// The records begin with this name, and end with a number.
const STREAM: &str = "stream-";

/// The file extension of the lock of a record. Lock files are never removed: another process may
/// have one open.
const LOCK: &str = "lock";

/// The record of a stream; its lock is held until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamRecord {
    path: PathBuf,
    _lock: File,
}

impl StreamRecord {
    /// Records the stream that this process is about to open.
    pub(crate) fn begin(records: &Path, id: StreamId) -> Result<Self, SyncError> {
        for number in 0_u32.. {
            let path = records.join(format!("{STREAM}{number}"));
            if let Some(_lock) = try_take(&path)?
                && !path.exists()
            {
                write_record(&path, &id)?;
                return Ok(Self { path, _lock });
            }
        }
        Err(SyncError::store(records, io::ErrorKind::QuotaExceeded.into()))
    }

    /// Removes the record: the agent knows that the stream is over.
    pub(crate) fn finish(self) {
        drop(std::fs::remove_file(self.path));
    }
}

/// A stream whose process has ended.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) id: StreamId,
    record: StreamRecord,
}

impl Orphan {
    /// Forgets the stream: the agent knows.
    pub(crate) fn forget(self) {
        self.record.finish();
    }
}

/// The streams whose processes have ended, or have given them up, and that no other process is
/// reporting.
pub(crate) fn orphans(records: &Path) -> Vec<Orphan> {
    let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
    let paths = entries.filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(STREAM)?;
        number.parse::<u32>().ok().map(|_| entry.path())
    });
    let orphan = |path: PathBuf| {
        let _lock = try_take(&path).ok()??;
        let record = StreamRecord { path, _lock };
        match read_record(&record.path) {
            Some(id) => Some(Orphan { id, record }),
            None => {
                record.finish();
                None
            }
        }
    };
    paths.filter_map(orphan).collect()
}

/// Takes the lock of a record; `None` if another process holds it.
fn try_take(path: &Path) -> Result<Option<File>, SyncError> {
    let lock = path.with_extension(LOCK);
    lock::try_take(&lock).map_err(|error| SyncError::store(&lock, io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_orphaned_once_its_process_is_gone_and_is_found_once() {
        let records = tempfile::tempdir().unwrap();
        let records = records.path();
        let [first, second, third] = [1, 2, 3].map(|byte| StreamId::from_bytes([byte; 16]));
        let found = || orphans(records).iter().map(|one| one.id).collect::<Vec<_>>();
        let lives = StreamRecord::begin(records, first).unwrap();
        let dies = StreamRecord::begin(records, second).unwrap();
        assert_eq!(found(), []);
        drop(dies);
        assert_eq!(found(), [second]);
        let held = orphans(records);
        // Another command finds it while the agent is told.
        assert_eq!(found(), []);
        let next = StreamRecord::begin(records, third).unwrap();
        held.into_iter().for_each(Orphan::forget);
        lives.finish();
        assert_eq!(found(), []);
        drop(next);
        assert_eq!(found(), [third]);
        std::fs::write(records.join("stream-7"), "nonsense").unwrap();
        assert_eq!(found(), [third]);
        assert!(!records.join("stream-7").exists());
    }
}
