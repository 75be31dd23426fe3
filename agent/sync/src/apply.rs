//! Application of changes to a tree on disk.
//!
//! Invariants:
//!
//! - The tree changes only after every blob is verified and in the [`BlobStore`].
//! - A file whose content does not change keeps its modification time, also if its mode
//!   changes. A file whose content changes gets the agent's stamp
//!   ([`crate::clock::stamp`]).
//! - Removals come first, entries before their directory. A file that is in no manifest,
//!   because a run created it, is replaced where a change needs its path, and kept in a
//!   directory that is removed.
//!
//! Not crash-safe: a process that dies here leaves a tree between two states. The caller
//! marks the tree beforehand and hashes all of it after a crash; see the `project` module
//! of `burst-agent`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::AsFd;

use burst_protocol::tree::{Change, Directory, Entry, File, Node};
use burst_protocol::{Digest, RelativePath};
use rustix::fs::{Mode, Timestamps, futimens};

use crate::blobs::{BlobSource, BlobStore};
use crate::clock::{Moment, stamp_after};
use crate::error::SyncError;
use crate::ignore_rules::cargo_reads;
use crate::pack::PACKED_BYTES_MAX;
use crate::root_directory::{RootDirectory, is_directory, modified};
use crate::stat_cache::{Cached, Signature, StatCache};

/// The result of [`apply`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Files, links and empty directories that were written.
    pub written: u64,
    /// Files, links and directories that were removed; a subtree counts as one.
    pub removed: u64,
    /// The latest modification time that was set.
    pub latest: Option<Moment>,
}

/// Fails with [`SyncError::WouldEmpty`] if `old` has source files and `new` has none.
/// Files that are sent regardless of the ignore rules ([`cargo_reads`]) do not count, so
/// that a pattern that excludes everything is detected. Neither do files at or below `apart`.
pub fn check_not_emptied(
    old: &Directory,
    new: &Directory,
    apart: &[RelativePath],
) -> Result<(), SyncError> {
    let files = count_sources(old, apart);
    if files > 0 && count_sources(new, apart) == 0 {
        return Err(SyncError::WouldEmpty { files });
    }
    Ok(())
}

fn count_sources(tree: &Directory, apart: &[RelativePath]) -> usize {
    let always: Vec<RelativePath> = cargo_reads().collect();
    let mut count = 0;
    tree.visit(&mut |path, node| {
        let is_source = matches!(node, Node::File(_))
            && !always.iter().any(|always| always.file_name() == path.file_name())
            && !apart.iter().any(|apart| path.is_within(apart));
        count += usize::from(is_source);
    });
    count
}

/// The digests and sizes in bytes of the blobs that `changes` need and that the store lacks.
fn absent_blobs(
    old: &Directory,
    changes: &[Change],
    store: &mut BlobStore,
) -> HashMap<Digest, u64> {
    let needed = changes.iter().filter_map(|change| content_needed(old, change));
    let absent = needed.filter(|file| !store.holds(&file.digest));
    absent.map(|file| (file.digest, file.size)).collect()
}

/// The digests of the blobs that `changes` need and that neither the store nor the tree has.
pub fn missing_blobs(old: &Directory, changes: &[Change], store: &mut BlobStore) -> Vec<Digest> {
    let mut missing = absent_blobs(old, changes, store);
    if !missing.is_empty() {
        old.visit(&mut |_, node| {
            if let Node::File(file) = node {
                missing.remove(&file.digest);
            }
        });
    }
    missing.into_keys().collect()
}

/// Copies the blobs that `changes` need and that only the old tree has into the store:
/// files that were renamed or copied. To be called before the tree changes.
pub fn keep_moved_blobs(
    handle: &RootDirectory,
    old: &Directory,
    changes: &[Change],
    store: &mut BlobStore,
) -> Result<(), SyncError> {
    let mut wanted = absent_blobs(old, changes, store);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut places = Vec::new();
    old.visit(&mut |path, node| {
        if let Node::File(file) = node
            && let Some(size) = wanted.remove(&file.digest)
        {
            places.push((path.clone(), file.digest, size));
        }
    });
    for (path, digest, size) in places {
        let mut file = handle.open_file(&path).map_err(|error| handle.unreadable(&path, error))?;
        let source = BlobSource { path: &handle.absolute(&path), digest, size, reader: &mut file };
        store.keep_file(source)?;
    }
    Ok(())
}

