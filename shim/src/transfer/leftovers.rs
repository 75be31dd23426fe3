//! Temporary files of commands that were killed while they wrote results.
//!
//! Before a command writes, it records the directories in which it makes temporary files. The
//! record is removed when it has written. Where the process of a record is gone, the next
//! command removes the files of that process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burst_protocol::message::Artifact;
use burst_protocol::tree::Change;
use burst_sync::SyncError;
use burst_sync::ignore_rules::CONFLICT_SUFFIX;
use burst_sync::stat_cache::{read_record, write_record};

use super::process_record;

/// The records begin with this name, and end with the id of the process.
const RECORD: &str = "writing-";

/// The name of a temporary file: it depends on the process, and on a number.
pub(super) fn temporary_name(number: u32) -> String {
    format!("{}{number}{CONFLICT_SUFFIX}", prefix(process_record::this_process()))
}

fn prefix(process: u32) -> String {
    format!(".burst-{process}-")
}

/// The record of this process; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Writing(PathBuf);

impl Writing {
    /// Records the directories in which these results are written, before any is. `target` is
    /// the target directory, and `records` the directory with the records.
    pub(crate) fn begin(
        records: &Path,
        changes: &[Change],
        (target, artifacts): (&Path, &[Artifact]),
    ) -> Result<Self, SyncError> {
        let sources = changes.iter().map(|change| change.path().absolute());
        let artifacts = artifacts.iter().map(|artifact| artifact.path.in_directory(target));
        let parents = sources.chain(artifacts).filter_map(|path| Some(path.parent()?.to_owned()));
        Self::record(records, &parents.collect())
    }

    fn record(records: &Path, directories: &BTreeSet<PathBuf>) -> Result<Self, SyncError> {
        let path = process_record::own(records, RECORD);
        if !directories.is_empty() {
            write_record(&path, directories)?;
        }
        Ok(Self(path))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // If it stays, the next command finds nothing to remove.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Removes the temporary files of processes that are gone.
pub(crate) fn remove_leftovers(records: &Path) {
    for record in process_record::all(records, RECORD).filter(|record| !record.is_alive()) {
        let directories: BTreeSet<PathBuf> = read_record(&record.path).unwrap_or_default();
        for directory in directories {
            remove_files(&directory, &prefix(record.process));
        }
        // If it stays, the next command tries again.
        drop(std::fs::remove_file(record.path));
    }
}

fn remove_files(directory: &Path, prefix: &str) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(CONFLICT_SUFFIX) {
            // Directories are none of ours, and are not removed by this.
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_dead_processes_are_removed() {
        let disk = tempfile::tempdir().unwrap();
        let work = disk.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let names = [
            format!(".burst-{dead}-1.from-burst"),
            temporary_name(1),
            "a.from-burst".to_owned(),
            format!(".burst-{dead}-1"),
        ];
        for name in &names {
            std::fs::write(work.join(name), "").unwrap();
        }
        let directories = BTreeSet::from([work.clone()]);
        let own = Writing::record(disk.path(), &directories).unwrap();
        write_record(&disk.path().join(format!("{RECORD}{dead}")), &directories).unwrap();
        remove_leftovers(disk.path());
        let left = |name: &String| work.join(name).exists();
        assert_eq!(names.each_ref().map(left), [false, true, true, true]);
        drop(own);
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 1);
    }
}
