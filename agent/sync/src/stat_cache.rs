//! What a scan remembers of each file, so that the next one hashes only what
//! may have changed.
//!
//! A remembered digest is used only if inode, size, both times and the mode are
//! the same, and if the entry was *settled*: its times lay safely before the
//! moment at which it was recorded. A file that was modified in the same tick as
//! the scan looks the same before and after (git's racy rule); it is hashed
//! again. The inode change time is part of the comparison since no program can
//! set it: restoring an old modification time does not hide an edit.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use burst_protocol::codec::{decode_record, encode_record};
use burst_protocol::{Digest, RelativePath};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::error::SyncError;

/// By how many seconds a file's times must lie before a scan to be settled.
/// File systems keep times in steps of up to two seconds.
pub const RACY_SECS: i64 = 2;

/// What a file's status says about whether it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    inode: u64,
    size: u64,
    modified: Moment,
    changed: Moment,
    mode: u32,
}

impl Signature {
    /// Takes it from a status.
    pub fn of(status: &Stat) -> Self {
        Self {
            inode: status.st_ino,
            size: u64::try_from(status.st_size).unwrap_or_default(),
            modified: crate::root_directory::modified(status),
            changed: Moment {
                seconds: status.st_ctime,
                nanoseconds: u32::try_from(status.st_ctime_nsec).unwrap_or_default(),
            },
            mode: status.st_mode,
        }
    }

    /// Bytes of the file.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether the owner may execute it.
    pub const fn executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether a change after `now` is sure to change the signature.
    pub fn settled(&self, now: Moment) -> bool {
        self.changed.plus_seconds(RACY_SECS) < now && self.modified.plus_seconds(RACY_SECS) < now
    }
}

/// One remembered file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// How it looked.
    pub signature: Signature,
    /// What it held.
    pub digest: Digest,
    /// Whether looking the same means holding the same.
    pub settled: bool,
}

/// All that a scan remembers, by path.
#[derive(Debug, Default)]
pub struct StatCache {
    files: HashMap<Box<[u8]>, Remembered>,
    changed: bool,
}

#[derive(Debug)]
struct Remembered {
    cached: Cached,
    /// Whether the scan at hand has come across it.
    seen: bool,
}

impl StatCache {
    /// The digest of a file that certainly has not changed.
    pub fn lookup(&self, path: &[u8], signature: &Signature) -> Option<Digest> {
        let Remembered { cached, .. } = self.files.get(path)?;
        (cached.settled && cached.signature == *signature).then_some(cached.digest)
    }

    /// What is remembered of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Cached> {
        self.files.get(path).map(|remembered| &remembered.cached)
    }

    /// Remembers a file.
    pub fn insert(&mut self, path: &[u8], cached: Cached) {
        if self.get(path) != Some(&cached) {
            self.files.insert(path.into(), Remembered { cached, seen: true });
            self.changed = true;
        }
    }

    /// A scan begins that will [`see`](Self::see) what there is.
    pub(crate) fn begin_scan(&mut self) {
        for remembered in self.files.values_mut() {
            remembered.seen = false;
        }
    }

    /// As [`lookup`](Self::lookup), and notes that the file is there.
    pub(crate) fn see(&mut self, path: &[u8], signature: &Signature) -> Option<Digest> {
        let Remembered { cached, seen } = self.files.get_mut(path)?;
        *seen = true;
        (cached.settled && cached.signature == *signature).then_some(cached.digest)
    }

    /// Forgets what the last scan, and what was added to it, have not come across:
    /// everything of the tree that is gone.
    pub fn forget_unseen(&mut self, prefix: Option<&RelativePath>) {
        let before = self.files.len();
        let below = prefix.map(|prefix| [prefix.as_bytes(), b"/"].concat()).unwrap_or_default();
        self.files.retain(|path, remembered| remembered.seen || !path.starts_with(&below));
        self.changed |= before != self.files.len();
    }

    /// Forgets a file.
    pub fn remove(&mut self, path: &[u8]) {
        self.changed |= self.files.remove(path).is_some();
    }

    /// Forgets all files but those that `keep` names.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let before = self.files.len();
        self.files.retain(|path, _| keep(path));
        self.changed |= before != self.files.len();
    }

    /// How many files are remembered.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether it differs from what was loaded.
    pub const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Reads a cache; one that is absent, damaged or of another version is
    /// empty: it only costs time.
    pub fn load(path: &Path) -> Self {
        let files = read_record::<Vec<(RelativePath, Cached)>>(path).unwrap_or_default();
        let files = files
            .into_iter()
            .map(|(path, cached)| (path.as_bytes().into(), Remembered { cached, seen: false }))
            .collect();
        Self { files, changed: false }
    }

    /// Writes the cache whole.
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

/// The first bytes of each of our own record files; the last is the version.
const RECORD_MAGIC: &[u8; 8] = b"BURSTRC\x01";

/// Writes a record under a temporary name, then renames it: a reader finds the
/// old or the new one, whole. The digest in front tells a damaged file.
pub fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<(), SyncError> {
    let body = encode_record(record)?;
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(RECORD_MAGIC)?;
        file.write_all(Digest::of(&body).as_bytes())?;
        file.write_all(&body)?;
        drop(file);
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // The error that matters is the one of writing.
        drop(std::fs::remove_file(&temporary));
        SyncError::store(path, error)
    })
}

/// Reads a record; none if it is absent, damaged or of another version.
pub fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    let bytes = bytes.strip_prefix(RECORD_MAGIC)?;
    let (digest, body) = bytes.split_first_chunk::<32>()?;
    if Digest::of(body) != Digest::from_bytes(*digest) {
        return None;
    }
    decode_record(body).ok()
}
