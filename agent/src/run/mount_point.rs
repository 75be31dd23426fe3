//! Mount points of a run: found or created, and opened, so that the mount is made at exactly
//! what was looked at.
//!
//! A build can write below the mounts of its project, also between runs. Invariants: below a
//! mount no link is followed, and what is created there is created with the rights of the
//! build user. Links of the machine's own file system, which a build cannot place, are
//! followed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::file_rights;

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Finds and creates the mount points of one run.
#[derive(Debug)]
pub(super) struct MountPoints {
    /// Where mounts of the project are.
    mounted: Vec<PathBuf>,
    /// The user and group that own what is created below them; none if this process's own do.
    owner: Option<(u32, u32)>,
    /// Empty files at which something is mounted.
    files: Vec<EmptyFile>,
}

/// A mount point that is an empty file.
#[derive(Debug)]
struct EmptyFile {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    /// Locked as long as this run uses it.
    lock: OwnedFd,
}

impl MountPoints {
    /// Before the first mount.
    pub(super) const fn new(owner: Option<(u32, u32)>) -> Self {
        Self { mounted: Vec::new(), owner, files: Vec::new() }
    }

    /// From now on a build can write below `path`.
    pub(super) fn add(&mut self, path: PathBuf) {
        self.mounted.push(path);
    }

    /// Opens the mount point at an absolute path, created if it does not exist. Below a
    /// mount, whatever is of another kind than it is replaced, unless that is a directory
    /// with entries.
    pub(super) fn open(&mut self, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
        let names: Vec<&OsStr> = path
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        let mut at = PathBuf::from("/");
        let mut directory = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
        for (index, name) in names.iter().enumerate() {
            let kind = if index + 1 == names.len() { kind } else { Kind::Directory };
            let is_last = index + 1 == names.len();
            directory = if self.mounted.iter().any(|mount| at.starts_with(mount)) {
                match kind {
                    Kind::File => self.open_file(directory, name, path)?,
                    Kind::Directory => self
                        .as_owner(|| open_without_links(directory.as_fd(), name, kind, is_last))?,
                }
            } else {
                open_on_machine(directory.as_fd(), name, kind)?
            };
            at.push(name);
        }
        Ok(directory)
    }

    /// Opens a mount point that is a file; notes it if it is empty.
    fn open_file(&mut self, directory: OwnedFd, name: &OsStr, path: &Path) -> io::Result<OwnedFd> {
        loop {
            let (found, lock) = self.as_owner(|| {
                let found = open_without_links(directory.as_fd(), name, Kind::File, true)?;
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let lock = rustix::fs::openat(&directory, name, flags, Mode::empty());
                Ok::<_, io::Error>((found, lock))
            })?;
            // What another process has removed or replaced meanwhile is looked for again; what
            // the owner may not read is no empty file of ours.
            let lock = match lock {
                Err(Errno::NOENT | Errno::LOOP) => continue,
                Err(_) => return Ok(found),
                Ok(lock) => lock,
            };
            if rustix::fs::fstat(&lock)?.st_size > 0 {
                return Ok(found);
            }
            rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockShared))?;
            if rustix::fs::fstat(&found)?.st_nlink > 0 {
                let (name, path) = (name.to_owned(), path.to_owned());
                self.files.push(EmptyFile { directory, name, path, lock });
                return Ok(found);
            }
        }
    }

    /// Whether something is mounted at an empty file.
    pub(super) const fn has_empty_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Removes the empty files at which this run alone has something mounted, after its processes
    /// have ended. One that cannot be removed stays.
    pub(super) fn remove_empty_files(&mut self) {
        for EmptyFile { directory, name, path, lock } in std::mem::take(&mut self.files) {
            if umount2(&path, MntFlags::MNT_DETACH).is_err() {
                continue;
            }
            let is_last =
                rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            let is_empty = rustix::fs::fstat(&lock).is_ok_and(|status| status.st_size == 0);
            if is_last && is_empty {
                self.as_owner(|| rustix::fs::unlinkat(&directory, &name, AtFlags::empty())).ok();
            }
        }
    }

    /// Does something with the file rights of the owner.
    fn as_owner<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.owner {
            Some(owner) => file_rights::with(owner, work),
            None => work(),
        }
    }
}

/// A directory that is only walked through.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A file that is only mounted.
const FILE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Opens the file or directory at `path` below `root`, without a link on the way, for a bind
/// mount of it.
pub(super) fn open_source(root: &Path, path: &Path) -> io::Result<(OwnedFd, Kind)> {
    let mut found = rustix::fs::open(root, FILE, Mode::empty())?;
    if !path.as_os_str().is_empty() {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        found = rustix::fs::openat2(&found, path, FILE, Mode::empty(), resolve)?;
    }
    let kind = if is_directory(found.as_fd())? { Kind::Directory } else { Kind::File };
    Ok((found, kind))
}

