//! The root directory of a tree, and all file operations below it.
//!
//! Invariant: no operation follows a symbolic link or leaves the tree. The kernel enforces
//! this (`openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`), so there is no race
//! between a check and its use. Paths are relative to the root: the limit on their length
//! does not depend on where the root lies.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burst_protocol::RelativePath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timestamps};
use rustix::io::Errno;

use crate::clock::Moment;
use crate::disk_change;
use crate::error::SyncError;

/// The root of a tree.
#[derive(Debug)]
pub struct RootDirectory {
    root: OwnedFd,
    /// The absolute path under which the user knows the root.
    known_as: Arc<Path>,
    /// The parent directory that was opened last: operations mostly come sorted by directory.
    recent: Mutex<Option<(Vec<u8>, Arc<OwnedFd>)>>,
}

impl RootDirectory {
    /// Opens an existing directory that the user knows by this absolute path. Symbolic
    /// links above and at `path` are followed: the invariant begins below the root.
    pub fn open(path: &Path) -> Result<Self, SyncError> {
        Self::open_as(path, path)
    }

    /// Opens the directory `path` that the user knows as `known_as`, an absolute path:
    /// on an agent, the client's path of a directory that is stored elsewhere. Errors
    /// show paths below `known_as`.
    pub fn open_as(path: &Path, known_as: &Path) -> Result<Self, SyncError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| SyncError::Root { path: path.to_owned(), source: errno.into() })?;
        Ok(Self { root, known_as: known_as.into(), recent: Mutex::new(None) })
    }

    /// The directory at `path` as a root of its own.
    pub fn subdirectory(&self, path: &RelativePath) -> io::Result<Self> {
        self.subdirectory_as(path, &self.absolute(path))
    }

    /// The directory at `path`, which the user knows as `known_as`, as a root of its own.
    pub fn subdirectory_as(&self, path: &RelativePath, known_as: &Path) -> io::Result<Self> {
        let root = self.open_directory(path)?;
        Ok(Self { root, known_as: known_as.into(), recent: Mutex::new(None) })
    }

    /// The names of the directories in the root; links are none.
    pub fn directories(&self) -> io::Result<Vec<RelativePath>> {
        self.names_of(FileType::Directory)
    }

    /// The names of the regular files in the root; links are none.
    pub fn files(&self) -> io::Result<Vec<RelativePath>> {
        self.names_of(FileType::RegularFile)
    }

    /// The names of the entries in the root that are of one kind; others cannot be paths of ours.
    fn names_of(&self, kind: FileType) -> io::Result<Vec<RelativePath>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.root)? {
            let Ok(name) = RelativePath::new(entry?.file_name().to_bytes()) else { continue };
            let status = self.status(&name);
            if status.is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == kind) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// A handle to the same root for another thread. Each handle keeps its own cache of
    /// the directory that was used last, so that threads do not evict each other's.
    pub fn share(other: &Self) -> Result<Self, SyncError> {
        let known_as = other.known_as.clone();
        let root = rustix::io::dup(&other.root).map_err(|errno| SyncError::Root {
            path: known_as.to_path_buf(),
            source: errno.into(),
        })?;
        Ok(Self { root, known_as, recent: Mutex::new(None) })
    }

    /// The absolute path under which the user knows `path`.
    pub fn absolute(&self, path: &RelativePath) -> PathBuf {
        path.in_directory(&self.known_as)
    }

    /// The error for a file or directory of the tree that cannot be read.
    pub fn unreadable(&self, path: &RelativePath, source: io::Error) -> SyncError {
        SyncError::Read { path: self.absolute(path), source }
    }

    /// The error for a file or directory of the tree that cannot be written.
    pub fn unwritable(&self, path: &RelativePath, source: io::Error) -> SyncError {
        SyncError::Write { path: self.absolute(path), source }
    }

    /// As [`absolute`](Self::absolute), for bytes that may not be a valid path; empty
    /// for the root itself.
    pub(crate) fn absolute_of_bytes(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            return self.known_as.to_path_buf();
        }
        self.known_as.join(OsStr::from_bytes(path))
    }

    /// The root's file descriptor, to read its entries.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens the directory at `path`, to read its entries.
    pub fn open_directory(&self, path: &RelativePath) -> io::Result<OwnedFd> {
        self.open_beneath(path.as_bytes(), OFlags::DIRECTORY | OFlags::RDONLY)
    }

    /// Opens the regular file at `path` for reading. Fails for any other kind of file,
    /// without blocking on a pipe.
    pub fn open_file(&self, path: &RelativePath) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = std::fs::File::from(self.open_beneath(path.as_bytes(), flags)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Reads a whole file. Fails if it has more than `cap` bytes.
    pub fn read(&self, path: &RelativePath, cap: u64) -> io::Result<Vec<u8>> {
        let file = self.open_file(path)?;
        let size = file.metadata()?.len();
        if size > cap {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        file.take(cap + 1).read_to_end(&mut content)?;
        if content.len() as u64 > cap {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    }

    /// The status of the entry at `path`; for a symbolic link, that of the link itself.
    pub fn status(&self, path: &RelativePath) -> io::Result<Stat> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The target of the symbolic link at `path`.
    pub fn read_link(&self, path: &RelativePath) -> io::Result<Vec<u8>> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::readlinkat(&*parent, name, Vec::new())?.into_bytes())
    }

    /// Creates a file with these permission bits, less the umask. Fails if the path exists.
    pub fn create_file(&self, path: &RelativePath, mode: u32) -> io::Result<std::fs::File> {
        let (parent, name) = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        disk_change::begin()?;
        Ok(rustix::fs::openat(&*parent, name, flags, Mode::from_raw_mode(mode))?.into())
    }

    /// Creates a symbolic link. Fails if the path exists.
    pub fn create_link(&self, path: &RelativePath, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        disk_change::begin()?;
        Ok(rustix::fs::symlinkat(OsStr::from_bytes(target), &*parent, name)?)
    }

    /// Creates the directory at `path` and those above it. A file or link in one of these
    /// places is replaced if `replace` is true, and an error otherwise.
    pub fn create_directories(&self, path: &RelativePath, replace: bool) -> io::Result<()> {
        if self.status(path).is_ok_and(|status| is_directory(&status)) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.create_directories(&parent, replace)?;
        }
        let (parent, name) = self.parent(path)?;
        disk_change::begin()?;
        match rustix::fs::mkdirat(&*parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match self.status(path) {
                Ok(status) if is_directory(&status) => Ok(()),
                _ if replace => {
                    rustix::fs::unlinkat(&*parent, name, AtFlags::empty())?;
                    Ok(rustix::fs::mkdirat(&*parent, name, Mode::from_raw_mode(0o777))?)
                }
                _ => Err(io::ErrorKind::NotADirectory.into()),
            },
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a file or symbolic link. Succeeds if the path does not exist.
    pub fn remove_file(&self, path: &RelativePath) -> io::Result<()> {
        let (parent, name) = match self.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        disk_change::begin()?;
        match rustix::fs::unlinkat(&*parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a directory if it is empty; otherwise it stays. Succeeds if the path does not
    /// exist.
    pub fn remove_directory(&self, path: &RelativePath) -> io::Result<()> {
        self.forget_recent();
        let (parent, name) = match self.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        disk_change::begin()?;
        match rustix::fs::unlinkat(&*parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the entry at `path` and everything below it. Succeeds if it does not exist.
    pub fn remove_all(&self, path: &RelativePath) -> io::Result<()> {
        match self.status(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(status) if !is_directory(&status) => return self.remove_file(path),
            Ok(_) => {}
        }
        let directory = rustix::fs::Dir::new(self.open_directory(path)?)?;
        for entry in directory {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let name = RelativePath::new(name).map_err(io::Error::other)?;
            self.remove_all(&path.join_path(&name).map_err(io::Error::other)?)?;
        }
        self.remove_directory(path)
    }

    /// Renames within the tree; replaces a file at `to`.
    pub fn rename(&self, from: &RelativePath, to: &RelativePath) -> io::Result<()> {
        self.rename_with(from, to, RenameFlags::empty())
    }

    /// Renames within the tree. Fails with [`io::ErrorKind::AlreadyExists`] if there is an
    /// entry at `to`.
    pub fn rename_to_free(&self, from: &RelativePath, to: &RelativePath) -> io::Result<()> {
        self.rename_with(from, to, RenameFlags::NOREPLACE)
    }

    /// Exchanges two entries of the tree. Fails with [`io::ErrorKind::InvalidInput`] or
    /// [`io::ErrorKind::Unsupported`] on file systems that cannot do this.
    pub fn exchange(&self, one: &RelativePath, other: &RelativePath) -> io::Result<()> {
        self.rename_with(one, other, RenameFlags::EXCHANGE)
    }

    fn rename_with(
        &self,
        from: &RelativePath,
        to: &RelativePath,
        flags: RenameFlags,
    ) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        // A directory that moves is no longer the parent of what its old path names.
        self.forget_recent();
        disk_change::begin()?;
        Ok(rustix::fs::renameat_with(&*from_parent, from_name, &*to_parent, to_name, flags)?)
    }

    /// Moves the file `from_name` of the directory `from`, which must be on the same file
    /// system, into the tree; replaces a file at `to`.
    pub fn take_in(
        &self,
        from: BorrowedFd<'_>,
        from_name: &[u8],
        to: &RelativePath,
    ) -> io::Result<()> {
        let (parent, name) = self.parent(to)?;
        disk_change::begin()?;
        Ok(rustix::fs::renameat(from, OsStr::from_bytes(from_name), &*parent, name)?)
    }

    /// Sets the modification time of a file.
    pub fn set_modified(&self, path: &RelativePath, modified: Moment) -> io::Result<()> {
        let file = self.open_file(path)?;
        let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: omit, last_modification: modified.into() };
        Ok(rustix::fs::futimens(&file, &times)?)
    }

    /// Sets the permission bits of a regular file.
    pub fn set_mode(&self, path: &RelativePath, mode: u32) -> io::Result<()> {
        let file = self.open_file(path)?;
        disk_change::begin()?;
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
    }

    /// Opens the parent directory of `path`; returns it with the last name.
    fn parent<'a>(&self, path: &'a RelativePath) -> io::Result<(Arc<OwnedFd>, &'a OsStr)> {
        let (parent, name) = path.split();
        let parent = parent.unwrap_or(b".");
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, fd)) = recent.as_ref()
            && held == parent
        {
            return Ok((fd.clone(), OsStr::from_bytes(name)));
        }
        let fd = self.open_beneath(parent, OFlags::DIRECTORY | OFlags::PATH)?;
        let fd = Arc::new(fd);
        *recent = Some((parent.to_vec(), fd.clone()));
        Ok((fd, OsStr::from_bytes(name)))
    }

    fn forget_recent(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = OsStr::from_bytes(path);
        Ok(rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }
}

/// Whether a status describes a directory.
pub fn is_directory(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

/// The time of a status at which the inode changed last.
pub fn inode_changed(status: &Stat) -> Moment {
    Moment {
        seconds: status.st_ctime,
        nanoseconds: u32::try_from(status.st_ctime_nsec).unwrap_or_default(),
    }
}

/// The modification time of a status.
pub fn modified(status: &Stat) -> Moment {
    Moment {
        seconds: status.st_mtime,
        nanoseconds: u32::try_from(status.st_mtime_nsec).unwrap_or_default(),
    }
}
