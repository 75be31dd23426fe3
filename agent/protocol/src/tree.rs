//! Manifests: trees of files as names, modes, sizes and digests.
//!
//! Every directory has a digest over its entries, so a comparison of two trees descends
//! only where digests differ. The root digest identifies a state of the tree. The digest
//! of a directory is blake3 in key derivation mode, with the context [`DIGEST_CONTEXT`],
//! over its entries in the byte order of their names:
//!
//! ```text
//! entry = kind (1)  length of the name (2, little endian)  name  body
//! kind 0, file           body = permission bits (2)  size (8, little endian)  digest (32)
//! kind 2, symbolic link  body = length of the target (2)  target
//! kind 3, directory      body = digest (32)
//! ```
//!
//! A manifest contains empty directories, and the permission bits of files. It contains no
//! times, no owners, and no permission bits of directories.

mod decode;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::limit::LINK_BYTES_MAX;
use crate::path::{FileName, PathError, RelativePath};

/// The blake3 key derivation context, which separates directory digests from blob digests.
pub const DIGEST_CONTEXT: &str = "cargo-burst 2026-11 directory digest v2";

/// A regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The size in bytes.
    pub size: u64,
    /// The digest of the content.
    pub digest: Digest,
    /// The permission bits.
    pub mode: FileMode,
}

/// The permission bits of a file: nine bits, for owner, group and others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
pub struct FileMode(u16);

impl FileMode {
    /// The bits of most files.
    pub const REGULAR: Self = Self(0o644);

    /// The permission bits of a status's mode; its other bits are dropped.
    pub const fn of(mode: u32) -> Self {
        Self((mode & 0o777) as u16)
    }

    /// The bits as `chmod` takes them.
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }
}

impl From<u16> for FileMode {
    fn from(bits: u16) -> Self {
        Self(bits & 0o777)
    }
}

impl From<FileMode> for u16 {
    fn from(mode: FileMode) -> Self {
        mode.0
    }
}

impl std::fmt::Debug for FileMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:03o}", self.0)
    }
}

/// The target of a symbolic link: 1 to [`LINK_BYTES_MAX`] bytes without NUL. cargo-burst
/// never follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct LinkTarget(Box<[u8]>);

impl LinkTarget {
    /// Checks `bytes` and keeps a copy.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        match bytes {
            b"" => Err(PathError::Empty),
            _ if bytes.len() > LINK_BYTES_MAX => Err(PathError::TooLong),
            _ if bytes.contains(&0) => Err(PathError::Forbidden),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The target as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<serde_bytes::ByteBuf> for LinkTarget {
    type Error = PathError;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, PathError> {
        Self::new(&bytes)
    }
}

impl From<LinkTarget> for serde_bytes::ByteBuf {
    fn from(target: LinkTarget) -> Self {
        Self::from(target.0.into_vec())
    }
}

/// An entry of a [`Directory`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Node {
    /// A regular file.
    File(File),
    /// A symbolic link.
    Link(LinkTarget),
    /// A directory with its entries.
    Directory(Directory),
}

/// A directory and everything below it. Decoding fails beyond
/// [`PATH_DEPTH_MAX`](crate::limit::PATH_DEPTH_MAX) levels.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Directory {
    entries: BTreeMap<FileName, Node>,
    /// Computed on demand, cleared by every change.
    #[serde(skip)]
    digest: OnceLock<Digest>,
}

impl PartialEq for Directory {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Directory {}

impl FromIterator<(FileName, Node)> for Directory {
    fn from_iter<I: IntoIterator<Item = (FileName, Node)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect(), digest: OnceLock::new() }
    }
}

/// The new content of a path in a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A regular file.
    File(File),
    /// A symbolic link.
    Link(LinkTarget),
    /// A directory. Other changes add its entries.
    Directory,
}

/// One difference between two states of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Creates or replaces `path`, and creates the directories above it.
    Put {
        /// The path that is created or replaced.
        path: RelativePath,
        /// The new file, link or directory.
        entry: Entry,
    },
    /// Removes `path` and everything below it.
    Remove {
        /// The path that is removed.
        path: RelativePath,
    },
}

impl Change {
    /// The path that changes.
    pub const fn path(&self) -> &RelativePath {
        match self {
            Self::Put { path, .. } | Self::Remove { path } => path,
        }
    }
}

