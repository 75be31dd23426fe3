//! Pack files, which store many small blobs in one file.
//!
//! A store is a cache. A blob is hashed whenever it is read, and a damaged record counts as
//! missing. Packs are append-only; an incomplete record at the end of a pack, left by a
//! crash, is truncated when the store is opened. Nothing is flushed to the disk.
//!
//! # Format
//!
//! ```text
//! pack   = "BURSTPK" version (1 byte)  record …
//! record = digest (32)  size (4, little endian)  stored (4)  codec (1)  bytes (stored)
//! codec  = 0 uncompressed, 1 zstd
//! ```
//!
//! `size` is the length of the blob in bytes, at most [`PACKED_BYTES_MAX`]; `stored` is the
//! length of the bytes that follow the codec, at most `size`. A pack is named by its number, ten decimal
//! digits and `.pack`. A pack of another version is deleted when the store is opened.
//!
//! | version | change |
//! |---|---|
//! | 1 | The first version. |

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use burst_protocol::Digest;

use crate::error::SyncError;

/// Largest blob in bytes that is stored in a pack.
pub const PACKED_BYTES_MAX: u64 = 1 << 20;

/// Size in bytes at which a pack is full; the next blob begins a new one.
const PACK_BYTES: u64 = 64 << 20;

const MAGIC: &[u8; 8] = b"BURSTPK\x01";
const RECORD_HEADER_BYTES: usize = 41;

/// A store of small blobs: a directory of packs, with an index in memory.
#[derive(Debug)]
pub struct PackStore {
    directory: PathBuf,
    packs: Vec<Pack>,
    index: HashMap<Digest, Place>,
    writer: Option<BufWriter<File>>,
    next_number: u64,
}

#[derive(Debug)]
struct Pack {
    path: PathBuf,
    file: File,
    length: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    pack: usize,
    offset: u64,
    stored: u32,
    size: u32,
    compressed: bool,
    /// Whether this process has stored or read it.
    verified: bool,
}

impl PackStore {
    /// Opens the packs of a directory, which is created if necessary, and reads the headers
    /// of their records.
    pub fn open(directory: &Path) -> Result<Self, SyncError> {
        let mut store = Self {
            directory: directory.to_owned(),
            packs: Vec::new(),
            index: HashMap::new(),
            writer: None,
            next_number: 0,
        };
        store.open_packs().map_err(|source| store.error(source))?;
        Ok(store)
    }

