//! Scanning: from a directory on disk to its manifest.
//!
//! Invariants:
//!
//! - No symbolic link is followed.
//! - A file is hashed unless its entry in the [`StatCache`] is settled and unchanged.
//! - Sockets, pipes and devices are not part of the manifest; they are listed separately.
//! - A file that changes while it is read is read again, up to three times. Its last digest
//!   is then recorded as unsettled, so that the next scan reads it again.
//! - An entry that is of another kind when it is read than it was in its directory is
//!   [`SyncError::Changed`].
//!
//! A [`Filter`] selects the files. Files are hashed on all cores.

use std::collections::HashSet;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use burst_protocol::tree::{Directory, File, LinkTarget, Node};
use burst_protocol::{Digest, FileName, RelativePath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::clock::Moment;
use crate::error::SyncError;
use crate::root_directory::RootDirectory;
use crate::stat_cache::{Cached, Signature, StatCache};
use crate::tally::Tally;

/// Number of times that a changing file is read before its last digest is accepted.
const READS_MAX: u32 = 3;

/// Size in bytes of the buffer through which files are hashed.
const READ_BYTES: usize = 64 << 10;

/// Selects the entries that belong to a tree.
pub trait Filter {
    /// State that is passed down from a directory to its subdirectories.
    type Context: Clone;

    /// The context of the root.
    fn root(&self) -> Self::Context;

    /// The context of a directory that has these names; `None` excludes the directory.
    /// `context` is the one of its parent, and `path` is `None` for the root.
    fn enter(
        &self,
        path: Option<&RelativePath>,
        names: &HashSet<&[u8]>,
        context: &Self::Context,
    ) -> Option<Self::Context>;

    /// Whether to exclude an entry of a directory with this context.
    fn skips(&self, path: &RelativePath, is_directory: bool, context: &Self::Context) -> bool;

    /// Whether a directory that is excluded is there all the same, without what is in it.
    fn keeps_empty(&self, _path: &RelativePath, _context: &Self::Context) -> bool {
        false
    }

    /// What stands for an entry that cannot be read: a node, or nothing. There is no path if
    /// it is not valid. By default the scan fails with the error.
    fn unreadable(
        &self,
        _path: Option<&RelativePath>,
        error: SyncError,
    ) -> Result<Option<Node>, SyncError> {
        Err(error)
    }
}

/// A filter that excludes only the given paths.
#[derive(Debug, Default)]
pub struct AllBut(pub HashSet<RelativePath>);

impl Filter for AllBut {
    type Context = ();

    fn root(&self) {}

    fn enter(&self, _: Option<&RelativePath>, _: &HashSet<&[u8]>, (): &()) -> Option<()> {
        Some(())
    }

    fn skips(&self, path: &RelativePath, _: bool, (): &()) -> bool {
        !self.0.is_empty() && self.0.contains(path)
    }
}

/// The result of a scan.
#[derive(Debug)]
pub struct Scan {
    /// The manifest.
    pub tree: Directory,
    /// Number of files that were read.
    pub hashed: usize,
    /// The sockets, pipes and devices, which a manifest cannot contain.
    pub special: Vec<RelativePath>,
}

/// Scans the tree below `handle`. `now` is the time at which the scan begins, by
/// the clock of the file system. `prefix` stands before each path in the cache. The
/// cache is brought up to date; [`StatCache::forget_unseen`] then removes the files
/// that the scan did not find. `tally` counts the files that are found, and the bytes that
/// are hashed.
pub fn scan<F: Filter>(
    handle: &RootDirectory,
    prefix: Option<&RelativePath>,
    filter: &F,
    cache: &mut StatCache,
    now: Moment,
    tally: &Tally,
) -> Result<Scan, SyncError> {
    cache.begin_scan();
    scan_further(handle, prefix, filter, cache, now, tally)
}

/// As [`scan`], for a directory in the tree of the last scan: what that has found stays in the
/// cache.
pub fn scan_further<F: Filter>(
    handle: &RootDirectory,
    prefix: Option<&RelativePath>,
    filter: &F,
    cache: &mut StatCache,
    now: Moment,
    tally: &Tally,
) -> Result<Scan, SyncError> {
    let root = rustix::io::dup(handle.root()).map_err(|errno| SyncError::Root {
        path: handle.absolute_of_bytes(b""),
        source: errno.into(),
    })?;
    let mut walk = Walk {
        handle,
        filter,
        cache,
        tally,
        path: prefix.map(|prefix| prefix.as_bytes().to_vec()).unwrap_or_default(),
        prefix_length: prefix.map_or(0, |prefix| prefix.as_bytes().len() + 1),
        unhashed: Vec::new(),
        special: Vec::new(),
    };
    let mut tree = walk.directory(root, None, &filter.root())?.unwrap_or_default();
    let Walk { unhashed, special, .. } = walk;
    let hashed = unhashed.len();
    hash_all((handle, filter, tally), prefix, unhashed, cache, now, &mut tree)?;
    Ok(Scan { tree, hashed, special })
}

/// Adds single paths to the tree of a scan that excluded them. Paths that do not exist,
/// and directories, are skipped.
pub fn add_paths<'a>(
    handle: &RootDirectory,
    prefix: Option<&RelativePath>,
    paths: impl IntoIterator<Item = &'a RelativePath>,
    cache: &mut StatCache,
    now: Moment,
    tree: &mut Directory,
) -> Result<(), SyncError> {
    for path in paths {
        if tree.get(path).is_some() {
            continue;
        }
        let Ok(status) = handle.status(path) else { continue };
        let node = match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => {
                let key = full_path(handle, prefix, path)?;
                let signature = Signature::of(&status);
                let digest = match cache.see(key.as_bytes(), &signature) {
                    Some(digest) => digest,
                    None => {
                        let cached = hash_file(handle, path, now).map_err(or_changed)?;
                        let Some(cached) = cached else { continue };
                        cache.insert(key.as_bytes(), cached);
                        cached.digest
                    }
                };
                Node::File(File { size: signature.size(), digest, mode: signature.mode() })
            }
            FileType::Symlink => match handle.read_link(path).map(|link| LinkTarget::new(&link)) {
                Ok(Ok(target)) => Node::Link(target),
                _ => continue,
            },
            _ => continue,
        };
        tree.put(path, node)?;
    }
    Ok(())
}

