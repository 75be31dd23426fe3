//! The mark in a project's directory while runs write to its disk.
//!
//! The mark is a file whose modification time is the time from which on files are suspect,
//! and whose content is the boot in which it was made. It is made before a run begins, and
//! recorded by the file system before everything that the run writes, as all operations on
//! directories are; it is forced to the disk while the run starts. A mark without content
//! counts as one of another boot.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use burst_sync::clock::Moment;
use burst_sync::root_directory::modified;
use rustix::fs::{AtFlags, Mode, OFlags, Timestamps};
use rustix::io::Errno;

use crate::boot_id::{is_same_boot, this_boot};

/// The mark's name.
const NAME: &str = "running";

/// Bytes of a boot's identity that are read.
const BOOT_BYTES_MAX: u64 = 64;

/// A mark that is set.
#[derive(Debug)]
pub(super) struct Mark {
    /// The project's directory.
    directory: OwnedFd,
    file: File,
}

impl Mark {
    /// Sets the mark of a project. If it is set already, it stays as it is, but is not later
    /// than `now`.
    pub(super) fn set(project: &Path, now: Moment) -> io::Result<Self> {
        let directory = open_project(project)?;
        match rustix::fs::openat(&directory, NAME, CREATE_FLAGS, Mode::from_raw_mode(0o600)) {
            Ok(created) => {
                File::from(created).write_all(&this_boot())?;
                Self::open(directory)
            }
            Err(Errno::EXIST) => {
                let mark = Self::open(directory)?;
                mark.lower(now)?;
                Ok(mark)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// The mark of a project, if there is one.
    pub(super) fn find(project: &Path) -> io::Result<Option<Self>> {
        match open_project(project).and_then(Self::open) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    fn open(directory: OwnedFd) -> io::Result<Self> {
        let file = rustix::fs::openat(&directory, NAME, OPEN_FLAGS, Mode::empty())?;
        Ok(Self { directory, file: file.into() })
    }

    /// The time from which on files are suspect.
    pub(super) fn since(&self) -> io::Result<Moment> {
        Ok(modified(&rustix::fs::fstat(&self.file)?))
    }

    /// Whether the kernel that set the mark has ended, or may have.
    pub(super) fn is_of_another_boot(&self) -> io::Result<bool> {
        let mut boot = Vec::new();
        (&self.file).take(BOOT_BYTES_MAX).read_to_end(&mut boot)?;
        Ok(!is_same_boot(&boot, &this_boot()))
    }

    /// Sets the mark back to `now` if it is later: the clock was set back, and what is
    /// written from now on has an earlier time than the mark had.
    pub(super) fn lower(&self, now: Moment) -> io::Result<()> {
        if now < self.since()? {
            let time = now.into();
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(&self.file, &times)?;
        }
        Ok(())
    }

    /// Forces the mark to the disk.
    pub(super) fn force(project: &Path) -> io::Result<()> {
        let Some(mark) = Self::find(project)? else { return Ok(()) };
        mark.file.sync_all()?;
        Ok(rustix::fs::fsync(&mark.directory)?)
    }

    /// Removes the mark. To be called after everything was written to the disk.
    pub(super) fn clear(self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, NAME, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Writes everything that is still in memory to the disk of a path.
pub(super) fn flush(place: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(place)?)?)
}

/// No link in the place of the mark is followed.
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

const CREATE_FLAGS: OFlags = FLAGS.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::WRONLY);

/// No device in the place of the mark is waited for.
const OPEN_FLAGS: OFlags = FLAGS.union(OFlags::RDWR).union(OFlags::NONBLOCK);

const PROJECT_FLAGS: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

fn open_project(project: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(project, PROJECT_FLAGS, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_missing_is_not_taken_for_written() {
        let disk = tempfile::tempdir().unwrap();
        flush(disk.path()).unwrap();
        let error = flush(&disk.path().join("missing")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