/// The entries of one directory in the order of their names, with subdirectories as
/// digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryObject(pub Vec<(FileName, ObjectEntry)>);

/// One entry of a [`DirectoryObject`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectEntry {
    /// A regular file.
    File(File),
    /// A symbolic link.
    Link(LinkTarget),
    /// A directory with this digest.
    Directory(Digest),
}

/// A change or directory object that does not fit a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The path of a directory is a file or a link.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(RelativePath),
    /// The path to be removed does not exist.
    #[error("{} is not in the tree", .0.display())]
    Missing(RelativePath),
    /// The names of a directory object are not sorted or not unique.
    #[error("the names of a directory object are not in order")]
    Unsorted,
}

impl Directory {
    /// Creates an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the directory has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in the byte order of their names.
    pub fn entries(&self) -> impl Iterator<Item = (&FileName, &Node)> {
        self.entries.iter()
    }

    /// Sets the entry `name`.
    pub fn insert(&mut self, name: FileName, node: Node) {
        self.digest.take();
        self.entries.insert(name, node);
    }

    /// The digest of the directory. It is cached until the next change.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let mut hasher = ObjectHasher::new();
            for (name, node) in &self.entries {
                match node {
                    Node::File(file) => hasher.file(name, file),
                    Node::Link(target) => hasher.link(name, target),
                    Node::Directory(directory) => hasher.directory(name, directory.digest()),
                }
            }
            hasher.finish()
        })
    }

    /// The entry at `path`.
    pub fn get(&self, path: &RelativePath) -> Option<&Node> {
        let (parent, name) = path.split();
        let mut directory = self;
        for step in parent.into_iter().flat_map(|parent| parent.split(|byte| *byte == b'/')) {
            match directory.entries.get(step)? {
                Node::Directory(below) => directory = below,
                _ => return None,
            }
        }
        directory.entries.get(name)
    }

    /// The entry at `path`, if it is a file.
    pub fn file(&self, path: &RelativePath) -> Option<&File> {
        match self.get(path)? {
            Node::File(file) => Some(file),
            _ => None,
        }
    }

    /// Sets the entry at `path` and creates the directories above it. An empty directory
    /// does not replace a directory. Fails if a path above is not a directory.
    pub fn put(&mut self, path: &RelativePath, node: Node) -> Result<(), TreeError> {
        let (parent, name) = path.split();
        let directory = self.descend(parent, path)?;
        let name = FileName::new(name).map_err(|_| TreeError::Missing(path.clone()))?;
        match (node, directory.entries.get_mut(&name)) {
            (Node::Directory(new), Some(Node::Directory(_))) if new.is_empty() => {}
            (node, _) => directory.insert(name, node),
        }
        Ok(())
    }

    /// Removes and returns the entry at `path`. The directory above it stays, even if it is
    /// then empty. Fails if there is no entry.
    pub fn remove(&mut self, path: &RelativePath) -> Result<Node, TreeError> {
        if self.get(path).is_none() {
            return Err(TreeError::Missing(path.clone()));
        }
        let (parent, name) = path.split();
        let directory = self.descend(parent, path)?;
        directory.entries.remove(name).ok_or_else(|| TreeError::Missing(path.clone()))
    }

    /// Applies a change. Fails as [`put`](Self::put) and [`remove`](Self::remove) do.
    pub fn apply(&mut self, change: &Change) -> Result<(), TreeError> {
        match change {
            Change::Put { path, entry } => self.put(path, entry.clone().into_node()),
            Change::Remove { path } => self.remove(path).map(drop),
        }
    }

    /// The changes from this tree to `new`, in an order in which they can be applied.
    pub fn changes_to(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        differ(Some(self), new, &mut Vec::new(), &mut changes);
        changes
    }

    /// Calls `visit` for every node below, directories before their entries, in the order of
    /// names.
    pub fn visit<'a>(&'a self, visit: &mut impl FnMut(&RelativePath, &'a Node)) {
        self.visit_below(&mut Vec::new(), visit);
    }

    /// The number of files below.
    pub fn count_files(&self) -> usize {
        let mut count = 0;
        self.visit(&mut |_, node| count += usize::from(matches!(node, Node::File(_))));
        count
    }

    /// The directory object, which a peer that knows the subdirectories can read.
    pub fn object(&self) -> DirectoryObject {
        DirectoryObject(
            self.entries
                .iter()
                .map(|(name, node)| {
                    let entry = match node {
                        Node::File(file) => ObjectEntry::File(*file),
                        Node::Link(target) => ObjectEntry::Link(target.clone()),
                        Node::Directory(directory) => ObjectEntry::Directory(directory.digest()),
                    };
                    (name.clone(), entry)
                })
                .collect(),
        )
    }

    fn visit_below<'a>(
        &'a self,
        prefix: &mut Vec<u8>,
        visit: &mut impl FnMut(&RelativePath, &'a Node),
    ) {
        for (name, node) in &self.entries {
            let length = prefix.len();
            push_name(prefix, name);
            if let Ok(path) = RelativePath::new(prefix) {
                visit(&path, node);
                if let Node::Directory(directory) = node {
                    directory.visit_below(prefix, visit);
                }
            }
            prefix.truncate(length);
        }
    }

    fn descend(
        &mut self,
        parent: Option<&[u8]>,
        path: &RelativePath,
    ) -> Result<&mut Self, TreeError> {
        let mut directory = self;
        for step in parent.into_iter().flat_map(|parent| parent.split(|byte| *byte == b'/')) {
            directory.digest.take();
            let name = FileName::new(step).map_err(|_| TreeError::Missing(path.clone()))?;
            let node =
                directory.entries.entry(name).or_insert_with(|| Node::Directory(Self::new()));
            match node {
                Node::Directory(below) => directory = below,
                _ => return Err(TreeError::NotADirectory(path.clone())),
            }
        }
        directory.digest.take();
        Ok(directory)
    }
}

