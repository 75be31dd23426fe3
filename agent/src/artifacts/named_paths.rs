//! Files and directories that the client has named, whatever they are.
//!
//! They lie in the target directory or in the project's tree. What lies elsewhere does not exist
//! for a client, and neither does anything behind a link; the link itself does.

use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::message::{Artifact, NamedLink};
use burst_protocol::tree::{Directory, LinkTarget, Node};
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
    /// Symbolic links in both.
    pub(crate) links: Vec<NamedLink>,
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
        let entries = if let Some(below) = path.below(places.target_there) {
            let seen_at = places.target_there.absolute();
            let target = open_target(places.target, &seen_at)?;
            let entries = at(&target, &below, cache)?;
            entries.map(|entries| found.add(entries, places.target_there, true))
        } else if let Some(below) = path.below(places.project_there) {
            let project = RootDirectory::open(places.project)?;
            // The project's own cache has other files: those that are sent.
            let mut cache = StatCache::default();
            let entries = at(&project, &below, &mut cache)?;
            entries.map(|entries| found.add(entries, places.project_there, false))
        } else {
            None
        };
        if entries.is_none() {
            found.missing.push(path.clone());
        }
    }
    Ok(found)
}

/// The files and links at a path and below it.
#[derive(Debug, Default)]
struct Entries {
    files: Vec<Artifact>,
    links: Vec<(RelativePath, LinkTarget)>,
}

impl NamedPaths {
    /// Adds what was found in the target directory or in the project, which the client has
    /// `there`.
    fn add(&mut self, entries: Entries, there: &RelativePath, is_target: bool) {
        match is_target {
            true => self.of_target.extend(entries.files),
            false => self.of_project.extend(entries.files),
        }
        self.links.extend(links_there(&entries.links, there));
    }
}

/// The links below a directory that the client has `there`.
pub(crate) fn links_there(
    links: &[(RelativePath, LinkTarget)],
    there: &RelativePath,
) -> impl Iterator<Item = NamedLink> {
    // A path that is too long for the client is none that it has named.
    links.iter().filter_map(|(path, target)| {
        Some(NamedLink { path: there.join_path(path).ok()?, target: target.clone() })
    })
}

/// What is at a path, or below the directory there; `None` if there is nothing.
fn at(
    root: &RootDirectory,
    path: &RelativePath,
    cache: &mut StatCache,
) -> Result<Option<Entries>, AgentError> {
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
    let mut found = Entries::default();
    tree.visit(&mut |path, node| match node {
        Node::File(file) => found.files.push(Artifact { path: path.clone(), file: *file }),
        Node::Link(target) => found.links.push((path.clone(), target.clone())),
        Node::Directory(_) => {}
    });
    let is_something = is_directory(&status) || !found.files.is_empty() || !found.links.is_empty();
    Ok(is_something.then_some(found))
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
        std::os::unix::fs::symlink("a", path("target/tmp/b/latest")).unwrap();
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
            "w/link",
            "w/none",
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
        let links = found.links.iter().map(|link| link.path.display().to_string());
        assert_eq!(links.collect::<Vec<_>>(), ["w/target/tmp/b/latest", "w/link"]);
        assert_eq!(found.missing, named[4..]);
    }
}