    /// Whether the index has a blob.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.index.contains_key(digest)
    }

    /// Whether the store has a blob, verified: one that was damaged since it was stored counts
    /// as missing from then on.
    pub fn holds(&mut self, digest: &Digest) -> bool {
        let is_good = match self.index.get(digest) {
            None => false,
            Some(place) => place.verified || self.get(digest).is_some(),
        };
        match self.index.get_mut(digest) {
            Some(place) if is_good => place.verified = true,
            _ => drop(self.index.remove(digest)),
        }
        is_good
    }

    /// Reads and verifies a blob; `None` if it is missing, unreadable or damaged.
    pub fn get(&mut self, digest: &Digest) -> Option<Vec<u8>> {
        let place = *self.index.get(digest)?;
        if let Some(writer) = &mut self.writer {
            writer.flush().ok()?;
        }
        let mut stored = vec![0; place.stored as usize];
        self.packs.get(place.pack)?.file.read_exact_at(&mut stored, place.offset).ok()?;
        let content = if place.compressed {
            zstd::bulk::decompress(&stored, place.size as usize).ok()?
        } else {
            stored
        };
        (Digest::of(&content) == *digest).then_some(content)
    }

    /// Adds a blob. The caller must have verified its digest and that it has at most
    /// [`PACKED_BYTES_MAX`].
    pub fn put(&mut self, digest: Digest, content: &[u8], compress: bool) -> Result<(), SyncError> {
        if self.contains(&digest) {
            return Ok(());
        }
        self.append(digest, content, compress).map_err(|source| {
            // The next opening of the store truncates the incomplete record.
            self.writer = None;
            self.error(source)
        })
    }

    /// Writes buffered records to the file. Does not wait for the disk.
    pub fn flush(&mut self) -> Result<(), SyncError> {
        match self.writer.as_mut().map(Write::flush) {
            Some(Err(source)) => Err(self.error(source)),
            _ => Ok(()),
        }
    }

    /// The size of all packs in bytes.
    pub fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.length).sum()
    }

    /// Deletes the oldest packs until the rest has at most `cap` bytes.
    pub fn trim(&mut self, cap: u64) -> Result<(), SyncError> {
        let mut dropped = 0;
        while dropped < self.packs.len() && self.bytes_from(dropped) > cap {
            dropped += 1;
        }
        self.forget(dropped).map_err(|source| self.error(source))
    }

    /// Rewrites the store with only the blobs for which `live` is true, if the others take at
    /// least half of it.
    pub fn compact(&mut self, live: impl Fn(&Digest) -> bool) -> Result<(), SyncError> {
        let kept: Vec<Digest> = self.index.keys().filter(|digest| live(digest)).copied().collect();
        let stored =
            |digest: &Digest| self.index.get(digest).map_or(0, |place| place.stored.into());
        let live_bytes: u64 = kept.iter().map(stored).sum();
        if self.bytes() < 2 * live_bytes + PACKED_BYTES_MAX {
            return Ok(());
        }
        let old = self.packs.len();
        self.writer = None;
        self.begin_pack().map_err(|source| self.error(source))?;
        for digest in kept {
            if let Some(content) = self.get(&digest) {
                self.index.remove(&digest);
                self.put(digest, &content, true)?;
            }
        }
        self.flush()?;
        self.forget(old).map_err(|source| self.error(source))
    }

    fn bytes_from(&self, first: usize) -> u64 {
        self.packs.iter().skip(first).map(|pack| pack.length).sum()
    }

    fn forget(&mut self, packs: usize) -> io::Result<()> {
        if packs == self.packs.len() {
            self.writer = None;
        }
        for pack in self.packs.drain(..packs) {
            std::fs::remove_file(pack.path)?;
        }
        self.index.retain(|_, place| place.pack >= packs);
        for place in self.index.values_mut() {
            place.pack -= packs;
        }
        Ok(())
    }

    fn append(&mut self, digest: Digest, content: &[u8], compress: bool) -> io::Result<()> {
        let full = self.packs.last().is_none_or(|pack| pack.length >= PACK_BYTES);
        if full || self.writer.is_none() {
            self.begin_pack()?;
        }
        let packed = if compress { Some(zstd::bulk::compress(content, 1)?) } else { None };
        let packed = packed.filter(|packed| packed.len() < content.len());
        let bytes = packed.as_deref().unwrap_or(content);
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let (size, stored) = (
            u32::try_from(content.len()).map_err(too_large)?,
            u32::try_from(bytes.len()).map_err(too_large)?,
        );
        let (Some(writer), Some(pack)) = (&mut self.writer, self.packs.last_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut header = [0; RECORD_HEADER_BYTES];
        header[..32].copy_from_slice(digest.as_bytes());
        header[32..36].copy_from_slice(&size.to_le_bytes());
        header[36..40].copy_from_slice(&stored.to_le_bytes());
        header[40] = packed.is_some().into();
        writer.write_all(&header)?;
        writer.write_all(bytes)?;
        let offset = pack.length + RECORD_HEADER_BYTES as u64;
        pack.length = offset + u64::from(stored);
        let pack = self.packs.len() - 1;
        let compressed = packed.is_some();
        self.index.insert(digest, Place { pack, offset, stored, size, compressed, verified: true });
        Ok(())
    }

    fn begin_pack(&mut self) -> io::Result<()> {
        if let Some(mut writer) = self.writer.take() {
            writer.flush()?;
        }
        let path = self.directory.join(format!("{:010}.pack", self.next_number));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        self.next_number += 1;
        let mut writer = BufWriter::with_capacity(256 << 10, file.try_clone()?);
        writer.write_all(MAGIC)?;
        self.packs.push(Pack { path, file, length: MAGIC.len() as u64 });
        self.writer = Some(writer);
        Ok(())
    }

    fn open_packs(&mut self) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let mut numbers: Vec<(u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(number) = stem.and_then(|stem| stem.parse().ok())
                && path.extension().is_some_and(|extension| extension == "pack")
            {
                numbers.push((number, path));
            }
        }
        numbers.sort_unstable();
        for (number, path) in numbers {
            self.next_number = number + 1;
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let length = self.read_index(&file)?;
            if length == 0 {
                std::fs::remove_file(path)?;
                continue;
            }
            file.set_len(length)?;
            self.packs.push(Pack { path, file, length });
        }
        Ok(())
    }

    /// Enters the records of a pack into the index; returns the length of its valid part.
    fn read_index(&mut self, file: &File) -> io::Result<u64> {
        let length = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        if length < magic.len() as u64 {
            return Ok(0);
        }
        file.read_exact_at(&mut magic, 0)?;
        if &magic != MAGIC {
            return Ok(0);
        }
        let pack = self.packs.len();
        let mut at = magic.len() as u64;
        let mut window = Window { file, length, start: 0, bytes: Vec::new() };
        while at + RECORD_HEADER_BYTES as u64 <= length {
            let header = window.read::<RECORD_HEADER_BYTES>(at)?;
            let word = |from: usize| {
                u32::from_le_bytes([
                    header[from],
                    header[from + 1],
                    header[from + 2],
                    header[from + 3],
                ])
            };
            let (size, stored) = (word(32), word(36));
            let offset = at + RECORD_HEADER_BYTES as u64;
            let is_possible = u64::from(size) <= PACKED_BYTES_MAX && stored <= size;
            if offset + u64::from(stored) > length || !is_possible {
                break;
            }
            let mut digest = [0; 32];
            digest.copy_from_slice(&header[..32]);
            let place =
                Place { pack, offset, stored, size, compressed: header[40] == 1, verified: false };
            self.index.insert(Digest::from_bytes(digest), place);
            at = offset + u64::from(stored);
        }
        Ok(at)
    }

    fn error(&self, source: io::Error) -> SyncError {
        SyncError::store(&self.directory, source)
    }
}