/// The path by which a mount system call reaches exactly this file.
pub(super) fn path_of(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn open_on_machine(at: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
    let open = || match kind {
        Kind::Directory => rustix::fs::openat(at, name, DIRECTORY, Mode::empty()),
        Kind::File => rustix::fs::openat(at, name, FILE, Mode::empty()),
    };
    match open() {
        Err(Errno::NOENT) => {
            create(at, name, kind)?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

fn open_without_links(
    at: BorrowedFd<'_>,
    name: &OsStr,
    kind: Kind,
    is_last: bool,
) -> io::Result<OwnedFd> {
    let found = match open_nofollow(at, name) {
        Err(Errno::NOENT) => None,
        other => Some(other?),
    };
    if let Some(found) = found {
        let status = rustix::fs::fstat(&found)?;
        let there = FileType::from_raw_mode(status.st_mode);
        match (kind, there) {
            (Kind::Directory, FileType::Directory) => return Ok(found),
            (Kind::File, FileType::RegularFile) => return Ok(found),
            _ if !is_last => {
                let text = format!("`{}` on the way is not a directory", name.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
            }
            (Kind::File, FileType::Directory) => {
                rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?;
            }
            _ => rustix::fs::unlinkat(at, name, AtFlags::empty())?,
        }
    }
    create(at, name, kind)?;
    let created = open_nofollow(at, name)?;
    if is_directory(created.as_fd())? == (kind == Kind::Directory) {
        return Ok(created);
    }
    Err(io::Error::other("another process replaces the mount point"))
}

/// Opens an entry; a link itself, not its target.
fn open_nofollow(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, name, FILE | OFlags::NOFOLLOW, Mode::empty())
}

/// Creates an entry; fails if there is one, also if it is a link.
fn create(at: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> rustix::io::Result<()> {
    match kind {
        // Two runs of a project may create it at the same time.
        Kind::Directory => match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777)) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        },
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o666)).map(drop)
        }
    }
}

fn is_directory(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let status = rustix::fs::fstat(fd)?;
    Ok(FileType::from_raw_mode(status.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A directory in which everything counts as writable by builds.
    fn mounted() -> (tempfile::TempDir, MountPoints) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["tree", "elsewhere"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let mut points = MountPoints::new(None);
        points.add(directory.path().join("tree"));
        (directory, points)
    }

    #[test]
    fn a_link_on_the_way_is_refused_and_its_target_stays() {
        let (directory, mut points) = mounted();
        let (tree, elsewhere) = (directory.path().join("tree"), directory.path().join("elsewhere"));
        symlink(&elsewhere, tree.join("out")).unwrap();
        for kind in [Kind::Directory, Kind::File] {
            let error = points.open(&tree.join("out/target"), kind).unwrap_err();
            assert_eq!(error.to_string(), "`out` on the way is not a directory");
        }
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_a_mount_point_is_replaced() {
        let (directory, mut points) = mounted();
        let (tree, elsewhere) = (directory.path().join("tree"), directory.path().join("elsewhere"));
        symlink(&elsewhere, tree.join("target")).unwrap();
        symlink(elsewhere.join("dangling"), tree.join("config.toml")).unwrap();
        points.open(&tree.join("target"), Kind::Directory).unwrap();
        points.open(&tree.join("config.toml"), Kind::File).unwrap();
        assert!(fs::symlink_metadata(tree.join("target")).unwrap().is_dir());
        assert!(fs::symlink_metadata(tree.join("config.toml")).unwrap().is_file());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_replaced_and_entries_are_kept() {
        let (directory, mut points) = mounted();
        let tree = directory.path().join("tree");
        fs::write(tree.join("target"), "a file").unwrap();
        points.open(&tree.join("target"), Kind::Directory).unwrap();
        fs::write(tree.join("target/kept"), "").unwrap();
        points.open(&tree.join("target"), Kind::Directory).unwrap();
        assert!(points.open(&tree.join("target"), Kind::File).is_err());
        assert!(tree.join("target/kept").exists());
    }

    #[test]
    fn what_is_created_belongs_to_the_build_user() {
        let (directory, mut points) = mounted();
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        const BUILD: u32 = 4321;
        let tree = directory.path().join("tree");
        std::os::unix::fs::chown(&tree, Some(BUILD), Some(BUILD)).unwrap();
        points.owner = Some((BUILD, BUILD));
        // Where the build user may not go, it gets nothing.
        fs::create_dir(tree.join("of-root")).unwrap();
        let error = points.open(&tree.join("of-root/target"), Kind::Directory).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        points.open(&tree.join("a/target"), Kind::Directory).unwrap();
        points.open(&tree.join("a/file"), Kind::File).unwrap();
        for created in ["a", "a/target", "a/file"] {
            let status = fs::metadata(tree.join(created)).unwrap();
            assert_eq!((status.uid(), status.gid()), (BUILD, BUILD), "{created}");
        }
        // Outside of the mounts it is this process's own.
        points.open(&directory.path().join("own/point"), Kind::Directory).unwrap();
        assert_eq!(fs::metadata(directory.path().join("own/point")).unwrap().uid(), 0);
    }

    #[test]
    fn a_source_is_found_below_its_root_only() {
        let (directory, _) = mounted();
        let tree = directory.path().join("tree");
        symlink(directory.path().join("elsewhere"), tree.join("lib")).unwrap();
        assert!(open_source(&tree, Path::new("lib")).is_err());
        assert!(open_source(&tree, Path::new("../elsewhere")).is_err());
        assert_eq!(open_source(&tree, Path::new("")).unwrap().1, Kind::Directory);
    }
}