impl Node {
    /// The entry of the node in its directory: of a directory that it is one.
    pub fn entry(&self) -> Entry {
        match self {
            Self::File(file) => Entry::File(*file),
            Self::Link(target) => Entry::Link(target.clone()),
            Self::Directory(_) => Entry::Directory,
        }
    }
}

impl Entry {
    /// Converts the entry to a node; a directory becomes an empty one.
    pub fn into_node(self) -> Node {
        match self {
            Self::File(file) => Node::File(file),
            Self::Link(target) => Node::Link(target),
            Self::Directory => Node::Directory(Directory::new()),
        }
    }
}

impl DirectoryObject {
    /// The digest of the directory. Fails if the names are not sorted and unique, so that
    /// each digest has only one object.
    pub fn digest(&self) -> Result<Digest, TreeError> {
        if !self.0.is_sorted_by(|(left, _), (right, _)| left < right) {
            return Err(TreeError::Unsorted);
        }
        let mut hasher = ObjectHasher::new();
        for (name, entry) in &self.0 {
            match entry {
                ObjectEntry::File(file) => hasher.file(name, file),
                ObjectEntry::Link(target) => hasher.link(name, target),
                ObjectEntry::Directory(digest) => hasher.directory(name, *digest),
            }
        }
        Ok(hasher.finish())
    }
}

fn push_name(prefix: &mut Vec<u8>, name: &FileName) {
    if !prefix.is_empty() {
        prefix.push(b'/');
    }
    prefix.extend_from_slice(name.as_bytes());
}

fn differ(
    base: Option<&Directory>,
    new: &Directory,
    prefix: &mut Vec<u8>,
    changes: &mut Vec<Change>,
) {
    if base.is_some_and(|base| base.digest() == new.digest()) {
        return;
    }
    if let Some(base) = base {
        for (name, node) in &base.entries {
            let removed = match (node, new.entries.get(name)) {
                (_, None) => true,
                (Node::Directory(_), Some(new)) => !matches!(new, Node::Directory(_)),
                (_, Some(new)) => matches!(new, Node::Directory(_)),
            };
            if removed {
                with_path(prefix, name, |path| changes.push(Change::Remove { path }));
            }
        }
    }
    for (name, node) in &new.entries {
        let old = base.and_then(|base| base.entries.get(name));
        if let Node::Directory(directory) = node {
            let old = match old {
                Some(Node::Directory(old)) => Some(old),
                _ => None,
            };
            if old.is_none() && directory.is_empty() {
                let entry = Entry::Directory;
                with_path(prefix, name, |path| changes.push(Change::Put { path, entry }));
            }
            let length = prefix.len();
            push_name(prefix, name);
            differ(old, directory, prefix, changes);
            prefix.truncate(length);
        } else if old != Some(node) {
            let entry = match node {
                Node::File(file) => Entry::File(*file),
                Node::Link(target) => Entry::Link(target.clone()),
                Node::Directory(_) => continue,
            };
            with_path(prefix, name, |path| changes.push(Change::Put { path, entry }));
        }
    }
}

