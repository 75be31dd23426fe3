//! Where a fetched blob goes, and what may be there.

use burst_protocol::tree::{File, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::clock::Moment;

/// A place that a blob is written to.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// The path below the workspace or the target directory.
    pub(super) path: RelativePath,
    /// The file that it becomes.
    pub(super) file: File,
    pub(super) place: Place,
}

/// What kind of place it is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A source file, if it is the expected one still.
    Source {
        /// The index of the change.
        index: u32,
        expected: Option<Node>,
        /// Whether the run has created the path.
        is_new: bool,
    },
    /// Beside a source file that was edited here.
    Beside {
        /// The index of the change.
        index: u32,
        /// Why the run's version is not in its place.
        conflict: Conflict,
    },
    /// A file of the workspace that the user has named.
    Named {
        /// What is there and may be replaced.
        expected: Option<Node>,
    },
    /// A file of the target directory.
    Artifact {
        /// The digest of the file that is there, as the base of a patch.
        base: Option<Digest>,
        /// The modification time that it gets, if it matters.
        modified: Option<Moment>,
    },
}

/// Why the version of a run does not take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// The path was edited here.
    Edited,
    /// What is here is not sent.
    Unsent,
    /// What is here is not sent, and the user was told so.
    Known,
}

impl Destination {
    /// The same place, for which the whole file is fetched.
    pub(super) fn without_base(mut self) -> Self {
        if let Place::Artifact { base, .. } = &mut self.place {
            *base = None;
        }
        self
    }

    /// The file here that a patch can be based on.
    pub(super) const fn base(&self) -> Option<Digest> {
        match self.place {
            Place::Artifact { base, .. } => base,
            _ => None,
        }
    }
}
