//! What is remembered of files that were changed here and by runs.
//!
//! The record belongs to all commands of a workspace: each reads it whole, and adds and removes
//! its own entries under a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Entry, File};
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::conflict_paths;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::hash_file;
use burst_sync::stat_cache::{read_record, write_record};
use serde::{Deserialize, Serialize};

use super::error::unreadable;
use crate::background::lock;
use crate::error::Error;

/// The name of the record.
pub(super) const RECORD: &str = "conflicts";

/// How many versions beside one path are looked at.
const VERSIONS_MAX: usize = 8;

/// Paths below the workspace root, as they were after the last command that met them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    besides: BTreeMap<RelativePath, File>,
    unsent: BTreeMap<RelativePath, Option<Entry>>,
}

/// The record, and what this command adds to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conflicts {
    known: Record,
    new: Record,
}

impl Conflicts {
    /// Reads the record in the directory of a workspace's state; without one there are none.
    pub(crate) fn read(state: &Path) -> Self {
        let known = read_record(&state.join(RECORD)).unwrap_or_default();
        Self { known, new: Record::default() }
    }

    /// The version of a run that was written to a path beside a file. As long as it is still the
    /// same, the version of a later run may replace it.
    pub(crate) fn beside(&self, path: &RelativePath) -> Option<File> {
        self.new.besides.get(path).or_else(|| self.known.besides.get(path)).copied()
    }

    /// Adds a version of a run that was written to a path beside a file.
    pub(crate) fn add_beside(&mut self, path: RelativePath, version: File) {
        self.new.besides.insert(path, version);
    }

    /// Adds a path whose entry was not sent, and at which a run's version was declined: it is on
    /// the agent only. Returns whether the entry, none below what is no directory, is the one that
    /// the user was told of the last time.
    pub(crate) fn add_unsent(&mut self, path: &RelativePath, here: Option<Entry>) -> bool {
        let was_told = self.known.unsent.get(path) == Some(&here);
        self.new.unsent.insert(path.clone(), here);
        was_told
    }

