//! What has been taken over here before the agent was told.
//!
//! A command that is stopped while it writes results has told the agent nothing of those that
//! are here. The user may undo some of them before the next command; if the agent then offered
//! them again, the undo would be undone. So each change that takes effect is recorded at once,
//! and the next command sends the record with its request.

use std::path::{Path, PathBuf};

use burst_protocol::RelativePath;
use burst_protocol::limit::CHANGES_PER_MESSAGE_MAX;
use burst_protocol::tree::{Change, Entry};

use super::journal::Journal;
use super::process_record::{self, ProcessRecord};
use crate::workspace::state::TAKEN;

/// The record of this process.
#[derive(Debug)]
pub(crate) struct Taken(Journal<Change>);

impl Taken {
    /// The record of this process, in the directory of records. It does not exist until a
    /// change is added.
    pub(crate) fn new(records: &Path) -> Self {
        Self(Journal::own(records, TAKEN))
    }

    /// Records that a change has taken effect. If that fails, the change is offered again, as
    /// if it had not.
    pub(super) fn add(&mut self, change: &Change) {
        drop(self.0.add(change));
    }

    /// Removes the record: the agent knows.
    pub(crate) fn confirm(self) {
        self.0.remove();
    }
}

/// The records of commands that have ended without telling the agent.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// What they have taken.
    pub(crate) changes: Vec<Change>,
    records: Vec<PathBuf>,
}

impl Unconfirmed {
    /// Reads the records of a directory.
    pub(crate) fn read(records: &Path) -> Self {
        let mut unconfirmed = Self::default();
        for record in process_record::all(records, TAKEN).filter(ProcessRecord::is_finished) {
            if let Ok(changes) = Journal::read(&record.path) {
                unconfirmed.changes.extend(changes);
                unconfirmed.records.push(record.path);
            }
        }
        // More are not sent; those beyond are offered again.
        unconfirmed.changes.truncate(CHANGES_PER_MESSAGE_MAX);
        unconfirmed
    }

    /// The files and links below a directory that were taken, relative to it.
    pub(crate) fn written_below(&self, root: &RelativePath) -> impl Iterator<Item = RelativePath> {
        self.changes.iter().filter_map(|change| match change {
            Change::Put { entry: Entry::Directory, .. } | Change::Remove { .. } => None,
            Change::Put { path, .. } => path.below(root),
        })
    }

    /// Removes the records: the agent knows.
    pub(crate) fn confirm(&self) {
        for record in &self.records {
            drop(std::fs::remove_file(record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_read_until_it_is_confirmed() {
        let disk = tempfile::tempdir().unwrap();
        let change =
            |name: &str| Change::Remove { path: RelativePath::new(name.as_bytes()).unwrap() };
        let mut taken = Taken::new(disk.path());
        assert!(Unconfirmed::read(disk.path()).records.is_empty());
        for name in ["a", "b"] {
            taken.add(&change(name));
        }
        assert_eq!(Unconfirmed::read(disk.path()).changes, [change("a"), change("b")]);
        // A write that was cut off.
        let path = taken.0.path().to_owned();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let unconfirmed = Unconfirmed::read(disk.path());
        assert_eq!(unconfirmed.changes, [change("a")]);
        // Another process, which lives.
        std::fs::write(disk.path().join(format!("{TAKEN}1")), std::fs::read(&path).unwrap())
            .unwrap();
        assert_eq!(Unconfirmed::read(disk.path()).changes.len(), 1);
        unconfirmed.confirm();
        assert!(!path.exists());
    }

    #[test]
    fn files_and_links_of_the_workspace_have_been_written() {
        use burst_protocol::tree::LinkTarget;
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let link = Entry::Link(LinkTarget::new(b"a").unwrap());
        let put =
            |text: &str, entry: &Entry| Change::Put { path: path(text), entry: entry.clone() };
        let changes = vec![
            put("work/app/link", &link),
            put("work/app/directory", &Entry::Directory),
            put("work/application/link", &link),
            Change::Remove { path: path("work/app/gone") },
        ];
        let unconfirmed = Unconfirmed { changes, records: Vec::new() };
        let written: Vec<_> = unconfirmed.written_below(&path("work/app")).collect();
        assert_eq!(written, [path("link")]);
    }

    #[test]
    fn a_command_that_has_told_the_agent_leaves_no_record() {
        let disk = tempfile::tempdir().unwrap();
        let mut taken = Taken::new(disk.path());
        taken.add(&Change::Remove { path: RelativePath::new(b"a").unwrap() });
        assert!(taken.0.path().exists());
        taken.confirm();
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_records_of_commands_that_have_ended_are_read() {
        let disk = tempfile::tempdir().unwrap();
        let change = Change::Remove { path: RelativePath::new(b"a").unwrap() };
        let mut taken = Taken::new(disk.path());
        taken.add(&change);
        // No process has this id.
        let ended = disk.path().join(format!("{TAKEN}{}", u32::MAX));
        std::fs::rename(taken.0.path(), &ended).unwrap();
        let unconfirmed = Unconfirmed::read(disk.path());
        assert_eq!((unconfirmed.changes, unconfirmed.records), (vec![change], vec![ended]));
    }
}
