//! The records of the streams on which commands run something on a server.
//!
//! A command that ends while its connection is broken cannot tell the agent, which keeps the run
//! for its grace time. So the name of the stream is recorded before the stream is opened, and
//! removed once the exchange is over. What a process that is gone has left is the name of a stream
//! for which nobody comes back. A name is a secret: the directory is the user's alone.

use std::path::{Path, PathBuf};

use burst_protocol::link::StreamId;
use burst_sync::SyncError;
use burst_sync::stat_cache::{read_record, write_record};

use super::process_record::{self, ProcessRecord};

/// The records begin with this name, and end with the id of the process.
const STREAM: &str = "stream-";

/// The record of this process, in a directory of records.
#[derive(Debug)]
pub(crate) struct StreamRecord(PathBuf);

impl StreamRecord {
    /// Records the stream that this process is about to open.
    pub(crate) fn begin(records: &Path, id: StreamId) -> Result<Self, SyncError> {
        let path = process_record::own(records, STREAM);
        write_record(&path, &id)?;
        Ok(Self(path))
    }

    /// Removes the record: the agent knows that the stream is over.
    pub(crate) fn finish(self) {
        drop(std::fs::remove_file(self.0));
    }
}

/// A stream for which nobody comes back.
#[derive(Debug)]
pub(crate) struct Abandoned {
    pub(crate) id: StreamId,
    record: StreamRecord,
}

impl Abandoned {
    /// Forgets the stream: the agent knows.
    pub(crate) fn forget(self) {
        // This process has another one by now.
        if read_record(&self.record.0) == Some(self.id) {
            self.record.finish();
        }
    }
}

/// The streams whose processes are gone. One of this process is of an earlier exchange.
pub(crate) fn abandoned(records: &Path) -> Vec<Abandoned> {
    let records = process_record::all(records, STREAM).filter(ProcessRecord::is_finished);
    let abandoned = |ProcessRecord { path, .. }: ProcessRecord| {
        Some(Abandoned { id: read_record(&path)?, record: StreamRecord(path) })
    };
    records.filter_map(abandoned).collect()
}