struct Walk<'a, F: Filter> {
    handle: &'a RootDirectory,
    filter: &'a F,
    cache: &'a mut StatCache,
    tally: &'a Tally,
    /// The current path, including the prefix.
    path: Vec<u8>,
    prefix_length: usize,
    unhashed: Vec<(RelativePath, Signature)>,
    special: Vec<RelativePath>,
}

struct Found {
    name: FileName,
    kind: FileType,
}

impl<F: Filter> Walk<'_, F> {
    fn directory(
        &mut self,
        fd: OwnedFd,
        path: Option<&RelativePath>,
        context: &F::Context,
    ) -> Result<Option<Directory>, SyncError> {
        let found = self.read_entries(fd.as_fd())?;
        let names = found.iter().map(|found| found.name.as_bytes()).collect();
        let Some(context) = self.filter.enter(path, &names, context) else { return Ok(None) };
        let mut entries = Vec::with_capacity(found.len());
        for Found { name, kind } in found {
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            let node = self.entry(fd.as_fd(), &name, kind, &context);
            self.path.truncate(length);
            if let Some(node) = node? {
                entries.push((name, node));
            }
        }
        Ok(Some(entries.into_iter().collect()))
    }

    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &FileName,
        kind: FileType,
        context: &F::Context,
    ) -> Result<Option<Node>, SyncError> {
        let valid = RelativePath::new(self.below_root())
            .and_then(|path| RelativePath::new(&self.path).map(|_| path));
        let path = match valid {
            Ok(path) => path,
            Err(source) => {
                let error = SyncError::Path { path: self.absolute(), source };
                return self.filter.unreadable(None, error);
            }
        };
        let is_directory = kind == FileType::Directory;
        if self.filter.skips(&path, is_directory, context) {
            let is_kept = is_directory && self.filter.keeps_empty(&path, context);
            return Ok(is_kept.then(|| Node::Directory(Directory::new())));
        }
        let found = self.readable_entry(parent, name, &path, kind, context);
        found.map_err(or_changed).or_else(|error| self.filter.unreadable(Some(&path), error))
    }

    fn readable_entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &FileName,
        path: &RelativePath,
        kind: FileType,
        context: &F::Context,
    ) -> Result<Option<Node>, SyncError> {
        match kind {
            FileType::Directory => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                match rustix::fs::openat(parent, name_of(name), flags, Mode::empty()) {
                    Ok(fd) => Ok(self.directory(fd, Some(path), context)?.map(Node::Directory)),
                    Err(Errno::NOENT) => Ok(None),
                    Err(errno) => Err(self.unreadable(errno)),
                }
            }
            FileType::Symlink => match rustix::fs::readlinkat(parent, name_of(name), Vec::new()) {
                Ok(target) => LinkTarget::new(target.as_bytes())
                    .map(Node::Link)
                    .map(Some)
                    .map_err(|source| SyncError::Path { path: self.absolute(), source }),
                Err(Errno::NOENT) => Ok(None),
                Err(errno) => Err(self.unreadable(errno)),
            },
            FileType::RegularFile => self.file(parent, name, path.clone()),
            _ => {
                self.special.push(path.clone());
                Ok(None)
            }
        }
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &FileName,
        path: RelativePath,
    ) -> Result<Option<Node>, SyncError> {
        let status = match rustix::fs::statat(parent, name_of(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.unreadable(errno)),
        };
        let signature = Signature::of(&status);
        let known = self.cache.see(&self.path, &signature);
        self.tally.file();
        if known.is_none() {
            self.tally.expect(0, signature.size());
            self.unhashed.push((path, signature));
        }
        Ok(Some(Node::File(File {
            size: signature.size(),
            digest: known.unwrap_or(Digest::from_bytes([0; 32])),
            mode: signature.mode(),
        })))
    }

    fn read_entries(&self, fd: BorrowedFd<'_>) -> Result<Vec<Found>, SyncError> {
        let mut found = Vec::new();
        let directory = rustix::fs::Dir::read_from(fd).map_err(|errno| self.unreadable(errno))?;
        for entry in directory {
            let entry = entry.map_err(|errno| self.unreadable(errno))?;
            let bytes = entry.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let name = FileName::new(bytes)
                .map_err(|source| SyncError::Path { path: self.absolute(), source })?;
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    match rustix::fs::statat(fd, name_of(&name), AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(status) => FileType::from_raw_mode(status.st_mode),
                        Err(_) => continue,
                    }
                }
                kind => kind,
            };
            found.push(Found { name, kind });
        }
        Ok(found)
    }

    /// The current path below the scanned root; empty for the root itself.
    fn below_root(&self) -> &[u8] {
        self.path.get(self.prefix_length..).unwrap_or_default()
    }

    fn absolute(&self) -> PathBuf {
        self.handle.absolute_of_bytes(self.below_root())
    }

    fn unreadable(&self, errno: Errno) -> SyncError {
        SyncError::Read { path: self.absolute(), source: errno.into() }
    }
}

