//! Transfer of blobs: sent from files or memory, received into a store.
//!
//! Invariant: a blob is in a [`BlobStore`] only after its bytes were hashed and have the
//! announced digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use burst_protocol::Digest;
use burst_protocol::limit::{PATCH_BYTES_MAX, RAW_BYTES_MAX};
use burst_protocol::message::{Blob, Encoding};

use crate::error::SyncError;
use crate::pack::{PACKED_BYTES_MAX, PackStore};
use crate::wire::{Incoming, Outgoing};

/// Smallest blob in bytes that is sent uncompressed on a fast link.
pub const LARGE_BYTES: u64 = 256 << 10;

/// A blob that is read from a file or from memory.
#[derive(Debug)]
pub struct BlobSource<'a, R> {
    /// The file, absolute, for errors.
    pub path: &'a Path,
    /// The digest that the content is expected to have.
    pub digest: Digest,
    /// The bytes that the content is expected to have.
    pub size: u64,
    /// Gives the content.
    pub reader: &'a mut R,
}

/// Sends a blob whole. [`SyncError::Read`] if the source cannot be read,
/// [`SyncError::Changed`] if it is not the content that was expected; the receiver has
/// then got an incomplete or a damaged blob, so the exchange cannot continue.
pub fn send_whole(
    outgoing: &Outgoing,
    announce: &impl Fn(Blob) -> Result<(), SyncError>,
    source: BlobSource<'_, impl Read>,
    compress_large: bool,
) -> Result<(), SyncError> {
    let BlobSource { path, digest, size, reader } = source;
    announce(Blob { digest, size, encoding: Encoding::Whole })?;
    let compress = compress_large || size < LARGE_BYTES;
    let mut hasher = blake3::Hasher::new();
    let mut rest = size;
    while rest > 0 {
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(RAW_BYTES_MAX);
        let mut piece = vec![0; length];
        match reader.read_exact(&mut piece) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(SyncError::Changed(path.to_owned()));
            }
            Err(source) => return Err(SyncError::Read { path: path.to_owned(), source }),
        }
        hasher.update(&piece);
        outgoing.raw(piece, compress)?;
        rest -= length as u64;
    }
    if Digest::from(hasher.finalize()) == digest {
        Ok(())
    } else {
        Err(SyncError::Changed(path.to_owned()))
    }
}

/// Sends a blob as a patch on `base` if the patch is smaller than the blob and than `cap`
/// bytes. Returns whether it did; otherwise nothing was sent.
pub fn send_patch(
    outgoing: &Outgoing,
    announce: &impl Fn(Blob) -> Result<(), SyncError>,
    digest: Digest,
    content: &[u8],
    base: (Digest, &[u8]),
    cap: usize,
) -> Result<bool, SyncError> {
    let patch = crate::patch::make(base.1, content).map_err(SyncError::Compression)?;
    if patch.len() >= content.len().min(cap) {
        return Ok(false);
    }
    let encoding = Encoding::Patch { base: base.0, length: patch.len() as u64 };
    announce(Blob { digest, size: content.len() as u64, encoding })?;
    for piece in patch.chunks(RAW_BYTES_MAX) {
        outgoing.raw(piece.to_vec(), false)?;
    }
    Ok(true)
}

/// A store of received blobs.
#[derive(Debug)]
pub struct BlobStore {
    /// The blobs of at most [`PACKED_BYTES_MAX`].
    pub packs: PackStore,
    /// A directory with the larger blobs, each a file named by its digest.
    staging: PathBuf,
}

impl BlobStore {
    /// Opens the store in a directory, which is created if necessary. Large blobs of an
    /// earlier process are removed.
    pub fn open(directory: &Path) -> Result<Self, SyncError> {
        let staging = directory.join("staging");
        let prepare = || {
            match std::fs::remove_dir_all(&staging) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::fs::create_dir_all(&staging)
        };
        prepare().map_err(|source| SyncError::store(&staging, source))?;
        Ok(Self { packs: PackStore::open(&directory.join("packs"))?, staging })
    }

    /// Whether the store has a blob that can be used: a small one was verified.
    pub fn holds(&mut self, digest: &Digest) -> bool {
        self.packs.holds(digest) || self.staged(digest).exists()
    }

