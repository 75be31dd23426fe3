//! Files of the workspace, as results replace them.
//!
//! Invariants:
//!
//! - No file is half-written: content goes into a temporary file, which is then renamed.
//! - No edit is lost: what a result replaces is looked at *after* it has left its place. If
//!   it is not what was expected, it returns there. A [`Displacement`] is recorded before, so
//!   that what a killed command has left at a temporary path can be judged.
//! - No symbolic link is followed below the root.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Directory, Entry, FileMode, LinkTarget, Node};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::conflict_paths;
use burst_sync::root_directory::{RootDirectory, is_directory};
use burst_sync::scan::{file_of, hash_file};
use rustix::fs::Mode;

use super::displacement::{DISPLACED, Displacement, entry_of};
use super::journal::Journal;
use super::target::obstacle;
use super::temporary_name::temporary_name;

/// Whether an entry was where and what it was expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It was, and is replaced.
    Expected,
    /// It was edited, and is as it was.
    Edited,
}

/// What became of a user's edit that a killed command had displaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Restored {
    /// There was none.
    Nothing,
    /// It is in its place again.
    InPlace,
    /// Its place was taken: it is beside, at this path.
    Beside(RelativePath),
}

/// The files below one root.
#[derive(Debug)]
pub(super) struct LocalFiles {
    root: RootDirectory,
    temporaries: Cell<u32>,
    displaced: Option<RefCell<Journal<Displacement>>>,
}

impl LocalFiles {
    /// The files below `root`, which are not the user's, or from which nothing new is displaced.
    pub(super) const fn new(root: RootDirectory) -> Self {
        Self { root, temporaries: Cell::new(0), displaced: None }
    }

    /// The files of the user below `root`; displacements are recorded in this directory.
    pub(super) fn recorded(root: RootDirectory, records: &Path) -> Self {
        let displaced = Some(RefCell::new(Journal::own(records, DISPLACED)));
        Self { root, temporaries: Cell::new(0), displaced }
    }

    /// The directory that they are below.
    pub(super) const fn root(&self) -> &RootDirectory {
        &self.root
    }

    /// The entry at a path; a file is read and hashed. A directory is given as an empty one.
    pub(super) fn entry(&self, path: &RelativePath) -> Result<Option<Node>, SyncError> {
        let Ok(status) = self.root.status(path) else { return Ok(None) };
        if is_directory(&status) {
            return Ok(Some(Node::Directory(Directory::new())));
        }
        if let Ok(target) = self.root.read_link(path) {
            return Ok(LinkTarget::new(&target).ok().map(Node::Link));
        }
        let cached = hash_file(&self.root, path, Moment::coarse_now())?;
        Ok(cached.map(|cached| Node::File(file_of(&cached))))
    }

    /// Whether a path can be created or replaced: every path above it is a directory, or
    /// does not exist.
    pub(super) fn is_reachable(&self, path: &RelativePath) -> bool {
        let mut above = path.parent();
        while let Some(path) = above {
            match self.root.status(&path) {
                Ok(status) => return is_directory(&status),
                Err(error) if error.kind() == io::ErrorKind::NotFound => above = path.parent(),
                Err(_) => return false,
            }
        }
        true
    }

    /// Creates a directory and those above it.
    pub(super) fn create_directory(&self, path: &RelativePath) -> Result<(), SyncError> {
        let created = self.root.create_directories(path, false);
        created.map_err(|error| match obstacle(&self.root, path) {
            Some((obstacle, error)) => self.unwritable(&obstacle, error),
            None => self.unwritable(path, error),
        })
    }

    /// Writes a temporary file in the directory of `path`, which is created. Until it is
    /// complete only the user can read it. On an error nothing is left of it.
    pub(super) fn write_temporary(
        &self,
        path: &RelativePath,
        mode: FileMode,
        fill: impl FnOnce(&mut File) -> Result<(), SyncError>,
    ) -> Result<RelativePath, SyncError> {
        let temporary = self.temporary(path)?;
        let created = self.root.create_file(&temporary, 0o600);
        let mut file = created.map_err(|error| self.unwritable(path, error))?;
        let filled = fill(&mut file).and_then(|()| {
            let mode = Mode::from_raw_mode(mode.bits());
            let changed = rustix::fs::fchmod(&file, mode);
            changed.map_err(|errno| self.unwritable(path, errno.into()))
        });
        if let Err(error) = filled {
            // The first error is the one to report.
            drop(self.root.remove_file(&temporary));
            return Err(error);
        }
        Ok(temporary)
    }

