//! Open directories that builds have written.
//!
//! Invariant: no operation follows a symbolic link below the directory that was opened first.
//! Every name is a single one, looked up in an open directory without following a link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_sync::clock::Moment;
use burst_sync::root_directory::{inode_changed, is_directory, modified};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

/// How deep directories may be nested. Each level takes a file descriptor.
const DEPTH_MAX: usize = 256;

/// What an owner needs to list a directory and to remove its entries.
const OWNER_ALL: u32 = 0o700;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    depth: usize,
}

/// A name in a directory, and what it was when it was listed.
#[derive(Debug)]
pub(super) struct Entry {
    name: Vec<u8>,
    status: Stat,
}

impl Entry {
    /// The name.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether it is a directory; a link to one is not.
    pub(super) fn is_directory(&self) -> bool {
        is_directory(&self.status)
    }

    /// When its content or its inode changed last. The latter no program can set back, as
    /// archives do with the times of the files that are unpacked.
    pub(super) fn changed(&self) -> Moment {
        modified(&self.status).max(inode_changed(&self.status))
    }
}

impl Directory {
    /// Opens a directory; none if there is no directory of this name. Links above it are
    /// followed, one in its place is not.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let opened = rustix::fs::open(path, OPEN_FLAGS, Mode::empty());
        Ok(found(opened)?.map(|fd| Self { fd, depth: 0 }))
    }

    /// Opens a directory in this one; none if the entry is no directory.
    pub(super) fn below(&self, entry: &Entry) -> io::Result<Option<Self>> {
        if !entry.is_directory() {
            return Ok(None);
        }
        if self.depth >= DEPTH_MAX {
            return Err(io::Error::other("directories are nested too deeply"));
        }
        let name = OsStr::from_bytes(&entry.name);
        if entry.status.st_mode & OWNER_ALL != OWNER_ALL {
            // No run uses the project, so the entry still is the directory that was listed.
            let mode = Mode::from_raw_mode(entry.status.st_mode | OWNER_ALL);
            rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty())?;
        }
        let opened = rustix::fs::openat(&self.fd, name, OPEN_FLAGS, Mode::empty());
        Ok(found(opened)?.map(|fd| Self { fd, depth: self.depth + 1 }))
    }

    /// The directory of this name in this one, if there is one.
    pub(super) fn named(&self, name: &str) -> io::Result<Option<Self>> {
        match self.entry(name.as_bytes())? {
            Some(entry) => self.below(&entry),
            None => Ok(None),
        }
    }

    /// All entries.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for listed in Dir::read_from(self.fd.as_fd())? {
            let listed = listed?;
            let name = listed.file_name().to_bytes();
            if name != b"." && name != b".." {
                entries.extend(self.entry(name)?);
            }
        }
        Ok(entries)
    }

    /// Removes an entry, a directory with everything below it.
    pub(super) fn remove(&self, entry: &Entry) -> io::Result<()> {
        let mut flags = AtFlags::empty();
        if let Some(below) = self.below(entry)? {
            below.entries()?.iter().try_for_each(|entry| below.remove(entry))?;
            flags = AtFlags::REMOVEDIR;
        }
        Ok(rustix::fs::unlinkat(&self.fd, OsStr::from_bytes(&entry.name), flags)?)
    }

    fn entry(&self, name: &[u8]) -> io::Result<Option<Entry>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let status = rustix::fs::statat(&self.fd, OsStr::from_bytes(name), flags);
        Ok(found(status)?.map(|status| Entry { name: name.to_vec(), status }))
    }
}

const OPEN_FLAGS: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// None if there is nothing of this name, or if it is no directory.
fn found<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn open(path: &Path) -> Directory {
        Directory::open(path).unwrap().unwrap()
    }

    #[test]
    fn directories_that_are_nested_too_deeply_are_an_error() {
        let disk = tempfile::tempdir().unwrap();
        let deepest = disk.path().join("d/".repeat(DEPTH_MAX));
        fs::create_dir_all(&deepest).unwrap();
        let directory = open(disk.path());
        let top = directory.entry(b"d").unwrap().unwrap();
        fs::create_dir(deepest.join("d")).unwrap();
        let error = directory.remove(&top).unwrap_err();
        assert_eq!(error.to_string(), "directories are nested too deeply");
        fs::remove_dir(deepest.join("d")).unwrap();
        directory.remove(&top).unwrap();
        assert!(directory.entries().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_directory_is_not_opened() {
        let disk = tempfile::tempdir().unwrap();
        fs::write(disk.path().join("file"), "").unwrap();
        symlink("/usr", disk.path().join("link")).unwrap();
        let directory = open(disk.path());
        for name in ["file", "link", "missing"] {
            assert!(Directory::open(&disk.path().join(name)).unwrap().is_none(), "{name}");
            assert!(directory.named(name).unwrap().is_none(), "{name}");
        }
        let long = "n".repeat(256);
        assert!(Directory::open(&disk.path().join(&long)).is_err());
        assert!(directory.named(&long).is_err());
    }

    /// A repair that is cut off is repeated: it must not change the times of what stays.
    #[test]
    fn a_directory_with_all_rights_is_opened_as_it_is() {
        let disk = tempfile::tempdir().unwrap();
        fs::create_dir(disk.path().join("d")).unwrap();
        let directory = open(disk.path());
        let before = directory.entry(b"d").unwrap().unwrap();
        while Moment::coarse_now() <= before.changed() {
            std::thread::yield_now();
        }
        directory.below(&before).unwrap().unwrap();
        assert_eq!(directory.entry(b"d").unwrap().unwrap().changed(), before.changed());
    }
}
