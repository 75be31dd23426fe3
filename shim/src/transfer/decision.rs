//! What is done here with one change of a run. Pure.

use burst_protocol::tree::{Entry, Node};

/// What is done with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: the path is in this state already.
    Held,
    /// The path takes the run's version.
    Take,
    /// The path was edited here: the run's version is written beside it.
    Beside,
    /// The path was edited here and the run's version cannot be written beside it: it stays
    /// as it is.
    Keep,
}

/// Decides about a run's version of a path. `here` is the entry at the path now, and
/// `expected` the one that the agent took for it: a path that has neither was not edited.
pub(super) fn decide(
    version: Option<&Entry>,
    here: Option<&Node>,
    expected: Option<&Node>,
) -> Decision {
    // Only an empty directory makes room, and only to the removal of it.
    let is_untouched = here == expected && !matches!(here, Some(Node::Directory(_)));
    match (version, here) {
        (None, None) | (Some(Entry::Directory), Some(Node::Directory(_))) => Decision::Held,
        (Some(Entry::File(file)), Some(Node::File(held))) if held == file => Decision::Held,
        (Some(Entry::Link(link)), Some(Node::Link(held))) if held == link => Decision::Held,
        _ if is_untouched => Decision::Take,
        (Some(Entry::Directory), None) => Decision::Take,
        (Some(Entry::File(_)), _) => Decision::Beside,
        _ => Decision::Keep,
    }
}

#[cfg(test)]
mod tests {
    use burst_protocol::Digest;
    use burst_protocol::tree::{Directory, File, FileMode, LinkTarget};

    use super::*;

    fn file(content: &str) -> File {
        let digest = Digest::of(content.as_bytes());
        File { size: content.len() as u64, digest, mode: FileMode::REGULAR }
    }

    #[test]
    fn a_path_takes_the_runs_version_unless_it_was_edited() {
        let (sent, edited) = (Node::File(file("sent")), Node::File(file("edited")));
        let version = Entry::File(file("run"));
        let held = Node::File(file("run"));
        for (here, expected, decision) in [
            (Some(&sent), Some(&sent), Decision::Take),
            (None, None, Decision::Take),
            (Some(&held), Some(&sent), Decision::Held),
            (Some(&edited), Some(&sent), Decision::Beside),
            (None, Some(&sent), Decision::Beside),
            (Some(&edited), None, Decision::Beside),
        ] {
            assert_eq!(decide(Some(&version), here, expected), decision, "{here:?} {expected:?}");
        }
        assert_eq!(decide(None, Some(&sent), Some(&sent)), Decision::Take);
        assert_eq!(decide(None, Some(&edited), Some(&sent)), Decision::Keep);
        assert_eq!(decide(None, None, Some(&sent)), Decision::Held);
    }

    #[test]
    fn links_and_directories_are_not_written_beside() {
        let link = Entry::Link(LinkTarget::new(b"a").unwrap());
        let edited = Node::File(file("edited"));
        assert_eq!(decide(Some(&link), Some(&edited), None), Decision::Keep);
        assert_eq!(decide(Some(&Entry::Directory), Some(&edited), None), Decision::Keep);
        let directory = Node::Directory(Directory::new());
        assert_eq!(decide(Some(&Entry::Directory), Some(&directory), None), Decision::Held);
        assert_eq!(decide(Some(&link), Some(&directory), None), Decision::Keep);
    }

    #[test]
    fn links_are_compared_by_their_targets() {
        let target = |target: &[u8]| LinkTarget::new(target).unwrap();
        let version = Entry::Link(target(b"run"));
        let (held, sent) = (Node::Link(target(b"run")), Node::Link(target(b"sent")));
        assert_eq!(decide(Some(&version), Some(&held), Some(&sent)), Decision::Held);
        assert_eq!(decide(Some(&version), Some(&sent), Some(&sent)), Decision::Take);
        assert_eq!(decide(Some(&version), Some(&sent), None), Decision::Keep);
        assert_eq!(decide(Some(&version), None, Some(&sent)), Decision::Keep);
    }

    #[test]
    fn a_directory_is_never_replaced_and_a_missing_one_is_made() {
        let directory = Node::Directory(Directory::new());
        let here = Some(&directory);
        assert_eq!(decide(None, here, here), Decision::Keep);
        assert_eq!(decide(Some(&Entry::File(file("run"))), here, here), Decision::Beside);
        let sent = Node::File(file("sent"));
        assert_eq!(decide(Some(&Entry::Directory), None, Some(&sent)), Decision::Take);
        assert_eq!(decide(Some(&Entry::Directory), Some(&sent), Some(&sent)), Decision::Take);
    }
}
