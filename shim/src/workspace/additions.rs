//! What is added to the tree of a scan that has followed git's rules: files that git tracks, and
//! what cargo reads although git ignores it.
//!
//! Of a package of which git ignores everything, and of a replacement of a registry, all is
//! added; of a target whose main file git ignores, the directory of that file, in which its
//! modules are. The target directory, `extra_excludes` and `.git` stay out.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Directory, Node};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::{IgnoreRules, Whole};
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::{add_paths, scan_further};
use burst_sync::stat_cache::StatCache;
use burst_sync::tally::Tally;

use super::inputs::Inputs;

/// Additions to the tree of one root.
pub(super) struct Additions<'a> {
    /// The root.
    pub(super) handle: &'a RootDirectory,
    /// Its path below `/`.
    pub(super) prefix: &'a RelativePath,
    pub(super) rules: &'a IgnoreRules,
    pub(super) scanned: &'a mut StatCache,
    /// When the scan began.
    pub(super) now: Moment,
    /// Counts what is found.
    pub(super) tally: &'a Tally,
}

impl Additions<'_> {
    /// Adds single files, as far as they exist and the settings allow them.
    pub(super) fn files<'b>(
        &mut self,
        tree: &mut Directory,
        files: impl IntoIterator<Item = &'b RelativePath>,
    ) -> Result<(), SyncError> {
        let files = files.into_iter().filter(|path| !self.rules.excludes_tracked(path));
        add_paths(self.handle, Some(self.prefix), files, self.scanned, self.now, tree)
    }

    /// Adds what git ignores of the packages, targets and registries below `root`. Returns the
    /// directories that were added whole; there is no path for the root.
    pub(super) fn packages(
        &mut self,
        tree: &mut Directory,
        root: &Path,
        inputs: &Inputs,
    ) -> Result<Vec<Option<RelativePath>>, SyncError> {
        let mut whole = Vec::new();
        for package in inputs.packages.iter().filter(|package| package.starts_with(root)) {
            let directory = below(root, package);
            if !lacks(tree, root, &package.join("Cargo.toml")) {
                continue;
            }
            if has_files(tree, directory.as_ref()) {
                self.files(tree, &below(root, &package.join("Cargo.toml")))?;
            } else {
                self.whole(tree, directory.clone(), Whole::Package)?;
                whole.push(directory);
            }
        }
        for (source, package) in &inputs.targets {
            if !lacks(tree, root, source) {
                continue;
            }
            match source.parent() {
                Some(directory) if directory != package && directory != root => {
                    self.whole(tree, below(root, directory), Whole::Package)?;
                    whole.push(below(root, directory));
                }
                _ => self.files(tree, &below(root, source))?,
            }
        }
        for registry in inputs.registries.iter().filter(|registry| registry.starts_with(root)) {
            // The scan has been there unless git ignores a directory above.
            if lacks(tree, root, registry) {
                self.whole(tree, below(root, registry), Whole::Registry)?;
                whole.push(below(root, registry));
            }
        }
        let included = &inputs.included_directories;
        for directory in included.iter().filter(|directory| directory.starts_with(root)) {
            self.whole(tree, below(root, directory), Whole::Package)?;
            whole.push(below(root, directory));
        }
        let files = inputs.included_files.iter().filter_map(|file| below(root, file));
        self.files(tree, &files.collect::<Vec<_>>())?;
        Ok(whole)
    }

    /// Adds a directory; the root if there is no path.
    fn whole(
        &mut self,
        tree: &mut Directory,
        directory: Option<RelativePath>,
        kind: Whole,
    ) -> Result<(), SyncError> {
        let Some(directory) = directory else {
            return self.scan(tree, &RootDirectory::share(self.handle)?, None, kind);
        };
        if self.rules.excludes_tracked(&directory) {
            return Ok(());
        }
        match self.handle.subdirectory(&directory) {
            Ok(handle) => self.scan(tree, &handle, Some(directory), kind),
            // What is behind a link is a root of its own.
            Err(_) => self.files(tree, [&directory]),
        }
    }

    fn scan(
        &mut self,
        tree: &mut Directory,
        handle: &RootDirectory,
        directory: Option<RelativePath>,
        kind: Whole,
    ) -> Result<(), SyncError> {
        let prefix = match &directory {
            Some(directory) => self.prefix.join_path(directory),
            None => Ok(self.prefix.clone()),
        };
        let too_long = |source| SyncError::Path { path: self.prefix.absolute(), source };
        let prefix = prefix.map_err(too_long)?;
        let filter = self.rules.whole(directory.clone(), kind);
        let found =
            scan_further(handle, Some(&prefix), &filter, self.scanned, self.now, self.tally)?;
        merge(tree, directory.as_ref(), found.tree)
    }
}

/// The path of `path` below `root`; none for the root itself.
fn below(root: &Path, path: &Path) -> Option<RelativePath> {
    RelativePath::new(path.strip_prefix(root).ok()?.as_os_str().as_bytes()).ok()
}

/// Whether a path below the root exists and is not in its tree.
fn lacks(tree: &Directory, root: &Path, path: &Path) -> bool {
    below(root, path).is_some_and(|below| tree.get(&below).is_none()) && path.exists()
}

/// Whether a tree has a file in a directory, or anywhere.
fn has_files(tree: &Directory, directory: Option<&RelativePath>) -> bool {
    match directory.map(|directory| tree.get(directory)) {
        None => tree.count_files() > 0,
        Some(Some(Node::Directory(found))) => found.count_files() > 0,
        Some(found) => found.is_some(),
    }
}

/// Adds to a tree what it lacks of a directory in it.
fn merge(
    tree: &mut Directory,
    at: Option<&RelativePath>,
    added: Directory,
) -> Result<(), SyncError> {
    let Some(path) = at else {
        for (name, node) in added.entries() {
            merge_node(tree, &name.clone().into(), node)?;
        }
        return Ok(());
    };
    merge_node(tree, path, &Node::Directory(added))
}

fn merge_node(tree: &mut Directory, path: &RelativePath, node: &Node) -> Result<(), SyncError> {
    match (tree.get(path), node) {
        (None, _) => Ok(tree.put(path, node.clone())?),
        (Some(Node::Directory(_)), Node::Directory(added)) => {
            for (name, node) in added.entries() {
                // The scan has taken the path, so it is not too long.
                if let Ok(path) = path.join(name) {
                    merge_node(tree, &path, node)?;
                }
            }
            Ok(())
        }
        (Some(_), _) => Ok(()),
    }
}
