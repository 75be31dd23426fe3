//! Disks that are full, or break: a file system in memory, where the user may mount one, and the
//! changes of all disks of the process, one of which may go wrong.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of one disk.
const DISK_BYTES: u64 = 64 << 20;

/// A disk.
#[derive(Clone, Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    /// Mounts a disk of this thread and the processes that it starts. Only root may.
    pub(super) fn mount(path: &Path) -> nix::Result<()> {
        use nix::mount::{MsFlags, mount};
        fs::create_dir_all(path).unwrap();
        let options = format!("size={DISK_BYTES}");
        mount(Some("disk"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
    }

    /// Unmounts the disk, on which nothing is open.
    pub(super) fn unmount(path: &Path) -> nix::Result<()> {
        nix::mount::umount(path)
    }

    /// The disk that is mounted here; `None` if nothing is.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let space = rustix::fs::statvfs(path).ok()?;
        (space.f_blocks * space.f_frsize == DISK_BYTES).then(|| Self(path.to_owned()))
    }

    /// Leaves so many bytes free.
    pub(super) fn fill(&self, free: u64) {
        let space = rustix::fs::statvfs(&self.0).unwrap();
        let excess = (space.f_bavail * space.f_frsize).saturating_sub(free);
        let file = File::create(self.filler()).unwrap();
        let mode = rustix::fs::FallocateFlags::empty();
        if excess > 0 {
            rustix::fs::fallocate(&file, mode, 0, excess).unwrap();
        }
    }

    /// Frees what was filled.
    pub(super) fn empty(&self) {
        drop(fs::remove_file(self.filler()));
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

/// What happens instead of a change of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails, as a broken disk lets it fail.
    Fails,
    /// The process is killed, and with it both ends.
    Kills,
}

/// How many changes go well until the next fault, and the fault; none if there is none.
static NEXT: Mutex<Option<(u64, Fault)>> = Mutex::new(None);

/// From now on a fault happens after so many changes, once.
pub(super) fn break_after(changes: Option<(u64, Fault)>) {
    *NEXT.lock().unwrap_or_else(PoisonError::into_inner) = changes;
}

/// Counts a change of a disk, and fails if it is to go wrong.
pub(super) fn change() -> io::Result<()> {
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *next {
        None => Ok(()),
        Some((left @ 1.., _)) => {
            *left -= 1;
            Ok(())
        }
        Some((0, fault)) => {
            let fault = *fault;
            *next = None;
            if fault == Fault::Kills {
                nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL).ok();
            }
            Err(io::Error::from_raw_os_error(nix::libc::EIO))
        }
    }
}
