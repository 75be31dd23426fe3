//! The upload of sources: changes with the blobs they need, and answers to what the agent
//! lacks. Each blob is sent once. A file that changes while it is read ends the upload.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use burst_protocol::limit::{CHANGES_PER_MESSAGE_MAX, DIGESTS_PER_MESSAGE_MAX, PATCH_BYTES_MAX};
use burst_protocol::message::{Blob, FromShim, Want};
use burst_protocol::tree::{Change, Directory, DirectoryObject, Entry, File, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::blobs::{BlobSource, send_patch, send_whole};
use burst_sync::pack::{PACKED_BYTES_MAX, PackStore};
use burst_sync::tally::Tally;
use burst_sync::wire::Outgoing;

use crate::workspace::sources::{Opened, Sources};

/// From this number of changes on it is checked whether added files are moved ones.
const LOOK_FOR_MOVES_FROM: usize = 8;

/// The upload of one request.
pub(crate) struct Upload<'a> {
    sources: &'a Sources,
    outgoing: &'a Outgoing,
    compress_large: bool,
    sent: HashSet<Digest>,
    tally: &'a Tally,
    places: Option<HashMap<Digest, (RelativePath, File)>>,
}

impl<'a> Upload<'a> {
    /// An upload on one stream. `compress_large`: whether large blobs are compressed. `tally`
    /// counts the blobs.
    pub(crate) fn new(
        sources: &'a Sources,
        outgoing: &'a Outgoing,
        compress_large: bool,
        tally: &'a Tally,
    ) -> Self {
        Self { sources, outgoing, compress_large, sent: HashSet::new(), tally, places: None }
    }

    /// Sends changes of `base` and the blobs that they need, small ones as patches against
    /// the version in `base` where `blobs` holds it.
    pub(crate) fn offer(
        &mut self,
        changes: &[Change],
        base: &Directory,
        blobs: Option<&mut PackStore>,
    ) -> Result<(), SyncError> {
        for piece in changes.chunks(CHANGES_PER_MESSAGE_MAX) {
            self.outgoing.message(&FromShim::Changes(piece.to_vec()))?;
        }
        let held = blobs_held(base, changes);
        let mut wanted = Vec::new();
        for change in changes {
            let Change::Put { path, entry: Entry::File(file) } = change else { continue };
            let old = base.file(path);
            let known = old.is_some_and(|old| old.digest == file.digest);
            if !known && !held.contains(&file.digest) && self.sent.insert(file.digest) {
                wanted.push((path, file, old));
            }
        }
        self.expect(wanted.iter().map(|(_, file, _)| *file));
        let mut blobs = blobs;
        for (path, file, old) in wanted {
            let prefix = old.and_then(|old| Some((old.digest, blobs.as_mut()?.get(&old.digest)?)));
            self.content(path, file, prefix)?;
        }
        self.outgoing.message(&FromShim::BlobsEnd)
    }

    /// Sends what the agent lacks.
    pub(crate) fn answer(&mut self, want: &Want) -> Result<(), SyncError> {
        match want {
            Want::Everything => {
                let empty = Directory::new();
                let changes = empty.changes_to(&self.sources.tree);
                self.offer(&changes, &empty, None)
            }
            Want::DirectoryObjects(digests) => self.directory_objects(digests),
            Want::Blobs(digests) if digests.len() > DIGESTS_PER_MESSAGE_MAX => {
                Err(SyncError::violation("too many blobs in one request"))
            }
            Want::Blobs(digests) => {
                let places = self.places.get_or_insert_with(|| self.sources.places());
                let wanted: Vec<(RelativePath, File)> = digests
                    .iter()
                    .map(|digest| {
                        places.get(digest).cloned().ok_or(SyncError::MissingBlob(*digest))
                    })
                    .collect::<Result<_, _>>()?;
                self.expect(wanted.iter().map(|(_, file)| file));
                for (path, file) in wanted {
                    self.content(&path, &file, None)?;
                }
                self.outgoing.message(&FromShim::BlobsEnd)
            }
        }
    }

