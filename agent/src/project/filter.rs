//! The files of a project's tree that are not sources.

use std::collections::{BTreeSet, HashSet};

use burst_protocol::RelativePath;
use burst_protocol::tree::Directory;
use burst_sync::ignore_rules::is_cargo_tag;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::Filter;

/// Excludes mount points, and directories that cargo has marked as target directories unless
/// the client has sent them: those of a test that calls cargo, for example.
pub(super) struct SourceFilter<'a> {
    pub(super) root: &'a RootDirectory,
    pub(super) agreed: &'a Directory,
    pub(super) mount_points: &'a BTreeSet<RelativePath>,
}

/// The longest tag that is read, in bytes; cargo's has 177.
const TAG_BYTES_MAX: u64 = 4096;

impl Filter for SourceFilter<'_> {
    type Context = ();

    fn root(&self) {}

    fn enter(&self, path: Option<&RelativePath>, names: &HashSet<&[u8]>, (): &()) -> Option<()> {
        let is_marked = || {
            let path = path?;
            let tag = RelativePath::new(b"CACHEDIR.TAG").ok()?;
            let tag = self.root.read(&path.join_path(&tag).ok()?, TAG_BYTES_MAX).ok()?;
            (is_cargo_tag(&tag) && self.agreed.get(path).is_none()).then_some(())
        };
        let excluded = names.contains(&b"CACHEDIR.TAG"[..]) && is_marked().is_some();
        (!excluded).then_some(())
    }

    fn skips(&self, path: &RelativePath, _: bool, (): &()) -> bool {
        self.mount_points.contains(path)
    }
}