    /// The path of a large blob, whether or not the store has it.
    pub fn staged(&self, digest: &Digest) -> PathBuf {
        self.staging.join(digest.to_hex())
    }

    /// Receives an announced blob. `base` looks up the blob that a patch refers to. Fails
    /// with [`SyncError::Damaged`] if the bytes do not have the announced digest.
    pub fn receive(
        &mut self,
        incoming: &mut Incoming,
        blob: Blob,
        base: impl FnOnce(&mut PackStore, &Digest) -> Option<Vec<u8>>,
    ) -> Result<(), SyncError> {
        let Blob { digest, size, encoding } = blob;
        match encoding {
            Encoding::Patch { base: base_digest, length } => {
                let cap = PATCH_BYTES_MAX as u64;
                if length > cap || size > PACKED_BYTES_MAX {
                    return Err(SyncError::violation(format!(
                        "a patch of {length} bytes for a blob of {size} bytes"
                    )));
                }
                let patch = receive_bytes(incoming, length)?;
                let base = base(&mut self.packs, &base_digest)
                    .ok_or(SyncError::MissingBlob(base_digest))?;
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                let bytes = crate::patch::apply(&base, &patch, size)?;
                self.keep(digest, &bytes)
            }
            Encoding::Whole if size <= PACKED_BYTES_MAX => {
                let bytes = receive_bytes(incoming, size)?;
                self.keep(digest, &bytes)
            }
            Encoding::Whole => {
                let path = self.staged(&digest);
                receive_file(incoming, digest, size, &path)
            }
        }
    }

    /// Copies a file into the store. Fails with [`SyncError::Damaged`] if it does not have
    /// the expected digest.
    pub fn keep_file(&mut self, source: BlobSource<'_, File>) -> Result<(), SyncError> {
        let BlobSource { path, digest, size, reader } = source;
        let unreadable = |source| SyncError::Read { path: path.to_owned(), source };
        if size <= PACKED_BYTES_MAX {
            let mut bytes = Vec::new();
            reader.take(size + 1).read_to_end(&mut bytes).map_err(unreadable)?;
            return self.keep(digest, &bytes);
        }
        let staged_at = self.staged(&digest);
        let mut staged = Staged::create(&staged_at)?;
        let mut buffer = vec![0; RAW_BYTES_MAX];
        loop {
            let read = reader.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                return staged.finish(digest);
            }
            staged.write(&buffer[..read])?;
        }
    }

    /// Removes all large blobs, and the oldest packs until the rest has at most
    /// `packed_cap` bytes.
    pub fn clean(&mut self, packed_cap: u64) -> Result<(), SyncError> {
        let remove = || -> io::Result<()> {
            for entry in std::fs::read_dir(&self.staging)? {
                std::fs::remove_file(entry?.path())?;
            }
            Ok(())
        };
        remove().map_err(|source| SyncError::store(&self.staging, source))?;
        self.packs.trim(packed_cap)
    }

    fn keep(&mut self, digest: Digest, bytes: &[u8]) -> Result<(), SyncError> {
        if Digest::of(bytes) != digest {
            return Err(SyncError::Damaged(digest));
        }
        self.packs.put(digest, bytes, false)
    }
}

