//! What a command has moved out of its place, to look at it there.
//!
//! A local file leaves its place before it is compared with what was expected, so that no edit
//! falls between the look and the replacement. Each such move is recorded before it is made: a
//! command that is killed in between leaves an entry at a temporary path, and only the record
//! tells whether that is worth nothing or the user's.

use burst_protocol::RelativePath;
use burst_protocol::tree::{Entry, Node};
use serde::{Deserialize, Serialize};

/// The journals of displacements begin with this name.
pub(super) const DISPLACED: &str = "displaced-";

/// A move of an entry from its place to a temporary path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Displacement {
    /// The temporary path. Before the move it has `version`, if there is one.
    pub(super) temporary: RelativePath,
    /// The place.
    pub(super) path: RelativePath,
    /// What was expected at the place.
    pub(super) expected: Entry,
    /// The run's version that takes the place; none where the run has removed it.
    pub(super) version: Option<Entry>,
}

impl Displacement {
    /// Whether an entry that is left at the temporary path is the user's. The run's version is
    /// not, since the agent has it, and neither is what was expected: it was to be replaced.
    pub(super) fn leaves_edit(&self, left: &Node) -> bool {
        let is = |entry: &Entry| entry.clone().into_node() == *left;
        !is(&self.expected) && !self.version.as_ref().is_some_and(is)
    }
}

/// The entry of a path; a directory is given as an empty one.
pub(super) fn entry_of(node: &Node) -> Entry {
    match node {
        Node::File(file) => Entry::File(*file),
        Node::Link(target) => Entry::Link(target.clone()),
        Node::Directory(_) => Entry::Directory,
    }
}

#[cfg(test)]
mod tests {
    use burst_protocol::Digest;
    use burst_protocol::tree::{File, FileMode};

    use super::*;

    #[test]
    fn only_what_nobody_expected_is_the_users() {
        let file = |text: &str| {
            let (size, digest) = (text.len() as u64, Digest::of(text.as_bytes()));
            Entry::File(File { size, digest, mode: FileMode::REGULAR })
        };
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let (temporary, path) = (path("t"), path("a"));
        let [expected, version, edit] = ["sent", "run", "edit"].map(file);
        let leaves = |displacement: &Displacement| {
            [&expected, &version, &edit]
                .map(|left| displacement.leaves_edit(&left.clone().into_node()))
        };
        let (expected, version) = (expected.clone(), Some(version.clone()));
        let replaced = Displacement { temporary, path, expected, version };
        assert_eq!(leaves(&replaced), [false, false, true]);
        let removed = Displacement { version: None, ..replaced };
        assert_eq!(leaves(&removed), [false, true, true]);
    }
}
