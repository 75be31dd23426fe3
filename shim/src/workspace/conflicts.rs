//! What is remembered of files that were changed here and by runs.

use std::collections::BTreeMap;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::File;
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
    /// Files that were not sent while a run made its own version. The user was told, and is
    /// not told again until the file here has changed.
    pub(crate) unsent: BTreeMap<RelativePath, File>,
}

impl Conflicts {
    /// Reads the record in the directory of a workspace's state; without one there are none.
    pub(crate) fn read(state: &Path) -> Self {
        read_record(&state.join(RECORD)).unwrap_or_default()
    }

    /// Writes the record, if it has changed. Files that are gone from `workspace` are left out.
    pub(crate) fn write(&self, state: &Path, workspace: &Path) -> Result<(), SyncError> {
        let is_there = |(path, _): &(&RelativePath, &File)| {
            path.in_directory(workspace).symlink_metadata().is_ok()
        };
        let still_there = |files: &BTreeMap<RelativePath, File>| {
            let kept = files.iter().filter(is_there);
            kept.map(|(path, file)| (path.clone(), *file)).collect()
        };
        let (besides, unsent) = (still_there(&self.besides), still_there(&self.unsent));
        let kept = Self { besides, unsent };
        if kept == Self::read(state) {
            return Ok(());
        }
        write_record(&state.join(RECORD), &kept)
    }
}