/// Hashes files on all cores and enters them into the tree and the cache.
fn hash_all<F: Filter>(
    (handle, filter, tally): (&RootDirectory, &F, &Tally),
    prefix: Option<&RelativePath>,
    files: Vec<(RelativePath, Signature)>,
    cache: &mut StatCache,
    now: Moment,
    tree: &mut Directory,
) -> Result<(), SyncError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(files.len()));
    let work = || -> Result<(), SyncError> {
        let handle = RootDirectory::share(handle)?;
        let mut buffer = vec![0; READ_BYTES];
        while let Some((path, seen)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let key = full_path(&handle, prefix, path)?;
            let cached = hash_with(&handle, path, now, &mut buffer).map_err(or_changed);
            tally.bytes(seen.size());
            let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            results.push((path, key, cached));
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.min(files.len().div_ceil(16)).max(1);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut outcome = work();
        for other in others {
            let joined = other.join().unwrap_or(Err(SyncError::Gone));
            outcome = outcome.and(joined);
        }
        outcome
    })?;
    for (path, key, cached) in
        results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        let found = match cached {
            Ok(Some(cached)) => {
                cache.insert(key.as_bytes(), cached);
                tree.put(path, Node::File(file_of(&cached)))?;
                continue;
            }
            Ok(None) => None,
            Err(error) => filter.unreadable(Some(path), error)?,
        };
        cache.remove(key.as_bytes());
        tree.remove(path)?;
        if let Some(node) = found {
            tree.put(path, node)?;
        }
    }
    Ok(())
}

