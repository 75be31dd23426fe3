//! The files of a project's tree that are not sources.

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Directory, Node};
use burst_sync::SyncError;
use burst_sync::ignore_rules::is_cargo_tag;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::Filter;

use crate::error::messages_of;
use crate::lock::lock;

/// Excludes mount points, and directories that cargo has marked as target directories, those of a
/// test that calls cargo for example; both only where the client has sent nothing.
pub(super) struct SourceFilter<'a> {
    pub(super) root: &'a RootDirectory,
    pub(super) agreed: &'a Directory,
    /// The tree as it was scanned before.
    pub(super) disk: &'a Directory,
    pub(super) mount_points: &'a BTreeSet<RelativePath>,
    /// The errors of entries that cannot be read.
    pub(super) unreadable: Mutex<BTreeSet<String>>,
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
    /// then the entry counts as it was, nothing of it is offered, and the client is told.
    fn unreadable(
        &self,
        path: Option<&RelativePath>,
        error: SyncError,
    ) -> Result<Option<Node>, SyncError> {
        let error = messages_of(&error).join(": ");
        tracing::warn!("an entry of the tree is passed over: {error}");
        lock(&self.unreadable).insert(error);
        Ok(path.and_then(|path| self.disk.get(path)).cloned())
    }

    /// A mount point at which the client has sources now is one of earlier runs: what it has
    /// sent is on the disk, and would otherwise count as removed by the run.
    fn skips(&self, path: &RelativePath, _: bool, (): &()) -> bool {
        self.mount_points.contains(path) && self.agreed.get(path).is_none()
    }
}