    /// The paths at which a run's version was declined and that are free now. No scan tells the
    /// agent so: what it has there was never agreed.
    pub(crate) fn freed(&self, workspace: &Path) -> Vec<RelativePath> {
        // Below a file or a link no path is free.
        self.unsent_that(workspace, |root, path| {
            root.status(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        })
    }

    /// The paths that were not sent and at which the user has put the version of a run since: it
    /// belongs to the workspace like one that came to its place.
    pub(crate) fn accepted(&self, workspace: &Path) -> Vec<RelativePath> {
        self.unsent_that(workspace, |root, path| {
            let versions = || versions(path, &self.known.besides).map(|(_, version)| version);
            let size = root.status(path).map_or(-1, |status| status.st_size);
            versions().any(|version| i64::try_from(version.size) == Ok(size))
                && matches!(hash_file(root, path, Moment::coarse_now()), Ok(Some(here))
                    if versions().any(|version| version.digest == here.digest))
        })
    }

    /// The known paths that were not sent and are so now. Most workspaces have none.
    fn unsent_that(
        &self,
        workspace: &Path,
        is_so: impl Fn(&RootDirectory, &RelativePath) -> bool,
    ) -> Vec<RelativePath> {
        if self.known.unsent.is_empty() {
            return Vec::new();
        }
        let Ok(root) = RootDirectory::open(workspace) else { return Vec::new() };
        self.known.unsent.keys().filter(|path| is_so(&root, path)).cloned().collect()
    }

    /// Writes what this command has added. Versions that are gone from `workspace` are left out,
    /// unless they may be in the place of a file that is not sent; paths that are free stay until
    /// the agent knows.
    pub(crate) fn write(&self, state: &Path, workspace: &Path) -> Result<(), Error> {
        let is_there = |path: &RelativePath| {
            let found = path.in_directory(workspace).symlink_metadata();
            !found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        update(state, |record| {
            record.unsent.extend(self.new.unsent.clone());
            record.besides.extend(self.new.besides.clone());
            let of_unsent = record.unsent.keys().flat_map(|path| versions(path, &record.besides));
            let of_unsent: BTreeSet<RelativePath> = of_unsent.map(|(beside, _)| beside).collect();
            record.besides.retain(|path, _| is_there(path) || of_unsent.contains(path));
        })
    }

    /// Forgets paths: the agent knows that they are free, or they are sent from now on.
    pub(crate) fn forget(state: &Path, paths: &[RelativePath]) -> Result<(), Error> {
        if paths.is_empty() {
            return Ok(());
        }
        update(state, |record| record.unsent.retain(|path, _| !paths.contains(path)))
    }
}

/// The recorded versions beside a path and their paths, of the first few that are possible.
fn versions(
    path: &RelativePath,
    besides: &BTreeMap<RelativePath, File>,
) -> impl Iterator<Item = (RelativePath, File)> {
    let possible = conflict_paths(path).take(VERSIONS_MAX);
    possible.filter_map(|beside| {
        let version = *besides.get(&beside)?;
        Some((beside, version))
    })
}

fn update(state: &Path, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
    let _lock = lock::take(&state.join("conflicts.lock"))?;
    let path = state.join(RECORD);
    let before: Record = read_record(&path).unwrap_or_default();
    let mut after = before.clone();
    change(&mut after);
    if after == before {
        return Ok(());
    }
    write_record(&path, &after).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burst_protocol::Digest;
    use burst_protocol::tree::FileMode;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    fn file(content: &str) -> File {
        let digest = Digest::of(content.as_bytes());
        File { size: content.len() as u64, digest, mode: FileMode::REGULAR }
    }

    #[test]
    fn a_user_is_told_once_of_what_is_here() {
        let (state, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let add = |here: Option<Entry>| {
            let mut conflicts = Conflicts::read(state.path());
            let was_told = conflicts.add_unsent(&path("a"), here);
            conflicts.write(state.path(), root.path()).unwrap();
            was_told
        };
        for here in [Some(Entry::File(file("one"))), Some(Entry::Directory), None] {
            assert_eq!([(); 3].map(|()| add(here.clone())), [false, true, true]);
        }
    }

    #[test]
    fn paths_are_free_until_the_agent_knows() {
        let (state, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let freed = || Conflicts::read(state.path()).freed(root.path());
        let mut conflicts = Conflicts::read(state.path());
        fs::write(root.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("elsewhere", root.path().join("link")).unwrap();
        for name in ["file", "file/below", "gone", "gone/below", "link", "link/below"] {
            conflicts.add_unsent(&path(name), None);
        }
        conflicts.write(state.path(), root.path()).unwrap();
        assert_eq!(freed(), ["gone", "gone/below"].map(path));
        // As another command does.
        Conflicts::default().write(state.path(), root.path()).unwrap();
        fs::remove_file(root.path().join("link")).unwrap();
        assert_eq!(freed(), ["gone", "gone/below", "link", "link/below"].map(path));
        Conflicts::forget(state.path(), &freed()).unwrap();
        assert_eq!(freed(), []);
        fs::remove_file(root.path().join("file")).unwrap();
        assert_eq!(freed(), ["file", "file/below"].map(path));
    }

    #[test]
    fn commands_keep_what_others_have_added() {
        let (state, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut commands = ["one", "two"].map(|name| {
            fs::write(root.path().join(name), "").unwrap();
            (name, Conflicts::read(state.path()))
        });
        for (name, conflicts) in &mut commands {
            conflicts.add_beside(path(name), file(name));
            assert_eq!(conflicts.beside(&path(name)), Some(file(name)));
            conflicts.write(state.path(), root.path()).unwrap();
        }
        let besides = ["one", "two"].map(|name| Conflicts::read(state.path()).beside(&path(name)));
        assert_eq!(besides, ["one", "two"].map(|name| Some(file(name))));
        fs::remove_file(root.path().join("one")).unwrap();
        Conflicts::default().write(state.path(), root.path()).unwrap();
        assert_eq!(Conflicts::read(state.path()).beside(&path("one")), None);
    }
}
