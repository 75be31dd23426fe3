//! The files of a project's tree that are not sources.

use std::collections::{BTreeSet, HashSet};

use burst_protocol::RelativePath;
use burst_protocol::tree::{Directory, Node};
use burst_sync::SyncError;
use burst_sync::ignore_rules::is_cargo_tag;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::Filter;

/// Excludes mount points, and directories that cargo has marked as target directories unless
/// the client has sent them: those of a test that calls cargo, for example.
pub(super) struct SourceFilter<'a> {
    pub(super) root: &'a RootDirectory,
    pub(super) agreed: &'a Directory,
    /// The tree as it was scanned before.
    pub(super) disk: &'a Directory,
    pub(super) mount_points: &'a BTreeSet<RelativePath>,
}

/// The longest tag that is read, in bytes; cargo's has 177.
const TAG_BYTES_MAX: u64 = 4096;

impl SourceFilter<'_> {
    fn is_marked(&self, directory: &RelativePath) -> bool {
        let tag = RelativePath::new(b"CACHEDIR.TAG").and_then(|tag| directory.join_path(&tag));
        let tag = tag.ok().and_then(|tag| self.root.read(&tag, TAG_BYTES_MAX).ok());
        tag.is_some_and(|tag| is_cargo_tag(&tag))
    }
}

impl Filter for SourceFilter<'_> {
    type Context = ();

    fn root(&self) {}

    fn enter(&self, path: Option<&RelativePath>, names: &HashSet<&[u8]>, (): &()) -> Option<()> {
        let has_tag = names.contains(&b"CACHEDIR.TAG"[..]);
        let is_excluded = has_tag
            && path.is_some_and(|path| self.is_marked(path) && self.agreed.get(path).is_none());
        (!is_excluded).then_some(())
    }

    /// A run may leave what cannot be read, and another run may change what is being read:
    /// then the entry counts as it was, and nothing of it is offered.
    fn unreadable(
        &self,
        path: Option<&RelativePath>,
        error: SyncError,
    ) -> Result<Option<Node>, SyncError> {
        tracing::warn!("a file of the tree is passed over: {error}");
        Ok(path.and_then(|path| self.disk.get(path)).cloned())
    }

    fn skips(&self, path: &RelativePath, _: bool, (): &()) -> bool {
        self.mount_points.contains(path)
    }
}