/// The error of an entry that is of another kind than it was: it has changed.
fn or_changed(error: SyncError) -> SyncError {
    match error {
        SyncError::Read { path, source } if is_of_other_kind(&source) => SyncError::Changed(path),
        error => error,
    }
}

/// Whether an entry cannot be opened, or read as a link, because another one of another kind is at
/// its path or at one above it.
pub fn is_of_other_kind(error: &io::Error) -> bool {
    const KINDS: [Errno; 4] = [Errno::NOTDIR, Errno::LOOP, Errno::NXIO, Errno::INVAL];
    match Errno::from_io_error(error) {
        Some(errno) => KINDS.contains(&errno),
        // What `RootDirectory` says of a file that is not a regular one.
        None => error.kind() == io::ErrorKind::InvalidInput,
    }
}

/// The manifest entry of a cached file.
pub fn file_of(cached: &Cached) -> File {
    File { size: cached.signature.size(), digest: cached.digest, mode: cached.signature.mode() }
}

/// Hashes a file, again if it changes meanwhile. `None` if it does not exist,
/// [`SyncError::Changed`] if its size keeps changing.
pub fn hash_file(
    handle: &RootDirectory,
    path: &RelativePath,
    now: Moment,
) -> Result<Option<Cached>, SyncError> {
    hash_with(handle, path, now, &mut vec![0; READ_BYTES])
}

fn hash_with(
    handle: &RootDirectory,
    path: &RelativePath,
    now: Moment,
    buffer: &mut [u8],
) -> Result<Option<Cached>, SyncError> {
    let unreadable = |source| handle.unreadable(path, source);
    let mut reads = 0;
    loop {
        let mut file = match handle.open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let before = rustix::fs::fstat(&file).map_err(|errno| unreadable(errno.into()))?;
        let mut hasher = blake3::Hasher::new();
        let read = copy_to_hasher(&mut file, &mut hasher, buffer).map_err(unreadable)?;
        let after = rustix::fs::fstat(&file).map_err(|errno| unreadable(errno.into()))?;
        let signature = Signature::of(&after);
        let stable = Signature::of(&before) == signature && read == signature.size();
        reads += 1;
        if stable || (reads >= READS_MAX && read == signature.size()) {
            let settled = stable && signature.settled(now);
            return Ok(Some(Cached { signature, digest: hasher.finalize().into(), settled }));
        }
        if reads >= READS_MAX {
            return Err(SyncError::Changed(handle.absolute(path)));
        }
    }
}

