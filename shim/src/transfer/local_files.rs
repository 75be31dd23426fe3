//! Files of the workspace, as results replace them.
//!
//! Invariants:
//!
//! - No file is half-written: content goes into a temporary file, which is then renamed.
//! - No edit is lost: what a result replaces is looked at *after* it has left its place. If
//!   it is not what was expected, it returns there.
//! - No symbolic link is followed below the root.

use std::cell::Cell;
use std::fs::File;
use std::io;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Directory, FileMode, LinkTarget, Node};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::conflict_path;
use burst_sync::root_directory::{RootDirectory, is_directory};
use burst_sync::scan::{file_of, hash_file};
use rustix::fs::Mode;

use super::leftovers::temporary_name;

/// Whether an entry was where and what it was expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It was, and is replaced.
    Expected,
    /// It was edited, and is as it was.
    Edited,
}

/// The files below one root.
#[derive(Debug)]
pub(super) struct LocalFiles {
    root: RootDirectory,
    temporaries: Cell<u32>,
}

impl LocalFiles {
    /// The files below `root`.
    pub(super) const fn new(root: RootDirectory) -> Self {
        Self { root, temporaries: Cell::new(0) }
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
        created.map_err(|error| match self.obstacle(path) {
            Some((obstacle, error)) => self.unwritable(&obstacle, error),
            None => self.unwritable(path, error),
        })
    }

    /// What is at or above a path and is no directory.
    fn obstacle(&self, path: &RelativePath) -> Option<(RelativePath, io::Error)> {
        let mut above = Some(path.clone());
        while let Some(path) = above {
            above = path.parent();
            let Ok(status) = self.root.status(&path) else { continue };
            let what = match self.root.read_link(&path) {
                _ if is_directory(&status) => return None,
                Ok(_) => "it is a symbolic link, which is not followed",
                Err(_) => "it is not a directory",
            };
            return Some((path, io::Error::new(io::ErrorKind::NotADirectory, what)));
        }
        None
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

    /// Makes a temporary link in the directory of `path`, which is created.
    pub(super) fn temporary_link(
        &self,
        path: &RelativePath,
        target: &LinkTarget,
    ) -> Result<RelativePath, SyncError> {
        let temporary = self.temporary(path)?;
        let created = self.root.create_link(&temporary, target.as_bytes());
        created.map_err(|error| self.unwritable(path, error))?;
        Ok(temporary)
    }

    /// Moves a temporary entry to `path` if the entry there is the expected one; otherwise,
    /// and on an error, the temporary one stays.
    pub(super) fn replace(
        &self,
        temporary: &RelativePath,
        path: &RelativePath,
        expected: Option<&Node>,
    ) -> Result<Replaced, SyncError> {
        match expected {
            None => self.move_to_free(temporary, path),
            Some(expected) => self.exchange(temporary, path, expected),
        }
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
            Err(error) => {
                drop(self.root.remove_file(temporary));
                Err(self.unwritable(path, error))
            }
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

    /// Moves what was at a path back there; if the path is taken, beside it.
    fn put_back(&self, temporary: &RelativePath, path: &RelativePath) -> Result<(), SyncError> {
        let Err(error) = self.root.rename_to_free(temporary, path) else { return Ok(()) };
        let beside = conflict_path(path).ok_or_else(|| self.unwritable(path, error))?;
        self.root.rename(temporary, &beside).map_err(|error| self.unwritable(&beside, error))
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
        let number = self.temporaries.get();
        self.temporaries.set(number.wrapping_add(1));
        let name = temporary_name(number);
        let (parent, _) = path.split();
        let parent = parent.map(|parent| [parent, b"/"].concat()).unwrap_or_default();
        let temporary = RelativePath::new(&[parent.as_slice(), name.as_bytes()].concat())
            .map_err(|_| self.unwritable(path, io::ErrorKind::InvalidFilename.into()))?;
        // One of an earlier process with this id.
        self.root.remove_file(&temporary).map_err(|error| self.unwritable(path, error))?;
        Ok(temporary)
    }
}

/// Whether a file system cannot rename in this way.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    fn files() -> (tempfile::TempDir, LocalFiles) {
        let disk = tempfile::tempdir().unwrap();
        let files = LocalFiles::new(RootDirectory::open(disk.path()).unwrap());
        (disk, files)
    }

