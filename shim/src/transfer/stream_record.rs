//! The records of the streams on which commands run something on a server.
//!
//! A command that ends while its connection is broken cannot tell the agent, which keeps the run
//! for its grace time. So the name of the stream is recorded before the stream is opened, and
//! removed once the exchange is over. The record of a process that has ended names an orphaned
//! stream: no process will resume it. A name is a secret: only the user can read the directory.
//!
//! A process has ended if the lock of its record is free; it takes that lock before it opens the
//! stream. Process ids do not tell: containers that share the directory do not see each other's
//! processes. The lock tells only where it is the very file that the process has locked, in this
//! boot of the machine: a record names both, so that neither a copy of the directory, on this
//! machine or another, nor a lock file that was deleted makes an orphan of a stream that lives. It
//! also names the disk of the project at the server: no other server is told of the stream. The
//! run of an orphan that is not reported ends after its grace time.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use burst_agent::boot_id::{is_same_boot, this_boot};
use burst_protocol::FileName;
use burst_protocol::link::StreamId;
use burst_sync::SyncError;
use burst_sync::stat_cache::{read_record, write_record};
use serde::{Deserialize, Serialize};

use crate::background::lock;

/// The records begin with this name, and end with a number.
const STREAM: &str = "stream-";

/// The file extension of the lock of a record. Lock files are never removed: another process may
/// have one open.
const LOCK: &str = "lock";

/// What is recorded.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    id: StreamId,
    /// The name of the project's disk, which only one server has.
    disk: Vec<u8>,
    /// The boot of the machine.
    boot: Vec<u8>,
    /// Device and number of the locked file.
    lock: (u64, u64),
}

/// The record of a stream; its lock is held until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamRecord {
    path: PathBuf,
    pub(crate) id: StreamId,
    _lock: File,
}

impl StreamRecord {
    /// Records the stream that this process is about to open at the server with this disk.
    pub(crate) fn begin(records: &Path, id: StreamId, disk: &FileName) -> Result<Self, SyncError> {
        for number in 0_u32.. {
            let path = records.join(format!("{STREAM}{number}"));
            if let Some(lock) = try_take(&path)?
                && !path.exists()
            {
                let lock_file = identity(&lock).map_err(|error| SyncError::store(&path, error))?;
                let disk = disk.as_bytes().to_vec();
                write_record(&path, &Recorded { id, disk, boot: this_boot(), lock: lock_file })?;
                return Ok(Self { path, id, _lock: lock });
            }
        }
        Err(SyncError::store(records, io::ErrorKind::QuotaExceeded.into()))
    }

    /// Removes the record: the agent knows that the stream is over. One that another process has
    /// written, since the lock file was deleted, stays.
    pub(crate) fn finish(self) {
        if read_record(&self.path).is_some_and(|found: Recorded| found.id == self.id) {
            drop(std::fs::remove_file(self.path));
        }
    }
}

/// The streams at the server with this disk whose processes have ended, or have given them up,
/// and that no other process is reporting. Removes records that tell nothing.
pub(crate) fn orphans(records: &Path, disk: &FileName) -> Vec<StreamRecord> {
    let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
    let paths = entries.filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(STREAM)?;
        number.parse::<u32>().ok().map(|_| entry.path())
    });
    let orphan = |path: PathBuf| {
        let lock = try_take(&path).ok()??;
        let recorded = read_record(&path).filter(|recorded: &Recorded| {
            is_same_boot(&recorded.boot, &this_boot())
                && identity(&lock).is_ok_and(|file| file == recorded.lock)
        });
        let Some(recorded) = recorded else {
            drop(std::fs::remove_file(path));
            return None;
        };
        let record = StreamRecord { path, id: recorded.id, _lock: lock };
        (recorded.disk == disk.as_bytes()).then_some(record)
    };
    paths.filter_map(orphan).collect()
}

/// What tells a file from its copies.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Takes the lock of a record; `None` if another process holds it.
fn try_take(path: &Path) -> Result<Option<File>, SyncError> {
    let lock = path.with_extension(LOCK);
    lock::try_take(&lock).map_err(|error| SyncError::store(&lock, io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str) -> FileName {
        FileName::new(name.as_bytes()).unwrap()
    }

    fn begin(records: &Path, id: StreamId) -> StreamRecord {
        StreamRecord::begin(records, id, &disk("one")).unwrap()
    }

    fn found(records: &Path) -> Vec<StreamId> {
        orphans(records, &disk("one")).iter().map(|one| one.id).collect()
    }

    #[test]
    fn a_stream_is_orphaned_once_its_process_is_gone_and_is_found_once() {
        let records = tempfile::tempdir().unwrap();
        let records = records.path();
        let [first, second, third] = [1, 2, 3].map(|byte| StreamId::from_bytes([byte; 16]));
        let found = || found(records);
        let lives = begin(records, first);
        let dies = begin(records, second);
        assert_eq!(found(), []);
        drop(dies);
        assert_eq!(found(), [second]);
        let held = orphans(records, &disk("one"));
        // Another command finds it while the agent is told.
        assert_eq!(found(), []);
        let next = begin(records, third);
        held.into_iter().for_each(StreamRecord::finish);
        lives.finish();
        assert_eq!(found(), []);
        drop(next);
        assert_eq!(found(), [third]);
        std::fs::write(records.join("stream-7"), "nonsense").unwrap();
        assert_eq!(found(), [third]);
        assert!(!records.join("stream-7").exists());
    }
    #[test]
    fn a_copy_of_the_records_has_no_orphans() {
        let [records, copy] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (records, copy) = (records.path(), copy.path());
        let id = StreamId::from_bytes([1; 16]);
        let lives = begin(records, id);
        for entry in std::fs::read_dir(records).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        assert_eq!(found(copy), []);
        // Also without locks, which are made anew then.
        std::fs::remove_file(copy.join("stream-0.lock")).unwrap();
        std::fs::copy(records.join("stream-0"), copy.join("stream-0")).unwrap();
        assert_eq!(found(copy), []);
        drop(lives);
        assert_eq!(found(records), [id]);
    }

    #[test]
    fn a_deleted_lock_makes_no_orphan_of_a_stream_that_lives() {
        let records = tempfile::tempdir().unwrap();
        let records = records.path();
        let [first, second] = [1, 2].map(|byte| StreamId::from_bytes([byte; 16]));
        let lives = begin(records, first);
        std::fs::remove_file(records.join("stream-0.lock")).unwrap();
        assert_eq!(found(records), []);
        // The name is free, and the record of the next process is not removed by the first one.
        let next = begin(records, second);
        lives.finish();
        drop(next);
        assert_eq!(found(records), [second]);
    }

    #[test]
    fn a_stream_is_an_orphan_at_its_server_and_in_its_boot_alone() {
        let records = tempfile::tempdir().unwrap();
        let records = records.path();
        let id = StreamId::from_bytes([1; 16]);
        drop(begin(records, id));
        assert!(orphans(records, &disk("other")).is_empty());
        assert_eq!(found(records), [id]);
        let path = records.join("stream-0");
        let recorded: Recorded = read_record(&path).unwrap();
        write_record(&path, &Recorded { boot: b"another".to_vec(), ..recorded }).unwrap();
        assert_eq!(found(records), []);
        assert!(!path.exists());
    }
}