fn copy_to_hasher(
    reader: &mut impl Read,
    hasher: &mut blake3::Hasher,
    buffer: &mut [u8],
) -> io::Result<u64> {
    let mut total = 0;
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                total += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn full_path(
    handle: &RootDirectory,
    prefix: Option<&RelativePath>,
    path: &RelativePath,
) -> Result<RelativePath, SyncError> {
    let Some(prefix) = prefix else { return Ok(path.clone()) };
    prefix.join_path(path).map_err(|source| SyncError::Path { path: handle.absolute(path), source })
}

fn name_of(name: &FileName) -> &std::ffi::OsStr {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn scan_all(at: &std::path::Path, cache: &mut StatCache, now: Moment) -> Scan {
        let handle = RootDirectory::open(at).unwrap();
        scan(&handle, None, &AllBut::default(), cache, now, &Tally::default()).unwrap()
    }

    #[test]
    fn an_unchanged_tree_is_not_read_again() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("src")).unwrap();
        fs::write(tree.path().join("src/a"), "a").unwrap();
        symlink("/etc", tree.path().join("out")).unwrap();
        let mut cache = StatCache::default();
        let later = Moment::now().plus_seconds(100);
        let first = scan_all(tree.path(), &mut cache, later);
        assert_eq!(first.hashed, 1);
        let second = scan_all(tree.path(), &mut cache, later);
        assert_eq!(second.hashed, 0);
        assert_eq!(first.tree, second.tree);
        let out = RelativePath::new(b"out").unwrap();
        assert!(matches!(second.tree.get(&out), Some(Node::Link(_))));
        fs::remove_file(tree.path().join("src/a")).unwrap();
        scan_all(tree.path(), &mut cache, later);
        cache.forget_unseen(None);
        assert!(cache.is_empty());
    }

    #[test]
    fn a_file_written_in_the_tick_of_the_scan_is_read_again() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), "1").unwrap();
        let mut cache = StatCache::default();
        let now = Moment::coarse_now();
        scan_all(tree.path(), &mut cache, now);
        assert_eq!(scan_all(tree.path(), &mut cache, now).hashed, 1);
    }

    #[test]
    fn errors_show_the_path_that_the_user_knows() {
        let tree = tempfile::tempdir().unwrap();
        let handle = RootDirectory::open_as(tree.path(), std::path::Path::new("/home/me")).unwrap();
        let (prefix, mut cache) = (RelativePath::new(b"home/me").unwrap(), StatCache::default());
        let deep = b"x/".repeat(burst_protocol::limit::PATH_DEPTH_MAX - 2);
        let deep = std::ffi::OsStr::new(std::str::from_utf8(&deep).unwrap());
        fs::create_dir_all(tree.path().join(deep).join("y")).unwrap();
        let all = AllBut::default();
        let error =
            scan(&handle, Some(&prefix), &all, &mut cache, Moment::now(), &Tally::default())
                .unwrap_err();
        assert!(matches!(&error, SyncError::Path { path, .. } if path.starts_with("/home/me/x/x")));
        let directory = RelativePath::new(b"x").unwrap();
        let error = hash_file(&handle, &directory, Moment::now()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/home/me/x`");
    }

    /// Replaces an entry when a later one is looked at.
    struct Replacing<'a> {
        tree: &'a std::path::Path,
        at: &'a str,
        by: fn(&std::path::Path),
    }

    impl Filter for Replacing<'_> {
        type Context = ();

        fn root(&self) {}

        fn enter(&self, _: Option<&RelativePath>, _: &HashSet<&[u8]>, (): &()) -> Option<()> {
            Some(())
        }

        fn skips(&self, path: &RelativePath, _: bool, (): &()) -> bool {
            if path.as_bytes() == self.at.as_bytes() {
                let entry = self.tree.join("entry");
                drop(fs::remove_file(&entry).or_else(|_| fs::remove_dir_all(&entry)));
                (self.by)(&entry);
            }
            false
        }
    }

    #[test]
    fn an_entry_that_becomes_one_of_another_kind_has_changed() {
        let file = |path: &std::path::Path| fs::write(path, "x").unwrap();
        let directory = |path: &std::path::Path| fs::create_dir(path).unwrap();
        let link = |path: &std::path::Path| symlink("/etc", path).unwrap();
        let pipe = |path: &std::path::Path| {
            let kind = FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::RUSR, 0).unwrap();
        };
        type Make = fn(&std::path::Path);
        let cases: [(Make, &str, Make); 8] = [
            (directory, "entry", file),
            (directory, "entry", link),
            (directory, "entry", pipe),
            (link, "entry", file),
            (link, "entry", directory),
            // When it is hashed.
            (file, "other", link),
            (file, "other", directory),
            (file, "other", pipe),
        ];
        for (index, (before, at, after)) in cases.into_iter().enumerate() {
            let tree = tempfile::tempdir().unwrap();
            fs::write(tree.path().join("other"), "other").unwrap();
            before(&tree.path().join("entry"));
            let handle = RootDirectory::open(tree.path()).unwrap();
            let filter = Replacing { tree: tree.path(), at, by: after };
            let (mut cache, tally) = (StatCache::default(), Tally::default());
            let found = scan(&handle, None, &filter, &mut cache, Moment::now(), &tally);
            let error = found.map(|found| found.tree).unwrap_err();
            let is_entry = matches!(&error, SyncError::Changed(path) if path.ends_with("entry"));
            assert!(is_entry, "{index}: {error:?}");
        }
    }

    #[test]
    fn special_files_are_listed_separately() {
        let tree = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("s")).unwrap();
        let found = scan_all(tree.path(), &mut StatCache::default(), Moment::now());
        assert!(found.tree.is_empty());
        assert_eq!(found.special, [RelativePath::new(b"s").unwrap()]);
    }
}