    fn temporary(files: &LocalFiles, name: &str, content: &str) -> RelativePath {
        files
            .write_temporary(&path(name), FileMode::REGULAR, |file| {
                file.write_all(content.as_bytes()).unwrap();
                Ok(())
            })
            .unwrap()
    }

    fn names(disk: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(disk.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_edit_after_the_decision_is_not_replaced() {
        let (disk, files) = files();
        let at = disk.path().join("a");
        std::fs::write(&at, "sent").unwrap();
        let expected = files.entry(&path("a")).unwrap();
        let first = temporary(&files, "a", "run");
        std::fs::write(&at, "edit").unwrap();
        assert_eq!(files.replace(&first, &path("a"), expected.as_ref()).unwrap(), Replaced::Edited);
        assert_eq!(std::fs::read_to_string(&at).unwrap(), "edit");
        std::fs::write(&at, "sent").unwrap();
        let replaced = files.replace(&first, &path("a"), expected.as_ref()).unwrap();
        assert_eq!(replaced, Replaced::Expected);
        assert_eq!(std::fs::read_to_string(&at).unwrap(), "run");
        assert_eq!(names(&disk), ["a"]);
    }

    #[test]
    fn a_file_that_appeared_or_vanished_was_edited() {
        let (disk, files) = files();
        let appeared = temporary(&files, "a", "run");
        std::fs::write(disk.path().join("a"), "mine").unwrap();
        assert_eq!(files.replace(&appeared, &path("a"), None).unwrap(), Replaced::Edited);
        assert_eq!(std::fs::read_to_string(disk.path().join("a")).unwrap(), "mine");
        let expected = files.entry(&path("a")).unwrap();
        std::fs::remove_file(disk.path().join("a")).unwrap();
        let replaced = files.replace(&appeared, &path("a"), expected.as_ref()).unwrap();
        assert_eq!(replaced, Replaced::Edited);
        files.overwrite(&appeared, &path("a.from-burst")).unwrap();
        assert_eq!(names(&disk), ["a.from-burst"]);
    }

    #[test]
    fn what_cannot_be_read_stays_where_it_is() {
        let (disk, files) = files();
        let at = disk.path().join("a");
        std::fs::write(&at, "sent").unwrap();
        let expected = files.entry(&path("a")).unwrap();
        let first = temporary(&files, "a", "run");
        std::fs::remove_file(&at).unwrap();
        let pipe = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &at, rustix::fs::FileType::Fifo, pipe, 0).unwrap();
        assert_eq!(files.replace(&first, &path("a"), expected.as_ref()).unwrap(), Replaced::Edited);
        assert_eq!(files.remove(&path("a"), &expected.unwrap()).unwrap(), Replaced::Edited);
        use std::os::unix::fs::FileTypeExt;
        assert!(std::fs::metadata(&at).unwrap().file_type().is_fifo());
        files.overwrite(&first, &path("a.from-burst")).unwrap();
        assert_eq!(names(&disk), ["a", "a.from-burst"]);
    }

    #[test]
    fn only_the_expected_file_is_removed() {
        let (disk, files) = files();
        std::fs::write(disk.path().join("a"), "sent").unwrap();
        let expected = files.entry(&path("a")).unwrap().unwrap();
        std::fs::write(disk.path().join("a"), "edit").unwrap();
        assert_eq!(files.remove(&path("a"), &expected).unwrap(), Replaced::Edited);
        assert_eq!(std::fs::read_to_string(disk.path().join("a")).unwrap(), "edit");
        std::fs::write(disk.path().join("a"), "sent").unwrap();
        assert_eq!(files.remove(&path("a"), &expected).unwrap(), Replaced::Expected);
        assert_eq!(files.remove(&path("a"), &expected).unwrap(), Replaced::Expected);
        assert_eq!(names(&disk), [""; 0]);
    }
}
