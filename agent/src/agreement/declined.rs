//! The versions of paths that the client has declined. Pure.

use std::collections::BTreeMap;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Change, Directory, Entry, Node};
use serde::{Deserialize, Serialize};

/// For each path the version that was declined: an entry, or its absence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Declined(BTreeMap<RelativePath, Option<Entry>>);

impl Declined {
    /// Records the version that a change leads to.
    pub(super) fn insert(&mut self, change: &Change) {
        let (path, version) = version_of(change);
        self.0.insert(path.clone(), version.cloned());
    }

    /// Whether this change leads to a version that was declined. A removal also does where
    /// it makes room for that version.
    pub(super) fn contains(&self, change: &Change) -> bool {
        let (path, version) = version_of(change);
        let declined = self.0.get(path);
        declined.is_some_and(|declined| version.is_none() || declined.as_ref() == version)
    }

    /// Whether the version of `path` in `disk` was declined.
    pub(super) fn is_at(&self, path: &RelativePath, disk: &Directory) -> bool {
        self.0.get(path).is_some_and(|declined| is_version(declined.as_ref(), disk.get(path)))
    }

    /// Removes the versions that the disk no longer has, and those that are agreed.
    pub(super) fn forget_outdated(&mut self, agreed: &Directory, disk: &Directory) {
        self.0.retain(|path, declined| {
            let (agreed, now) = (agreed.get(path), disk.get(path));
            is_version(declined.as_ref(), now) && !is_same(agreed, now)
        });
    }

    /// The paths with a declined version.
    pub(super) fn paths(&self) -> impl Iterator<Item = &RelativePath> {
        self.0.keys()
    }
}

const fn version_of(change: &Change) -> (&RelativePath, Option<&Entry>) {
    match change {
        Change::Put { path, entry } => (path, Some(entry)),
        Change::Remove { path } => (path, None),
    }
}

/// Whether two nodes are the same entry of their directory: directories are, whatever they
/// contain.
pub(super) fn is_same(one: Option<&Node>, other: Option<&Node>) -> bool {
    match (one, other) {
        (Some(Node::Directory(_)), Some(Node::Directory(_))) => true,
        (one, other) => one == other,
    }
}

/// Whether a node is this version. The absence of an entry includes a directory in its
/// place: the changes that lead there begin with a removal.
fn is_version(version: Option<&Entry>, node: Option<&Node>) -> bool {
    match (version, node) {
        (None, None | Some(Node::Directory(_)))
        | (Some(Entry::Directory), Some(Node::Directory(_))) => true,
        (Some(Entry::File(declined)), Some(Node::File(file))) => declined == file,
        (Some(Entry::Link(declined)), Some(Node::Link(link))) => declined == link,
        _ => false,
    }
}
