//! What is remembered of files that were changed here and by runs.

use std::collections::BTreeMap;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Entry, File};
use burst_sync::SyncError;
use burst_sync::stat_cache::{read_record, write_record};
use serde::{Deserialize, Serialize};

/// The name of the record.
const RECORD: &str = "conflicts";

/// Files below the workspace root, as they were after the last command that met them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conflicts {
    /// Versions of runs that were written beside files. One that is still the same may be
    /// replaced by the version of a later run.
    pub(crate) besides: BTreeMap<RelativePath, File>,
    /// Files that are not sent while runs make versions of their own. The user was told, and is
    /// not told again until the file here has changed.
    pub(crate) unsent: BTreeMap<RelativePath, Unsent>,
}

/// A file that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unsent {
    /// The file here.
    pub(crate) here: File,
    /// The version of the last run, which is on the agent.
    pub(crate) version: File,
}

impl Conflicts {
    /// Reads the record in the directory of a workspace's state; without one there are none.
    pub(crate) fn read(state: &Path) -> Self {
        read_record(&state.join(RECORD)).unwrap_or_default()
    }

    /// The runs' versions of files that were not sent, and that the user has deleted since. They
    /// are on the agent, and no scan here tells it that their paths are free.
    pub(crate) fn deleted(&self, workspace: &Path) -> impl Iterator<Item = (&RelativePath, Entry)> {
        let deleted = self.unsent.iter().filter(move |(path, _)| is_gone(workspace, path));
        deleted.map(|(path, unsent)| (path, Entry::File(unsent.version)))
    }

    /// Writes the record, if it has changed. Files that are gone from `workspace` are left out.
    pub(crate) fn write(&self, state: &Path, workspace: &Path) -> Result<(), SyncError> {
        let mut kept = self.clone();
        kept.besides.retain(|path, _| !is_gone(workspace, path));
        kept.unsent.retain(|path, _| !is_gone(workspace, path));
        if kept == Self::read(state) {
            return Ok(());
        }
        write_record(&state.join(RECORD), &kept)
    }
}

fn is_gone(workspace: &Path, path: &RelativePath) -> bool {
    let found = path.in_directory(workspace).symlink_metadata();
    found.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}
