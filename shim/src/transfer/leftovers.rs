//! What commands have left that were killed while they wrote results.
//!
//! Before a command writes, it records the directories in which it makes temporary files; before
//! a file of the user leaves its place, it records that ([`Displacement`]). Both records are
//! removed once all is written. Where the process of a record is gone, the next command first
//! gives displaced edits back, then removes the other files of that process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burst_protocol::RelativePath;
use burst_sync::SyncError;
use burst_sync::root_directory::RootDirectory;
use burst_sync::stat_cache::{read_record, write_record};

use super::displacement::{DISPLACED, Displacement};
use super::journal::Journal;
use super::local_files::{LocalFiles, Restored};
use super::process_record::{self, ProcessRecord};
use super::temporary_name::is_temporary_of;
use crate::background::lock;
use crate::error::Error;

/// The records of directories begin with this name, and end with the id of the process.
const WRITING: &str = "writing-";

/// The records of this process. They stay until it has [finished](Self::finish).
#[derive(Debug)]
pub(crate) struct Writing([PathBuf; 2]);

impl Writing {
    /// Records the directories of these files and links, before any is written. `records` is the
    /// directory with the records.
    pub(crate) fn begin(
        records: &Path,
        paths: impl Iterator<Item = PathBuf>,
    ) -> Result<Self, SyncError> {
        let directories: BTreeSet<PathBuf> =
            paths.filter_map(|path| Some(path.parent()?.to_owned())).collect();
        let of_this_process = [WRITING, DISPLACED].map(|kind| process_record::own(records, kind));
        if !directories.is_empty() {
            write_record(&of_this_process[0], &directories)?;
        }
        Ok(Self(of_this_process))
    }

    /// Removes the records: nothing temporary is left.
    pub(crate) fn finish(self) {
        for record in self.0 {
            // If it stays, the next command finds nothing to remove.
            drop(std::fs::remove_file(record));
        }
    }
}

/// Gives back the edits in `workspace` that processes which are gone have displaced, and
/// removes their temporary files. Returns warnings for the user.
pub(crate) fn clear_leftovers(records: &Path, workspace: &Path) -> Result<Vec<String>, Error> {
    let finished = |kind| {
        let of_kind = process_record::all(records, kind).filter(ProcessRecord::is_finished);
        of_kind.map(|record| (record.process, record.path)).collect::<BTreeMap<_, _>>()
    };
    if [DISPLACED, WRITING].iter().all(|kind| finished(kind).is_empty()) {
        return Ok(Vec::new());
    }
    // Two commands would undo what the other has given back.
    let _lock = lock::take(&records.join("leftovers.lock"))?;
    let mut notes = Vec::new();
    let (mut displaced, mut writing) = (finished(DISPLACED), finished(WRITING));
    displaced.retain(|process, journal| {
        let is_complete = give_back(journal, workspace, &mut notes);
        if !is_complete {
            // What cannot be judged is not removed.
            writing.remove(process);
        }
        is_complete
    });
    for (process, record) in &writing {
        let directories: BTreeSet<PathBuf> = read_record(record).unwrap_or_default();
        for directory in directories {
            remove_files(&directory, *process);
        }
    }
    for record in writing.into_values().chain(displaced.into_values()) {
        // If it stays, the next command tries again.
        drop(std::fs::remove_file(record));
    }
    Ok(notes)
}

/// Gives back the edits of a journal. Returns whether nothing of it is left to do.
fn give_back(journal: &Path, workspace: &Path, notes: &mut Vec<String>) -> bool {
    let Ok(displaced) = Journal::<Displacement>::read(journal) else { return false };
    let Ok(root) = RootDirectory::open(workspace) else { return false };
    let files = LocalFiles::new(root);
    // The last move of a temporary path tells what it has.
    let last: BTreeMap<&RelativePath, &Displacement> =
        displaced.iter().map(|displaced| (&displaced.temporary, displaced)).collect();
    let mut is_complete = true;
    for displaced in last.into_values() {
        let path = displaced.path.display();
        let text = match files.restore(displaced) {
            Ok(Restored::Nothing) => continue,
            Ok(Restored::InPlace) => "your edit is back".to_owned(),
            Ok(Restored::Beside(beside)) => format!("your edit is in `{}`", beside.display()),
            Err(error) => {
                is_complete = false;
                format!("your edit is in `{}`: {error}", displaced.temporary.display())
            }
        };
        notes.push(format!("`{path}` was edited while a killed command replaced it: {text}"));
    }
    is_complete
}

fn remove_files(directory: &Path, process: u32) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if is_temporary_of(&entry.file_name().to_string_lossy(), process) {
            // Directories are none of ours, and are not removed by this.
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests;