/// Applies the changes on disk. `stamp` is the modification time for files whose content
/// changes. Each written file is entered into the cache.
pub fn apply(
    handle: &RootDirectory,
    old: &Directory,
    changes: &[Change],
    store: &mut BlobStore,
    stamp: Moment,
    cache: &mut StatCache,
) -> Result<Applied, SyncError> {
    let mut uses: HashMap<Digest, u32> = HashMap::new();
    for file in changes.iter().filter_map(|change| content_needed(old, change)) {
        *uses.entry(file.digest).or_default() += 1;
    }
    store.packs.flush()?;
    let applied = Applied::default();
    let mut apply = Apply { handle, store, stamp, cache, uses, ensured: None, applied };
    for change in changes {
        if let Change::Remove { path } = change {
            apply.remove(path, old.get(path))?;
        }
    }
    for change in changes {
        if let Change::Put { path, entry } = change {
            apply.put(path, entry, old.get(path))?;
        }
    }
    Ok(apply.applied)
}

/// Renames an entry of the tree, and replaces what is at its new path.
pub fn rename(
    handle: &RootDirectory,
    from: &RelativePath,
    to: &RelativePath,
    cache: &mut StatCache,
) -> Result<(), SyncError> {
    let rename = || {
        handle.remove_all(to)?;
        if let Some(parent) = to.parent() {
            handle.create_directories(&parent, true)?;
        }
        handle.rename(from, to)
    };
    let renamed = rename();
    cache.remove(from.as_bytes());
    cache.remove(to.as_bytes());
    renamed.map_err(|source| handle.unwritable(to, source))
}

/// The file of a change that gives its path a new content.
fn content_needed<'a>(old: &Directory, change: &'a Change) -> Option<&'a File> {
    let Change::Put { path, entry: Entry::File(file) } = change else { return None };
    let unchanged = old.file(path).is_some_and(|old| old.digest == file.digest);
    (!unchanged).then_some(file)
}

struct Apply<'a> {
    handle: &'a RootDirectory,
    store: &'a mut BlobStore,
    stamp: Moment,
    cache: &'a mut StatCache,
    uses: HashMap<Digest, u32>,
    /// The parent directory that was created or checked last. Changes are sorted by
    /// directory, so it mostly is the parent of the next path too.
    ensured: Option<Vec<u8>>,
    applied: Applied,
}

