//! The receiving half of a sync: offered changes, directory objects and blobs.
//!
//! Everything here comes from a peer: lengths and counts are capped, and digests are
//! checked. Only the blob store is written.

use std::collections::{HashMap, HashSet};

use burst_protocol::message::{Blob, Encoding, FromAgent, FromShim, Want};
use burst_protocol::tree::{Change, Directory, Entry, File, Node, ObjectEntry};
use burst_protocol::{Digest, FileName, limit};
use burst_sync::SyncError;
use burst_sync::blobs::{self, BlobStore};
use burst_sync::pack::{PACKED_BYTES_MAX, PackStore};
use burst_sync::root_directory::RootDirectory;
use burst_sync::wire::{Incoming, Outgoing};

/// The largest number of changes in one sync, which exceeds the files of any source tree.
const CHANGES_MAX: usize = 4 << 20;

/// What a sync receives into: the store for blobs, and the tree whose files patches are
/// based on.
pub(crate) struct Receiver<'a> {
    /// The manifest of the tree as it is now.
    pub(crate) manifest: &'a Directory,
    /// The root directory of the tree.
    pub(crate) root: &'a RootDirectory,
    /// Receives the blobs.
    pub(crate) store: &'a mut BlobStore,
}

impl Receiver<'_> {
    /// Receives changes and their blobs, up to the end of the offer. An offer that is not
    /// `kept`, because its base is not the current state, is read and dropped.
    pub(crate) fn offer(
        &mut self,
        kept: bool,
        incoming: &mut Incoming,
    ) -> Result<Vec<Change>, SyncError> {
        let mut changes = Vec::new();
        let mut bases = None;
        loop {
            match incoming.message()? {
                FromShim::Changes(more) => {
                    let most = limit::CHANGES_PER_MESSAGE_MAX;
                    if more.len() > most || changes.len() + more.len() > CHANGES_MAX {
                        return Err(SyncError::violation("too many changes"));
                    }
                    bases = None;
                    if kept {
                        changes.extend(more);
                    }
                }
                FromShim::Blob(blob) if kept => {
                    let bases = bases.get_or_insert_with(|| bases_of(self.manifest, &changes));
                    self.blob(blob, bases, incoming)?;
                }
                FromShim::Blob(blob) => skip(blob, incoming)?,
                FromShim::BlobsEnd => return Ok(changes),
                other => return Err(SyncError::out_of_turn(&other)),
            }
        }
    }

    /// Receives the blobs that were asked for, up to the end mark.
    pub(crate) fn blobs(
        &mut self,
        changes: &[Change],
        incoming: &mut Incoming,
    ) -> Result<(), SyncError> {
        let bases = bases_of(self.manifest, changes);
        loop {
            match incoming.message()? {
                FromShim::Blob(blob) => self.blob(blob, &bases, incoming)?,
                FromShim::BlobsEnd => return Ok(()),
                other => return Err(SyncError::out_of_turn(&other)),
            }
        }
    }

    /// Receives one blob into the store. The base of a patch is the previous version of the
    /// file in the tree if it still has that digest, otherwise a blob of the store.
    fn blob(
        &mut self,
        blob: Blob,
        bases: &Bases,
        incoming: &mut Incoming,
    ) -> Result<(), SyncError> {
        let from_tree = bases.get(&blob.digest).and_then(|(path, old)| match blob.encoding {
            Encoding::Patch { base, .. } if base == old.digest && old.size <= PACKED_BYTES_MAX => {
                let bytes = self.root.read(path, PACKED_BYTES_MAX).ok()?;
                (Digest::of(&bytes) == base).then_some(bytes)
            }
            _ => None,
        });
        let base = |packs: &mut PackStore, digest: &Digest| from_tree.or_else(|| packs.get(digest));
        self.store.receive(incoming, blob, base)
    }
}

/// Asks level by level for the directory objects that are unknown, until the manifest of
/// `root` is complete.
pub(crate) fn directory_objects(
    held: &Directory,
    root: Digest,
    incoming: &mut Incoming,
    outgoing: &Outgoing,
) -> Result<Directory, SyncError> {
    let mut known: HashMap<Digest, &Directory> = HashMap::new();
    known.insert(held.digest(), held);
    held.visit(&mut |_, node| {
        if let Node::Directory(directory) = node {
            known.insert(directory.digest(), directory);
        }
    });
    let mut received: HashMap<Digest, Vec<(FileName, ObjectEntry)>> = HashMap::new();
    let mut wanted = vec![root];
    let mut depth = 0;
    while !wanted.is_empty() {
        depth += 1;
        if depth > limit::PATH_DEPTH_MAX + 1 {
            return Err(SyncError::violation("directories are nested too deeply"));
        }
        let mut next = Vec::new();
        let mut listed_below = HashSet::new();
        for batch in wanted.chunks(limit::DIGESTS_PER_MESSAGE_MAX) {
            outgoing.message(&FromAgent::Want(Want::DirectoryObjects(batch.to_vec())))?;
            let mut expected = batch.iter();
            while expected.len() > 0 {
                let FromShim::DirectoryObjects(directory_objects) = incoming.message()? else {
                    return Err(SyncError::violation("expected directory objects"));
                };
                for object in directory_objects {
                    let digest = expected.next().ok_or_else(|| {
                        SyncError::violation("more directory objects than were asked for")
                    })?;
                    if object.digest()? != *digest {
                        return Err(SyncError::Damaged(*digest));
                    }
                    for (_, listed) in &object.0 {
                        if let ObjectEntry::Directory(below) = listed
                            && !known.contains_key(below)
                            && !received.contains_key(below)
                            && listed_below.insert(*below)
                        {
                            next.push(*below);
                        }
                    }
                    received.insert(*digest, object.0);
                }
            }
        }
        wanted = next;
    }
    build(root, &known, &received, 0)
}

fn build(
    digest: Digest,
    known: &HashMap<Digest, &Directory>,
    received: &HashMap<Digest, Vec<(FileName, ObjectEntry)>>,
    depth: usize,
) -> Result<Directory, SyncError> {
    if depth > limit::PATH_DEPTH_MAX {
        return Err(SyncError::violation("directories are nested too deeply"));
    }
    if let Some(directory) = known.get(&digest) {
        return Ok((*directory).clone());
    }
    let object = received.get(&digest).ok_or(SyncError::MissingBlob(digest))?;
    let mut directory = Directory::new();
    for (name, listed) in object {
        let node = match listed {
            ObjectEntry::File(file) => Node::File(*file),
            ObjectEntry::Link(target) => Node::Link(target.clone()),
            ObjectEntry::Directory(below) => {
                Node::Directory(build(*below, known, received, depth + 1)?)
            }
        };
        directory.insert(name.clone(), node);
    }
    Ok(directory)
}

/// For the digest of each new version of a file: the path and the file of the old one.
type Bases = HashMap<Digest, (burst_protocol::RelativePath, File)>;

fn bases_of(held: &Directory, changes: &[Change]) -> Bases {
    let mut bases = HashMap::new();
    for change in changes {
        if let Change::Put { path, entry: Entry::File(file) } = change
            && let Some(old) = held.file(path)
        {
            bases.insert(file.digest, (path.clone(), *old));
        }
    }
    bases
}

/// Reads a blob without storing it.
fn skip(blob: Blob, incoming: &mut Incoming) -> Result<(), SyncError> {
    let length = match blob.encoding {
        Encoding::Whole => blob.size,
        Encoding::Patch { length, .. } => length,
    };
    blobs::receive_pieces(incoming, length, |_| Ok(()))
}