    /// Counts the files that are going to be sent.
    fn expect<'f>(&self, files: impl Iterator<Item = &'f File>) {
        for file in files {
            self.tally.expect(1, file.size);
        }
    }

    /// Sends one blob. Fails with [`SyncError::Changed`] if the file no longer has the
    /// digest of the manifest: the sync then starts again.
    fn content(
        &self,
        path: &RelativePath,
        file: &File,
        prefix: Option<(Digest, Vec<u8>)>,
    ) -> Result<(), SyncError> {
        let announce = |content: Blob| self.outgoing.message(&FromShim::Blob(content));
        let shown = path.absolute();
        let reader: Box<dyn Read> = match self.sources.open(path)? {
            Opened::File(open) if file.size > PACKED_BYTES_MAX => Box::new(open),
            Opened::File(mut open) => {
                let mut bytes = Vec::new();
                let limit = file.size + 1;
                let read = (&mut open).take(limit).read_to_end(&mut bytes);
                read.map_err(|source| SyncError::Read { path: shown.clone(), source })?;
                if Digest::of(&bytes) != file.digest {
                    return Err(SyncError::Changed(shown));
                }
                if let Some((digest, base)) = prefix {
                    let base = (digest, base.as_slice());
                    let (digest, cap) = (file.digest, PATCH_BYTES_MAX);
                    if send_patch(self.outgoing, &announce, digest, &bytes, base, cap)? {
                        self.tally.bytes(file.size);
                        self.tally.file();
                        return Ok(());
                    }
                }
                Box::new(std::io::Cursor::new(bytes))
            }
            Opened::Memory(bytes) => Box::new(std::io::Cursor::new(bytes)),
        };
        let File { digest, size, .. } = *file;
        let mut reader = Counted { reader, tally: self.tally };
        let source = BlobSource { path: &shown, digest, size, reader: &mut reader };
        send_whole(self.outgoing, &announce, source, self.compress_large)?;
        self.tally.file();
        Ok(())
    }

    fn directory_objects(&self, digests: &[Digest]) -> Result<(), SyncError> {
        // A message holds no more than so many entries, but always one listing.
        const ENTRIES_PER_MESSAGE: usize = 10_000;
        if digests.len() > DIGESTS_PER_MESSAGE_MAX {
            return Err(SyncError::violation("too many directory objects in one request"));
        }
        let wanted: HashSet<&Digest> = digests.iter().collect();
        let mut found: HashMap<Digest, DirectoryObject> = HashMap::new();
        let mut note = |directory: &Directory| {
            let digest = directory.digest();
            if wanted.contains(&digest) {
                found.entry(digest).or_insert_with(|| directory.object());
            }
        };
        note(&self.sources.tree);
        self.sources.tree.visit(&mut |_, node| {
            if let Node::Directory(directory) = node {
                note(directory);
            }
        });
        let mut message: Vec<DirectoryObject> = Vec::new();
        let mut entries = 0;
        for digest in digests {
            let object = found.get(digest).ok_or(SyncError::MissingBlob(*digest))?;
            if entries > 0 && entries + object.0.len() > ENTRIES_PER_MESSAGE {
                self.outgoing.message(&FromShim::DirectoryObjects(std::mem::take(&mut message)))?;
                entries = 0;
            }
            entries += object.0.len().max(1);
            message.push(object.clone());
        }
        self.outgoing.message(&FromShim::DirectoryObjects(message))
    }
}

/// A reader whose bytes are counted.
struct Counted<'a, R> {
    reader: R,
    tally: &'a Tally,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.tally.bytes(read as u64);
        Ok(read)
    }
}

/// Blobs that the base holds under any path, so that moved files are not sent. Empty
/// unless something was removed or much was added: then it is not worth looking.
fn blobs_held(base: &Directory, changes: &[Change]) -> HashSet<Digest> {
    let removes = changes.iter().any(|change| matches!(change, Change::Remove { .. }));
    if removes || changes.len() >= LOOK_FOR_MOVES_FROM {
        file_digests(base)
    } else {
        HashSet::new()
    }
}

fn file_digests(tree: &Directory) -> HashSet<Digest> {
    let mut digests = HashSet::new();
    tree.visit(&mut |_, node| {
        if let Node::File(file) = node {
            digests.insert(file.digest);
        }
    });
    digests
}

/// Stores the small blobs that were synced, as bases of later patches, and from time to
/// time drops those that no file of the tree has any more.
pub(crate) fn remember(
    sources: &Sources,
    changes: &[Change],
    blobs: &mut PackStore,
) -> Result<(), SyncError> {
    for change in changes {
        let Change::Put { path, entry: Entry::File(file) } = change else { continue };
        if file.size > PACKED_BYTES_MAX || blobs.contains(&file.digest) {
            continue;
        }
        let bytes = match sources.open(path) {
            Ok(Opened::File(open)) => {
                let mut bytes = Vec::new();
                match open.take(file.size + 1).read_to_end(&mut bytes) {
                    Ok(_) => bytes,
                    Err(_) => continue,
                }
            }
            Ok(Opened::Memory(bytes)) => bytes,
            Err(_) => continue,
        };
        // A file that was edited meanwhile was not synced in this state.
        if Digest::of(&bytes) == file.digest {
            blobs.put(file.digest, &bytes, true)?;
        }
    }
    blobs.flush()?;
    if changes.len() > LOOK_FOR_MOVES_FROM {
        let live = file_digests(&sources.tree);
        blobs.compact(|digest| live.contains(digest))?;
    }
    Ok(())
}
