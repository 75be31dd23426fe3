//! Files and directories that the client has named, whatever they are.
//!
//! They lie in the target directory or in the project's tree. What lies elsewhere does not exist
//! for a client, and neither does anything behind a link.

use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::message::Artifact;
use burst_protocol::tree::{Directory, Node};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::root_directory::{RootDirectory, is_directory};
use burst_sync::scan::{AllBut, add_paths, scan};
use burst_sync::stat_cache::StatCache;
use burst_sync::tally::Tally;

use super::open_target;
use crate::error::AgentError;

/// Where named paths may lie.
pub(crate) struct Places<'a> {
    /// The target directory on the agent's disk.
    pub(crate) target: &'a Path,
    /// Where the client has it, below `/`.
    pub(crate) target_there: &'a RelativePath,
    /// The project's directory on the agent's disk.
    pub(crate) project: &'a Path,
    /// Where the client has it, below `/`.
    pub(crate) project_there: &'a RelativePath,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct NamedPaths {
    /// Files below the target directory.
    pub(crate) of_target: Vec<Artifact>,
    /// Files below the project.
    pub(crate) of_project: Vec<Artifact>,
    /// Paths at which there is nothing.
    pub(crate) missing: Vec<RelativePath>,
}

/// Looks for paths of the client, below `/`. `cache` is that of the target directory.
pub(crate) fn find(
    places: &Places<'_>,
    paths: &[RelativePath],
    cache: &mut StatCache,
) -> Result<NamedPaths, AgentError> {
    let mut found = NamedPaths::default();
    for path in paths {
        let files = if let Some(below) = path.below(places.target_there) {
            let seen_at = places.target_there.absolute();
            let target = open_target(places.target, &seen_at)?;
            at(&target, &below, cache)?.map(|files| found.of_target.extend(files))
        } else if let Some(below) = path.below(places.project_there) {
            let project = RootDirectory::open(places.project)?;
            // The project's own cache has other files: those that are sent.
            let mut cache = StatCache::default();
            at(&project, &below, &mut cache)?.map(|files| found.of_project.extend(files))
        } else {
            None
        };
        if files.is_none() {
            found.missing.push(path.clone());
        }
    }
    Ok(found)
}

/// The file, or the files below the directory, at a path; `None` if there is neither.
fn at(
    root: &RootDirectory,
    path: &RelativePath,
    cache: &mut StatCache,
) -> Result<Option<Vec<Artifact>>, AgentError> {
    let Ok(status) = root.status(path) else { return Ok(None) };
    let now = Moment::coarse_now();
    let tree = if is_directory(&status) {
        let directory = root.subdirectory(path).map_err(|error| root.unreadable(path, error))?;
        let found =
            scan(&directory, Some(path), &AllBut::default(), cache, now, &Tally::default())?;
        let mut tree = Directory::new();
        tree.put(path, Node::Directory(found.tree)).map_err(SyncError::from)?;
        tree
    } else {
        let mut tree = Directory::new();
        add_paths(root, None, [path], cache, now, &mut tree)?;
        tree
    };
    let mut files = Vec::new();
    tree.visit(&mut |path, node| {
        if let Node::File(file) = node {
            files.push(Artifact { path: path.clone(), file: *file });
        }
    });
    let is_something = is_directory(&status) || !files.is_empty();
    Ok(is_something.then_some(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_are_found_where_they_may_lie_and_not_behind_links() {
        let disk = tempfile::tempdir().unwrap();
        let path = |name: &str| disk.path().join(name);
        for file in ["target/tmp/a", "target/tmp/b/c", "tree/w/data/d", "tree/secret"] {
            std::fs::create_dir_all(path(file).parent().unwrap()).unwrap();
            std::fs::write(path(file), file).unwrap();
        }
        std::fs::create_dir(path("tree/w/empty")).unwrap();
        std::os::unix::fs::symlink("../secret", path("tree/w/link")).unwrap();
        std::os::unix::fs::symlink("..", path("tree/w/up")).unwrap();
        let relative = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let (target_there, project_there) = (relative("w/target"), relative("w"));
        let places = Places {
            target: &path("target"),
            target_there: &target_there,
            project: &path("tree/w"),
            project_there: &project_there,
        };
        let named = [
            "w/target/tmp",
            "w/data/d",
            "w/empty",
            "w/none",
            "w/link",
            "w/up/secret",
            "secret",
            "w/target/none",
        ]
        .map(relative);
        let found = find(&places, &named, &mut StatCache::default()).unwrap();
        let shown = |files: &[Artifact]| {
            files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&found.of_target), ["tmp/a", "tmp/b/c"]);
        assert_eq!(shown(&found.of_project), ["data/d"]);
        assert_eq!(found.missing, named[3..]);
    }
}
