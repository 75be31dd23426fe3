//! The stat cache: digests of files by their status, so that a scan hashes only files that
//! may have changed.
//!
//! A cached digest is used only if inode, size, both times and mode are equal and the entry
//! is *settled*: its times were safely in the past when it was recorded. A file that is
//! modified in the same tick as the scan may have the same status before and after, so it
//! is hashed again (git's racy rule). The inode change time is compared because no program
//! can set it: restoring an old modification time does not hide an edit.
//!
//! # Format
//!
//! A cache is saved as a record, the format of all files that [`write_record`] writes:
//!
//! ```text
//! record = "BURSTRC" version (1 byte)  blake3 digest of the body (32)  body
//! body   = a value in the encoding of burst_protocol::codec
//! ```
//!
//! The body of a stat cache is a list of path and [`Cached`]. Records of another version
//! and damaged records count as missing.
//!
//! | version | change |
//! |---|---|
//! | 1 | The first version. |

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;

use burst_protocol::codec::{decode_record, encode_record};
use burst_protocol::limit::RECORD_BYTES_MAX;
use burst_protocol::tree::FileMode;
use burst_protocol::{Digest, RelativePath};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::disk_change;
use crate::error::SyncError;

/// Seconds by which the times of a file must precede a scan for its entry to be settled:
/// the coarsest resolution of file times, that of FAT.
pub const RACY_SECS: i64 = 2;

/// The part of a file's status that reveals changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    inode: u64,
    size: u64,
    modified: Moment,
    changed: Moment,
    mode: u32,
}

impl Signature {
    /// Extracts the signature from a status.
    pub fn of(status: &Stat) -> Self {
        Self {
            inode: status.st_ino,
            size: u64::try_from(status.st_size).unwrap_or_default(),
            modified: crate::root_directory::modified(status),
            changed: crate::root_directory::inode_changed(status),
            mode: status.st_mode,
        }
    }

    /// The size of the file in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// When the file was last modified.
    pub const fn modified(&self) -> Moment {
        self.modified
    }

    /// The permission bits.
    pub const fn mode(&self) -> FileMode {
        FileMode::of(self.mode)
    }

    /// Whether any change after `now` gives the file another signature.
    pub fn settled(&self, now: Moment) -> bool {
        self.changed.plus_seconds(RACY_SECS) < now && self.modified.plus_seconds(RACY_SECS) < now
    }
}

/// The cache entry of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// The signature when the file was hashed.
    pub signature: Signature,
    /// The digest of the content.
    pub digest: Digest,
    /// Whether an equal signature implies an equal content.
    pub settled: bool,
}

/// The cache: entries of files by path.
#[derive(Debug, Default)]
pub struct StatCache {
    files: HashMap<Box<[u8]>, Remembered>,
    changed: bool,
}

#[derive(Debug)]
struct Remembered {
    cached: Cached,
    /// Whether the current scan has found the file.
    seen: bool,
}

impl StatCache {
    /// The digest of a file, if the cache proves that it has not changed.
    pub fn lookup(&self, path: &[u8], signature: &Signature) -> Option<Digest> {
        let Remembered { cached, .. } = self.files.get(path)?;
        (cached.settled && cached.signature == *signature).then_some(cached.digest)
    }