    /// Moves a temporary entry, which is this `version` of a run, to `path` if the entry there
    /// is the expected one; otherwise the temporary one stays.
    pub(super) fn replace(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
        expected: Option<&Node>,
        version: &Node,
    ) -> Result<Replaced, SyncError> {
        match expected {
            None => self.move_to_free(temporary, path).inspect_err(|_| {
                drop(self.root.remove_file(temporary));
            }),
            Some(expected) => {
                self.record(temporary, path, expected, Some(version))?;
                self.exchange(temporary, path, expected)
            }
        }
    }

    /// Makes a link at `path`, whose directory is created, if the entry there is the expected one.
    pub(super) fn replace_by_link(
        &self,
        path: &RelativePath,
        target: &LinkTarget,
        expected: Option<&Node>,
    ) -> Result<Replaced, SyncError> {
        let temporary = self.temporary(path)?;
        let created = self.root.create_link(&temporary, target.as_bytes());
        created.map_err(|error| self.unwritable(path, error))?;
        let replaced = self.replace(&temporary, path, expected, &Node::Link(target.clone()))?;
        if replaced == Replaced::Edited {
            // After an error the user's entry can be there.
            drop(self.root.remove_file(&temporary));
        }
        Ok(replaced)
    }

    /// Moves a temporary file, which is this `version` of a run, beside `path`: to the first
    /// path that is free, or has a version of an earlier run, which `replaceable` tells. Nothing
    /// is moved if the version is there already. Returns the path.
    pub(super) fn place_beside(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
        version: &Node,
        replaceable: impl Fn(&RelativePath) -> Option<Node>,
    ) -> Result<RelativePath, SyncError> {
        for beside in conflict_paths(path) {
            // One that cannot be read is not ours.
            let Ok(here) = self.entry(&beside) else { continue };
            if here.as_ref() == Some(version) {
                let removed = self.root.remove_file(temporary);
                removed.map_err(|error| self.unwritable(path, error))?;
                return Ok(beside);
            }
            if here.is_some() && here != replaceable(&beside) {
                continue;
            }
            if self.replace(temporary, &beside, here.as_ref(), version)? == Replaced::Expected {
                return Ok(beside);
            }
        }
        Err(self.unwritable(path, io::ErrorKind::AlreadyExists.into()))
    }

    /// Moves a temporary entry to `path`, whatever is there.
    pub(super) fn overwrite(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
    ) -> Result<(), SyncError> {
        self.root.rename(temporary, path).map_err(|error| {
            drop(self.root.remove_file(temporary));
            self.unwritable(path, error)
        })
    }

