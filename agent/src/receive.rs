//! The receiving half of a sync: offered changes, directory objects and blobs.
//!
//! Everything here comes from a peer: lengths and counts are capped, and digests are
//! checked. Only the blob store is written. A tree that directory objects describe is counted
//! before it is built, because objects can name each other any number of times.

use std::collections::{HashMap, HashSet};

use burst_protocol::budget::Budget;
use burst_protocol::message::{Blob, Encoding, FromAgent, FromShim, Want};
use burst_protocol::tree::{Change, Directory, Entry, File, Node, ObjectEntry};
use burst_protocol::{Digest, FileName, limit};
use burst_sync::SyncError;
use burst_sync::blobs::{self, BlobStore};
use burst_sync::pack::{PACKED_BYTES_MAX, PackStore};
use burst_sync::root_directory::RootDirectory;
use burst_sync::wire::{Incoming, Outgoing};

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
        let mut budget = Budget::default();
        let mut bases = None;
        loop {
            match incoming.message()? {
                FromShim::Changes(more) => {
                    let counted = more.iter().try_for_each(|change| budget.change(change.path()));
                    counted.map_err(|error| SyncError::violation(error.to_string()))?;
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
    let mut received = Objects::new();
    let mut entries = 0;
    let mut wanted = vec![root];
    let mut depth = 0;
    while !wanted.is_empty() {
        depth += 1;
        if depth > limit::PATH_DEPTH_MAX + 1 {
            return Err(SyncError::violation(TOO_DEEP));
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
                    entries += object.0.len();
                    if entries > limit::TREE_COST_MAX {
                        return Err(SyncError::violation(TOO_LARGE));
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
    let extent = extent(root, &received, &mut known_extents(held), 0)?;
    if extent.cost > limit::TREE_COST_MAX {
        return Err(SyncError::violation(TOO_LARGE));
    }
    if extent.height > limit::PATH_DEPTH_MAX {
        return Err(SyncError::violation(TOO_DEEP));
    }
    build(root, &known, &received)
}

/// Directory objects that were received, by their digests.
type Objects = HashMap<Digest, Vec<(FileName, ObjectEntry)>>;

const TOO_DEEP: &str = "directories are nested too deeply";
const TOO_LARGE: &str = "the tree has too many files and directories";

/// How large a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// The cost of the directory and of everything below, in the units of [`Budget`].
    cost: usize,
    /// The levels of names below.
    height: usize,
}

impl Extent {
    const EMPTY: Self = Self { cost: limit::DIRECTORY_COST, height: 0 };
    const FILE: Self = Self { cost: 1, height: 0 };

    /// This directory with one more entry.
    const fn with(self, entry: Self) -> Self {
        let height = if self.height > entry.height { self.height } else { entry.height + 1 };
        Self { cost: self.cost.saturating_add(entry.cost), height }
    }
}

/// The extent of each directory in a tree, itself included.
fn known_extents(tree: &Directory) -> HashMap<Digest, Extent> {
    fn add(directory: &Directory, extents: &mut HashMap<Digest, Extent>) -> Extent {
        let below = directory.entries().map(|(_, node)| match node {
            Node::Directory(below) => add(below, extents),
            Node::File(_) | Node::Link(_) => Extent::FILE,
        });
        let extent = below.fold(Extent::EMPTY, Extent::with);
        extents.insert(directory.digest(), extent);
        extent
    }
    let mut extents = HashMap::new();
    add(tree, &mut extents);
    extents
}

/// The extent of the tree that an object describes, as if each object that it names were its
/// own. Each object is looked at once.
fn extent(
    digest: Digest,
    received: &Objects,
    extents: &mut HashMap<Digest, Extent>,
    depth: usize,
) -> Result<Extent, SyncError> {
    if depth > limit::PATH_DEPTH_MAX {
        return Err(SyncError::violation(TOO_DEEP));
    }
    if let Some(extent) = extents.get(&digest) {
        return Ok(*extent);
    }
    let object = received.get(&digest).ok_or(SyncError::MissingBlob(digest))?;
    let mut sum = Extent::EMPTY;
    for (_, listed) in object {
        sum = sum.with(match listed {
            ObjectEntry::File(_) | ObjectEntry::Link(_) => Extent::FILE,
            ObjectEntry::Directory(below) => extent(*below, received, extents, depth + 1)?,
        });
    }
    extents.insert(digest, sum);
    Ok(sum)
}

/// Builds a tree whose [`extent`] is known to be small enough.
fn build(
    digest: Digest,
    known: &HashMap<Digest, &Directory>,
    received: &Objects,
) -> Result<Directory, SyncError> {
    if let Some(directory) = known.get(&digest) {
        return Ok((*directory).clone());
    }
    let object = received.get(&digest).ok_or(SyncError::MissingBlob(digest))?;
    let nodes = object.iter().map(|(name, listed)| {
        let node = match listed {
            ObjectEntry::File(file) => Node::File(*file),
            ObjectEntry::Link(target) => Node::Link(target.clone()),
            ObjectEntry::Directory(below) => Node::Directory(build(*below, known, received)?),
        };
        Ok((name.clone(), node))
    });
    nodes.collect()
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

#[cfg(test)]
mod tests {
    use burst_protocol::tree::DirectoryObject;

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text.as_bytes()).unwrap()
    }

    /// Objects of which each but the first names the one before it `times` times.
    fn tower(levels: usize, times: usize) -> (Digest, Objects) {
        let mut objects = Objects::new();
        let mut top = DirectoryObject(Vec::new());
        for _ in 0..levels {
            let below = top.digest().unwrap();
            objects.insert(below, top.0);
            let entry = |n: usize| (name(&format!("{n:03}")), ObjectEntry::Directory(below));
            top = DirectoryObject((0..times).map(entry).collect());
        }
        let digest = top.digest().unwrap();
        objects.insert(digest, top.0);
        (digest, objects)
    }

    fn extent_of(tower: &(Digest, Objects), held: &Directory) -> Result<Extent, SyncError> {
        extent(tower.0, &tower.1, &mut known_extents(held), 0)
    }

    #[test]
    fn objects_that_name_each_other_twice_are_counted_before_they_are_built() {
        let empty = Directory::new();
        let small = tower(3, 2);
        let expected = Extent { cost: limit::DIRECTORY_COST * (1 + 2 + 4 + 8), height: 3 };
        assert_eq!(extent_of(&small, &empty).unwrap(), expected);
        let built = build(small.0, &HashMap::new(), &small.1).unwrap();
        assert_eq!(built.digest(), small.0);
        assert_eq!(known_extents(&built)[&small.0], expected);
        // What is known here counts as often as it is named.
        assert_eq!(extent_of(&small, &built).unwrap(), expected);
        // 27 levels describe 268 million directories; 200 describe more than can be counted.
        let cost = |levels, times| extent_of(&tower(levels, times), &empty).unwrap().cost;
        assert_eq!(cost(27, 2), limit::DIRECTORY_COST * ((1 << 28) - 1));
        assert!(cost(27, 2) > limit::TREE_COST_MAX);
        assert_eq!(cost(200, 3), usize::MAX);
    }

    #[test]
    fn the_depth_of_objects_is_that_of_a_path() {
        let empty = Directory::new();
        let deepest = tower(limit::PATH_DEPTH_MAX, 1);
        assert_eq!(extent_of(&deepest, &empty).unwrap().height, limit::PATH_DEPTH_MAX);
        assert!(extent_of(&tower(limit::PATH_DEPTH_MAX + 1, 1), &empty).is_err());
        // Received objects above a tree that is known.
        let held = build(deepest.0, &HashMap::new(), &deepest.1).unwrap();
        let (above, objects) = tower(limit::PATH_DEPTH_MAX + 3, 1);
        assert_eq!(extent_of(&(above, objects), &held).unwrap().height, limit::PATH_DEPTH_MAX + 3);
    }
}