/// A read-ahead buffer for record headers that lie close together.
struct Window<'a> {
    file: &'a File,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn read<const N: usize>(&mut self, at: u64) -> io::Result<[u8; N]> {
        let end = self.start + self.bytes.len() as u64;
        if at < self.start || at + N as u64 > end {
            self.bytes.clear();
            let wanted = (self.length - at).min(256 << 10);
            use std::io::{Seek, SeekFrom};
            let mut file = self.file;
            file.seek(SeekFrom::Start(at))?;
            file.take(wanted).read_to_end(&mut self.bytes)?;
            self.start = at;
        }
        let from = usize::try_from(at - self.start).map_err(io::Error::other)?;
        let bytes = self.bytes.get(from..from + N).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.try_into().map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_survive_reopening_and_a_truncated_pack() {
        let directory = tempfile::tempdir().unwrap();
        let blobs: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; usize::from(n) * 100]).collect();
        let mut store = PackStore::open(directory.path()).unwrap();
        for content in &blobs {
            store.put(Digest::of(content), content, content.len() % 200 == 0).unwrap();
        }
        assert_eq!(store.get(&Digest::of(&blobs[7])).unwrap(), blobs[7]);
        drop(store);
        let pack = directory.path().join("0000000000.pack");
        let length = std::fs::metadata(&pack).unwrap().len();
        OpenOptions::new().write(true).open(&pack).unwrap().set_len(length - 1).unwrap();
        let mut store = PackStore::open(directory.path()).unwrap();
        for content in &blobs[..49] {
            assert_eq!(store.get(&Digest::of(content)).as_ref(), Some(content));
        }
        assert!(!store.contains(&Digest::of(&blobs[49])));
        store.put(Digest::of(b"new"), b"new", true).unwrap();
        assert_eq!(store.get(&Digest::of(b"new")).unwrap(), b"new");
    }

    #[test]
    fn a_damaged_record_counts_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = PackStore::open(directory.path()).unwrap();
        store.put(Digest::of(b"abc"), b"abc", false).unwrap();
        store.flush().unwrap();
        let pack = directory.path().join("0000000000.pack");
        let mut bytes = std::fs::read(&pack).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&pack, bytes).unwrap();
        let mut store = PackStore::open(directory.path()).unwrap();
        assert_eq!(store.get(&Digest::of(b"abc")), None);
        assert!(store.contains(&Digest::of(b"abc")) && !store.holds(&Digest::of(b"abc")));
        // It can be stored again.
        store.put(Digest::of(b"abc"), b"abc", false).unwrap();
        assert!(store.holds(&Digest::of(b"abc")));
    }

    #[test]
    fn a_record_of_impossible_lengths_ends_its_pack() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = PackStore::open(directory.path()).unwrap();
        store.put(Digest::of(b"abc"), b"abc", false).unwrap();
        drop(store);
        let pack = directory.path().join("0000000000.pack");
        let mut file = OpenOptions::new().append(true).open(&pack).unwrap();
        let valid = file.metadata().unwrap().len();
        // A blob of one byte, of which 4 GB are stored: in a sparse file they are there.
        let crafted = Digest::of(b"x");
        let header =
            [crafted.as_bytes().as_slice(), &1_u32.to_le_bytes(), &u32::MAX.to_le_bytes(), &[0]];
        file.write_all(&header.concat()).unwrap();
        file.set_len(5 << 30).unwrap();
        let store = PackStore::open(directory.path()).unwrap();
        assert!(store.contains(&Digest::of(b"abc")));
        assert!(!store.contains(&crafted));
        assert_eq!(std::fs::metadata(&pack).unwrap().len(), valid);
    }

    #[test]
    fn compaction_and_trimming_drop_blobs() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = PackStore::open(directory.path()).unwrap();
        let noise = |seed: u64| -> Vec<u8> {
            let mut out = vec![0; 300_000];
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes());
            hasher.finalize_xof().fill(&mut out);
            out
        };
        let blobs: Vec<Vec<u8>> = (0..20).map(noise).collect();
        for content in &blobs {
            store.put(Digest::of(content), content, true).unwrap();
        }
        let live = Digest::of(&blobs[3]);
        store.compact(|digest| *digest == live).unwrap();
        assert!(store.bytes() < 400_000, "{}", store.bytes());
        assert_eq!(store.get(&live).unwrap(), blobs[3]);
        store.trim(0).unwrap();
        assert_eq!(store.get(&live), None);
        store.put(live, &blobs[3], true).unwrap();
        assert!(store.contains(&live));
    }
}