impl Apply<'_> {
    /// Removes the files of the manifest at and below `path`, and the directories that
    /// this leaves empty.
    fn remove(&mut self, path: &RelativePath, old: Option<&Node>) -> Result<(), SyncError> {
        match old {
            Some(Node::Directory(directory)) => self.remove_below(path, directory)?,
            _ => self.remove_entry(path)?,
        }
        self.applied.removed += 1;
        Ok(())
    }

    fn remove_below(&mut self, path: &RelativePath, below: &Directory) -> Result<(), SyncError> {
        for (name, node) in below.entries() {
            let path = path
                .join(name)
                .map_err(|source| SyncError::Path { path: self.handle.absolute(path), source })?;
            match node {
                Node::Directory(directory) => self.remove_below(&path, directory)?,
                _ => self.remove_entry(&path)?,
            }
        }
        self.handle.remove_directory(path).map_err(|source| self.handle.unwritable(path, source))
    }

    fn remove_entry(&mut self, path: &RelativePath) -> Result<(), SyncError> {
        self.cache.remove(path.as_bytes());
        match self.handle.remove_file(path) {
            // A run has created something else there, which is kept.
            Err(error) if is_blocked(&error) => Ok(()),
            other => other.map_err(|source| self.handle.unwritable(path, source)),
        }
    }

    fn put(
        &mut self,
        path: &RelativePath,
        entry: &Entry,
        old: Option<&Node>,
    ) -> Result<(), SyncError> {
        let write = match (entry, old) {
            (Entry::File(new), Some(Node::File(old))) if new.digest == old.digest => {
                self.set_mode(path, new)
            }
            (Entry::File(file), _) => self.write_file(path, file),
            (Entry::Link(target), _) => {
                self.make_room(path).and_then(|_| self.handle.create_link(path, target.as_bytes()))
            }
            (Entry::Directory, _) => self.handle.create_directories(path, true),
        };
        self.applied.written += 1;
        write.map_err(|source| self.handle.unwritable(path, source))
    }

    fn set_mode(&mut self, path: &RelativePath, file: &File) -> io::Result<()> {
        self.handle.set_mode(path, file.mode.bits())?;
        let signature = Signature::of(&self.handle.status(path)?);
        let settled = Cached { signature, digest: file.digest, settled: true };
        self.cache.insert(path.as_bytes(), settled);
        Ok(())
    }

    fn write_file(&mut self, path: &RelativePath, file: &File) -> io::Result<()> {
        let previous = self.make_room(path)?;
        let written = if file.size > PACKED_BYTES_MAX {
            self.place_staged(path, file)?
        } else {
            let content = self.store.packs.get(&file.digest).ok_or(io::ErrorKind::NotFound)?;
            let mut created = self.handle.create_file(path, CREATED_MODE)?;
            created.write_all(&content)?;
            created
        };
        // Whatever the umask says.
        rustix::fs::fchmod(&written, Mode::from_raw_mode(file.mode.bits()))?;
        let stamp = stamp_after(self.stamp, previous);
        let times = Timestamps { last_access: stamp.into(), last_modification: stamp.into() };
        futimens(&written, &times)?;
        let signature = Signature::of(&rustix::fs::fstat(&written)?);
        // Settled: the run starts in a later tick, so its writes change the time.
        let cached = Cached { signature, digest: file.digest, settled: true };
        self.cache.insert(path.as_bytes(), cached);
        self.applied.latest = self.applied.latest.max(Some(stamp));
        Ok(())
    }

    /// Moves a large blob into the tree, or copies it if another change needs it too.
    fn place_staged(&mut self, path: &RelativePath, file: &File) -> io::Result<std::fs::File> {
        let staged = self.store.staged(&file.digest);
        let uses = self.uses.entry(file.digest).or_default();
        *uses = uses.saturating_sub(1);
        if *uses > 0 {
            let mut source = std::fs::File::open(&staged)?;
            let mut target = self.handle.create_file(path, CREATED_MODE)?;
            io::copy(&mut source, &mut target)?;
            return Ok(target);
        }
        let directory = staged.parent().ok_or(io::ErrorKind::NotFound)?;
        let name = file.digest.to_hex();
        let directory = std::fs::File::open(directory)?;
        self.handle.take_in(directory.as_fd(), name.as_bytes(), path)?;
        self.handle.open_file(path)
    }

    /// Removes the entry at `path` and creates the directories above it. Returns the
    /// modification time of the removed entry.
    fn make_room(&mut self, path: &RelativePath) -> io::Result<Option<Moment>> {
        self.cache.remove(path.as_bytes());
        let parent = path.split().0;
        if parent != self.ensured.as_deref() {
            if let Some(parent) = path.parent() {
                self.handle.create_directories(&parent, true)?;
            }
            self.ensured = parent.map(<[u8]>::to_vec);
        }
        let status = match self.handle.status(path) {
            Ok(status) => status,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if is_directory(&status) {
            self.ensured = None;
            self.handle.remove_all(path)?;
        } else {
            self.handle.remove_file(path)?;
        }
        Ok(Some(modified(&status)))
    }
}

/// The permission bits of a file until it is written.
const CREATED_MODE: u32 = 0o600;

fn is_blocked(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory)
        || matches!(error.raw_os_error(), Some(code) if code == rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(test)]
mod tests;