    /// The entry of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Cached> {
        self.files.get(path).map(|remembered| &remembered.cached)
    }

    /// Sets the entry of a path and marks it as found by the current scan.
    pub fn insert(&mut self, path: &[u8], cached: Cached) {
        if self.get(path) != Some(&cached) {
            self.files.insert(path.into(), Remembered { cached, seen: true });
            self.changed = true;
        }
    }

    /// Begins a scan, which marks each file that it finds with [`see`](Self::see).
    pub(crate) fn begin_scan(&mut self) {
        for remembered in self.files.values_mut() {
            remembered.seen = false;
        }
    }

    /// As [`lookup`](Self::lookup); also marks the file as found.
    pub(crate) fn see(&mut self, path: &[u8], signature: &Signature) -> Option<Digest> {
        let Remembered { cached, seen } = self.files.get_mut(path)?;
        *seen = true;
        (cached.settled && cached.signature == *signature).then_some(cached.digest)
    }

    /// Removes the entries below `prefix`, or all, that the last scan and the additions to
    /// it have not found.
    pub fn forget_unseen(&mut self, prefix: Option<&RelativePath>) {
        let before = self.files.len();
        let below = prefix.map(|prefix| [prefix.as_bytes(), b"/"].concat()).unwrap_or_default();
        self.files.retain(|path, remembered| remembered.seen || !path.starts_with(&below));
        self.changed |= before != self.files.len();
    }

    /// Removes the entry of a path.
    pub fn remove(&mut self, path: &[u8]) {
        self.changed |= self.files.remove(path).is_some();
    }

    /// The paths of all entries.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.files.keys().map(AsRef::as_ref)
    }

    /// Removes the entries for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let before = self.files.len();
        self.files.retain(|path, _| keep(path));
        self.changed |= before != self.files.len();
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether the cache has changed since it was loaded or saved.
    pub const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Loads a cache. A missing or damaged file, or one of another version, gives an empty
    /// cache: the next scan then hashes every file.
    pub fn load(path: &Path) -> Self {
        let files = read_record::<Vec<(RelativePath, Cached)>>(path).unwrap_or_default();
        let files = files
            .into_iter()
            .map(|(path, cached)| (path.as_bytes().into(), Remembered { cached, seen: false }))
            .collect();
        Self { files, changed: false }
    }

    /// Saves the cache with [`write_record`].
    pub fn save(&mut self, path: &Path) -> Result<(), SyncError> {
        let files: Vec<(RelativePath, Cached)> = self
            .files
            .iter()
            .filter_map(|(path, remembered)| {
                Some((RelativePath::new(path).ok()?, remembered.cached))
            })
            .collect();
        write_record(path, &files)?;
        self.changed = false;
        Ok(())
    }
}

/// The first bytes of a record; the last one is the version.
const RECORD_MAGIC: &[u8; 8] = b"BURSTRC\x01";

/// Writes a record to a temporary file and renames it, so that a reader finds either the
/// old or the new record, complete.
pub fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<(), SyncError> {
    let body = encode_record(record)?;
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || {
        disk_change::begin()?;
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(RECORD_MAGIC)?;
        file.write_all(Digest::of(&body).as_bytes())?;
        file.write_all(&body)?;
        drop(file);
        disk_change::begin()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // Report the error of writing, not one of the removal.
        drop(std::fs::remove_file(&temporary));
        SyncError::store(path, error)
    })
}

/// Reads a record; `None` if it is missing, damaged, too large or of another version.
pub fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    const HEADER_BYTES: usize = RECORD_MAGIC.len() + 32;
    let mut file = std::fs::File::open(path).ok()?;
    if file.metadata().ok()?.len() > (HEADER_BYTES + RECORD_BYTES_MAX) as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let bytes = bytes.strip_prefix(RECORD_MAGIC)?;
    let (digest, body) = bytes.split_first_chunk::<32>()?;
    if Digest::of(body) != Digest::from_bytes(*digest) {
        return None;
    }
    decode_record(body).ok()
}

#[cfg(test)]
mod tests {
    use burst_protocol::tree::Directory;

    use super::*;

    /// A record whose digest is right, as a program that writes into our directories can make
    /// it.
    fn crafted(body: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let digest = Digest::of(body);
        std::fs::write(&path, [RECORD_MAGIC, digest.as_bytes().as_slice(), body].concat()).unwrap();
        (directory, path)
    }

    #[test]
    fn a_crafted_record_counts_as_missing() {
        let (_directory, path) = crafted(&[5]);
        assert_eq!(read_record::<u64>(&path), Some(5));
        // 2,580 bytes: directories in directories, as in the record of a base.
        let nested = [[1, 1, b'a', 2].repeat(634), vec![0]].concat();
        let (_directory, path) = crafted(&nested);
        assert_eq!(read_record::<Directory>(&path), None);
        // A stat cache whose first path names 2^63 bytes.
        let endless = [&[1, 253][..], &(1_u64 << 63).to_le_bytes()].concat();
        let (_directory, path) = crafted(&endless);
        assert_eq!(read_record::<Vec<(RelativePath, Cached)>>(&path), None);
        assert_eq!(StatCache::load(&path).len(), 0);
    }

    #[test]
    fn a_record_that_is_too_large_is_not_read() {
        let (_directory, path) = crafted(&[5]);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(RECORD_BYTES_MAX as u64 + 41).unwrap();
        assert_eq!(read_record::<u64>(&path), None);
    }
}
