//! A disk that can be full: a file system in memory, where the user may mount one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

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
