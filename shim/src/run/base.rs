//! What the agent is believed to hold before a run. Pure.

use burst_protocol::Digest;
use burst_protocol::tree::Directory;

/// The state that the agent is believed to hold, compared with the one that is needed.
#[derive(Debug)]
pub(super) enum Base {
    /// Not known: the agent has to be asked.
    Unknown,
    /// The state that is needed: nothing has to be sent.
    Current(Digest),
    /// Another state, of which only the digest is known here.
    DigestOnly(Digest),
    /// Another state, whose tree is known here: the difference goes with the request.
    Older(Directory),
}

impl Base {
    /// Decides by the root digest that was remembered. `remembered_tree` loads the tree
    /// behind it; `is_new_server` says that the agent has never been talked to and is
    /// certain to be empty.
    pub(super) fn decide(
        needed: Digest,
        remembered: Option<Digest>,
        remembered_tree: impl FnOnce() -> Option<Directory>,
        is_new_server: bool,
    ) -> Self {
        match remembered {
            None if is_new_server => Self::Older(Directory::new()),
            None => Self::Unknown,
            Some(digest) if digest == needed => Self::Current(digest),
            Some(digest) => remembered_tree().map_or(Self::DigestOnly(digest), Self::Older),
        }
    }

    /// The digest that the request names.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Unknown => None,
            Self::Current(digest) | Self::DigestOnly(digest) => Some(*digest),
            Self::Older(tree) => Some(tree.digest()),
        }
    }

    /// The tree that the difference is made against, if one is sent at once.
    pub(super) const fn tree(&self) -> Option<&Directory> {
        match self {
            Self::Older(tree) => Some(tree),
            _ => None,
        }
    }

    /// Whether the agent already holds what is needed.
    pub(super) const fn is_current(&self) -> bool {
        matches!(self, Self::Current(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_sent_where_the_base_is_known() {
        let (needed, other) = (Digest::of(b"needed"), Digest::of(b"other"));
        let tree = || Some(Directory::new());
        assert!(matches!(Base::decide(needed, None, tree, false), Base::Unknown));
        assert!(matches!(Base::decide(needed, None, || None, true), Base::Older(_)));
        assert!(Base::decide(needed, Some(needed), tree, true).is_current());
        assert!(matches!(Base::decide(needed, Some(other), tree, true), Base::Older(_)));
        let lost = Base::decide(needed, Some(other), || None, true);
        assert!(matches!(lost, Base::DigestOnly(digest) if digest == other));
        assert_eq!(lost.digest(), Some(other));
    }
}