fn with_path(prefix: &mut Vec<u8>, name: &FileName, act: impl FnOnce(RelativePath)) {
    let length = prefix.len();
    push_name(prefix, name);
    if let Ok(path) = RelativePath::new(prefix) {
        act(path);
    }
    prefix.truncate(length);
}

struct ObjectHasher(blake3::Hasher);

impl ObjectHasher {
    fn new() -> Self {
        static KEYED: OnceLock<blake3::Hasher> = OnceLock::new();
        Self(KEYED.get_or_init(|| blake3::Hasher::new_derive_key(DIGEST_CONTEXT)).clone())
    }

    fn name(&mut self, kind: u8, name: &FileName) {
        self.0.update(&[kind]);
        self.sized(name.as_bytes());
    }

    fn sized(&mut self, bytes: &[u8]) {
        // The types of names and targets limit their length to less than 64 KiB.
        self.0.update(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.0.update(bytes);
    }

    fn file(&mut self, name: &FileName, file: &File) {
        self.name(0, name);
        self.0.update(&u16::from(file.mode).to_le_bytes());
        self.0.update(&file.size.to_le_bytes());
        self.0.update(file.digest.as_bytes());
    }

    fn link(&mut self, name: &FileName, target: &LinkTarget) {
        self.name(2, name);
        self.sized(target.as_bytes());
    }

    fn directory(&mut self, name: &FileName, digest: Digest) {
        self.name(3, name);
        self.0.update(digest.as_bytes());
    }

    fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    fn file(content: &str) -> Node {
        let digest = Digest::of(content.as_bytes());
        Node::File(File { size: content.len() as u64, digest, mode: FileMode::REGULAR })
    }

    fn arbitrary_tree() -> impl Strategy<Value = Directory> {
        let step = ("[ab]{1}(/[ab]{1}){0,3}", 0..4u8);
        proptest::collection::vec(step, 0..12).prop_map(|steps| {
            let mut tree = Directory::new();
            for (name, kind) in steps {
                let node = match kind {
                    0 => Node::Directory(Directory::new()),
                    1 => Node::Link(LinkTarget::new(b"a").unwrap()),
                    2 => file("x"),
                    _ => file(&name),
                };
                // Fails where a file is at the path of a directory; such a step is skipped.
                let _ = tree.put(&path(&name), node);
            }
            tree
        })
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_tree_to_the_other(a in arbitrary_tree(), b in arbitrary_tree()) {
            let mut tree = a.clone();
            for change in a.changes_to(&b) {
                tree.apply(&change).unwrap();
            }
            prop_assert_eq!(tree.digest(), b.digest());
            prop_assert!(b.changes_to(&b).is_empty());
        }

        #[test]
        fn an_object_has_the_digest_of_its_directory(tree in arbitrary_tree()) {
            prop_assert_eq!(tree.object().digest().unwrap(), tree.digest());
        }
    }

    #[test]
    fn a_change_deep_down_changes_the_root() {
        let mut tree = Directory::new();
        tree.put(&path("a/b/c"), file("1")).unwrap();
        let before = tree.digest();
        tree.put(&path("a/b/c"), file("2")).unwrap();
        assert_ne!(before, tree.digest());
        assert_eq!(tree.changes_to(&tree.clone()), []);
    }

    #[test]
    fn the_digest_of_a_known_tree_never_changes() {
        let mut tree = Directory::new();
        tree.put(&path("src/main.rs"), file("fn main() {}\n")).unwrap();
        tree.put(&path("link"), Node::Link(LinkTarget::new(b"src").unwrap())).unwrap();
        assert_eq!(
            tree.digest().to_hex(),
            "42198cc96797490cedca7ee83d63050f56cb0802b7fb4a01b63247379721e427"
        );
    }
}