    /// Removes a file or link if it is the expected one.
    pub(super) fn remove(
        &self,
        path: &RelativePath,
        expected: &Node,
    ) -> Result<Replaced, SyncError> {
        let temporary = self.temporary(path)?;
        self.record(&temporary, path, expected, None)?;
        match self.root.rename_to_free(path, &temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Replaced::Expected),
            moved => moved.map_err(|error| self.unwritable(path, error))?,
        }
        if self.discard_expected(&temporary, expected)? {
            return Ok(Replaced::Expected);
        }
        self.put_back(&temporary, path)?;
        Ok(Replaced::Edited)
    }

    /// Removes a directory if it is empty.
    pub(super) fn remove_directory(&self, path: &RelativePath) -> Result<(), SyncError> {
        self.root.remove_directory(path).map_err(|error| self.unwritable(path, error))
    }

    /// The error of a path that cannot be written.
    pub(super) fn unwritable(&self, path: &RelativePath, source: io::Error) -> SyncError {
        self.root.unwritable(path, source)
    }

    fn move_to_free(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
    ) -> Result<Replaced, SyncError> {
        match self.root.rename_to_free(temporary, path) {
            Ok(()) => Ok(Replaced::Expected),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Replaced::Edited),
            Err(error) if is_unsupported(&error) => {
                if self.entry(path)?.is_some() {
                    return Ok(Replaced::Edited);
                }
                self.overwrite(temporary, path)?;
                Ok(Replaced::Expected)
            }
            Err(error) => Err(self.unwritable(path, error)),
        }
    }

    fn exchange(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
        expected: &Node,
    ) -> Result<Replaced, SyncError> {
        match self.root.exchange(temporary, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Replaced::Edited),
            Err(error) if is_unsupported(&error) => {
                // Such a file system leaves a moment between the look and the replacement.
                if self.entry(path)?.as_ref() != Some(expected) {
                    return Ok(Replaced::Edited);
                }
                self.overwrite(temporary, path)?;
                return Ok(Replaced::Expected);
            }
            Err(error) => return Err(self.unwritable(path, error)),
        }
        // From here on the temporary path has what was at `path`: the user's.
        if self.discard_expected(temporary, expected)? {
            return Ok(Replaced::Expected);
        }
        match self.root.exchange(temporary, path) {
            Ok(()) => Ok(Replaced::Edited),
            // The run's version was removed in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.put_back(temporary, path)?;
                Err(self.unwritable(path, error))
            }
            Err(error) => Err(self.unwritable(path, error)),
        }
    }

    /// Gives back an edit that a killed command has displaced.
    pub(super) fn restore(&self, displaced: &Displacement) -> Result<Restored, SyncError> {
        let Displacement { temporary, path, version, .. } = displaced;
        // What cannot be read is no version of ours.
        match self.entry(temporary) {
            Ok(None) if self.root.status(temporary).is_err() => return Ok(Restored::Nothing),
            Ok(Some(left)) if !displaced.leaves_edit(&left) => {
                self.root.remove_file(temporary).map_err(|error| self.unwritable(path, error))?;
                return Ok(Restored::Nothing);
            }
            _ => {}
        }
        if let Some(version) = version.clone().map(Entry::into_node)
            && self.exchange(temporary, path, &version)? == Replaced::Expected
        {
            return Ok(Restored::InPlace);
        }
        Ok(self.put_back(temporary, path)?.map_or(Restored::InPlace, Restored::Beside))
    }

    /// Moves what was at a path back there; if the path is taken, beside it, to the path that
    /// is returned.
    fn put_back(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
    ) -> Result<Option<RelativePath>, SyncError> {
        if self.move_to_free(temporary, path)? == Replaced::Expected {
            return Ok(None);
        }
        for beside in conflict_paths(path) {
            if self.move_to_free(temporary, &beside)? == Replaced::Expected {
                return Ok(Some(beside));
            }
        }
        Err(self.unwritable(path, io::ErrorKind::AlreadyExists.into()))
    }

    /// Records that the entry at `path` is about to leave its place.
    fn record(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
        expected: &Node,
        version: Option<&Node>,
    ) -> Result<(), SyncError> {
        let Some(journal) = &self.displaced else { return Ok(()) };
        let displacement = Displacement {
            temporary: temporary.clone(),
            path: path.clone(),
            expected: entry_of(expected),
            version: version.map(entry_of),
        };
        let mut journal = journal.borrow_mut();
        let recorded = journal.add(&displacement);
        recorded.map_err(|source| SyncError::Store { path: journal.path().to_owned(), source })
    }

    /// Removes what has left its place if it is the expected entry. One that cannot be read is
    /// not.
    fn discard_expected(
        &self,
        temporary: &RelativePath,
        expected: &Node,
    ) -> Result<bool, SyncError> {
        let is_expected = matches!(self.entry(temporary), Ok(Some(found)) if found == *expected);
        if is_expected {
            self.root.remove_file(temporary).map_err(|error| self.unwritable(temporary, error))?;
        }
        Ok(is_expected)
    }

    /// A free temporary path in the directory of a file, which is created. The length of its
    /// name does not depend on the file's.
    fn temporary(&self, path: &RelativePath) -> Result<RelativePath, SyncError> {
        if let Some(parent) = path.parent() {
            self.create_directory(&parent)?;
        }
        let (parent, _) = path.split();
        let parent = parent.map(|parent| [parent, b"/"].concat()).unwrap_or_default();
        loop {
            let number = self.temporaries.get();
            self.temporaries.set(number.wrapping_add(1));
            let name = temporary_name(number);
            let temporary = RelativePath::new(&[parent.as_slice(), name.as_bytes()].concat())
                .map_err(|_| self.unwritable(path, io::ErrorKind::InvalidFilename.into()))?;
            // An earlier process with this id may have left one.
            match self.root.status(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(temporary),
                Err(error) => return Err(self.unwritable(path, error)),
                Ok(_) => {}
            }
        }
    }
}

/// Whether a file system cannot rename in this way.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests;