/// Receives `length` bytes into memory. The caller must have checked a cap. Memory is
/// allocated as bytes arrive.
pub fn receive_bytes(incoming: &mut Incoming, length: u64) -> Result<Vec<u8>, SyncError> {
    let capacity = usize::try_from(length).unwrap_or(usize::MAX).min(RAW_BYTES_MAX);
    let mut bytes = Vec::with_capacity(capacity);
    receive_pieces(incoming, length, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// Receives a blob into a new file at `path`. The file is removed again unless the bytes
/// have the announced digest.
fn receive_file(
    incoming: &mut Incoming,
    digest: Digest,
    size: u64,
    path: &Path,
) -> Result<(), SyncError> {
    let mut staged = Staged::create(path)?;
    receive_pieces(incoming, size, |piece| staged.write(piece))?;
    staged.finish(digest)
}

/// Receives a whole blob and passes its pieces to `write`. The digest is verified at the
/// end: on an error the caller must discard the pieces.
pub fn receive_into(
    incoming: &mut Incoming,
    digest: Digest,
    size: u64,
    mut write: impl FnMut(&[u8]) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let mut hasher = blake3::Hasher::new();
    receive_pieces(incoming, size, |piece| {
        hasher.update(piece);
        write(piece)
    })?;
    if Digest::from(hasher.finalize()) == digest { Ok(()) } else { Err(SyncError::Damaged(digest)) }
}

/// Receives `size` bytes and passes their pieces to `take`.
pub fn receive_pieces(
    incoming: &mut Incoming,
    size: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let mut rest = size;
    while rest > 0 {
        let piece = incoming.raw()?;
        let length = piece.len() as u64;
        if length == 0 || length > rest {
            return Err(SyncError::violation("a blob has another length than was announced"));
        }
        take(&piece)?;
        rest -= length;
    }
    Ok(())
}

/// A file that is removed when dropped, unless [`finish`](Staged::finish) succeeded.
struct Staged<'a> {
    path: &'a Path,
    file: File,
    hasher: blake3::Hasher,
    finished: bool,
}

impl<'a> Staged<'a> {
    fn create(path: &'a Path) -> Result<Self, SyncError> {
        let open = || {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            File::options().write(true).create_new(true).mode(0o644).open(path)
        };
        let file = open().map_err(|source| SyncError::store(path, source))?;
        Ok(Self { path, file, hasher: blake3::Hasher::new(), finished: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SyncError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|source| SyncError::store(self.path, source))
    }

    fn finish(mut self, digest: Digest) -> Result<(), SyncError> {
        self.finished = Digest::from(self.hasher.finalize()) == digest;
        if self.finished { Ok(()) } else { Err(SyncError::Damaged(digest)) }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, the next opening of the store removes the file.
            drop(std::fs::remove_file(self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use burst_protocol::message::FromShim;

    use super::*;
    use crate::wire::{Opening, connect};

    /// Gives so many bytes, then ends or fails.
    struct Source {
        left: usize,
        end: Option<io::ErrorKind>,
    }

    impl Read for Source {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.left);
            if length == 0
                && let Some(kind) = self.end
            {
                return Err(kind.into());
            }
            buffer[..length].fill(7);
            self.left -= length;
            Ok(length)
        }
    }

    /// Sends `expected` bytes from a source; returns the sender's and the receiver's error.
    async fn transfer(expected: usize, mut source: Source) -> (Option<String>, Option<String>) {
        let (near, far) = tokio::io::duplex(1000);
        let (far_reader, far_writer) = tokio::io::split(far);
        let (near_reader, near_writer) = tokio::io::split(near);
        let (_near, outgoing, _) = connect(near_reader, near_writer, 1, Opening::Read).unwrap();
        let (mut incoming, _far, _) = connect(far_reader, far_writer, 1, Opening::Read).unwrap();
        let digest = Digest::of(&vec![7; expected]);
        let sending = tokio::task::spawn_blocking(move || {
            let announce = |blob: Blob| outgoing.message(&FromShim::Blob(blob));
            let (path, size) = (Path::new("/home/me/x"), expected as u64);
            let source = BlobSource { path, digest, size, reader: &mut source };
            let sent = send_whole(&outgoing, &announce, source, false);
            outgoing.message(&FromShim::Done).unwrap();
            sent.err().map(|error| error.to_string())
        });
        let received = tokio::task::spawn_blocking(move || {
            let FromShim::Blob(blob) = incoming.message().unwrap() else { panic!("no blob") };
            let received = receive_bytes(&mut incoming, blob.size);
            assert_eq!(incoming.message::<FromShim>().unwrap(), FromShim::Done);
            received.err().map(|error| error.to_string())
        });
        (sending.await.unwrap(), received.await.unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_source_that_fails_while_it_is_sent_is_named() {
        let size = 3 * RAW_BYTES_MAX;
        assert_eq!(transfer(size, Source { left: size, end: None }).await, (None, None));
        let interrupted = Some(SyncError::BlobInterrupted.to_string());
        let unreadable = Source { left: RAW_BYTES_MAX, end: Some(io::ErrorKind::TimedOut) };
        let expected = Some("cannot read `/home/me/x`".to_owned());
        assert_eq!(transfer(size, unreadable).await, (expected, interrupted.clone()));
        let short = Source { left: RAW_BYTES_MAX, end: None };
        let expected = Some("`/home/me/x` changed while it was read".to_owned());
        assert_eq!(transfer(size, short).await, (expected, interrupted));
    }
}
