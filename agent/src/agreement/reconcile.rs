//! What a sync does to the disk. Pure.
//!
//! | the client's path | on the disk | the sync |
//! |---|---|---|
//! | changed since the agreement | as agreed | takes the client's version |
//! | changed since the agreement | changed by a run | takes the client's version; the run's is renamed to `NAME.from-burst` or, if that exists, `NAME.1.from-burst`, which is offered |
//! | as agreed | changed by a run | leaves the run's version, which is offered again |
//! | as agreed | a version that the client has declined | restores the client's version |
//! | absent, as agreed | made by a run | leaves it, as a local build would |

use std::collections::BTreeMap;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Change, Directory, Node};
use burst_sync::ignore_rules::conflict_paths;
use serde::{Deserialize, Serialize};

use super::declined::Declined;

/// A run's version that gives way to the client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Displaced {
    /// The path that both have changed.
    pub(crate) path: RelativePath,
    /// The path that the run's version is renamed to.
    pub(crate) beside: RelativePath,
}

/// What a sync does to the disk: first it renames, then it applies the changes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The versions of runs that are renamed. No path contains another.
    pub(crate) displaced: Vec<Displaced>,
    /// The state of the disk after that.
    pub(crate) renamed: Directory,
    /// The changes that lead from there to `after`.
    pub(crate) changes: Vec<Change>,
    /// The state of the disk in the end.
    pub(crate) after: Directory,
}

/// Decides what a sync to the `wanted` state does.
pub(crate) fn reconcile(
    agreed: &Directory,
    disk: &Directory,
    wanted: &Directory,
    declined: &Declined,
) -> Plan {
    let mut after = disk.clone();
    for path in declined.paths() {
        if let Some(node) = agreed.get(path) {
            put_over(&mut after, path, node.clone());
        }
    }
    let mut displaced = BTreeMap::new();
    for change in agreed.changes_to(wanted) {
        match change {
            Change::Put { path, entry } => {
                let node = entry.into_node();
                let mut replaced = blocking_ancestor(&after, &path);
                if replaced.is_none() && is_replaced(after.get(&path), &node) {
                    replaced = Some(path.clone());
                }
                if let Some(replaced) = replaced {
                    let by_run = agreed.get(&replaced) != disk.get(&replaced);
                    if let Ok(node) = after.remove(&replaced)
                        && by_run
                        && !declined.is_at(&replaced, disk)
                    {
                        displaced.insert(replaced, node);
                    }
                }
                put_over(&mut after, &path, node);
            }
            Change::Remove { path } => {
                let Some(node) = agreed.get(&path) else { continue };
                if is_taken(after.get(&path), node, wanted.get(&path)) {
                    continue;
                }
                remove_agreed(&path, node, disk, declined, &mut after, &mut displaced);
            }
        }
    }
    with_renames(disk, after, displaced)
}

/// Applies a change even where it does not fit: a file in the way of a directory is
/// replaced, the removal of what does not exist is nothing.
pub(super) fn apply_change(tree: &mut Directory, change: &Change) {
    match change {
        Change::Put { path, entry } => put_over(tree, path, entry.clone().into_node()),
        Change::Remove { path } => remove(tree, path),
    }
}

/// Sets the entry of a path, or removes it.
pub(super) fn set(tree: &mut Directory, path: &RelativePath, node: Option<&Node>) {
    match node {
        Some(node) => put_over(tree, path, node.clone()),
        None => remove(tree, path),
    }
}

/// Moves what is displaced, and lists the changes that remain.
fn with_renames(
    disk: &Directory,
    mut after: Directory,
    by_path: BTreeMap<RelativePath, Node>,
) -> Plan {
    let mut renamed = disk.clone();
    let mut displaced: Vec<Displaced> = Vec::new();
    for (path, node) in by_path {
        let above = displaced.iter().find_map(|above| Some((above, path.below(&above.path)?)));
        if let Some((above, below)) = above {
            if let Ok(moved) = above.beside.join_path(&below) {
                put_over(&mut after, &moved, node);
            }
            continue;
        }
        let (Some(beside), Ok(whole)) = (free_path(&path, &renamed, &after), renamed.remove(&path))
        else {
            continue;
        };
        put_over(&mut renamed, &beside, whole);
        put_over(&mut after, &beside, node);
        displaced.push(Displaced { path, beside });
    }
    let changes = renamed.changes_to(&after);
    Plan { displaced, renamed, changes, after }
}

/// Removes what the client has removed, and displaces what a run has changed there. What a
/// run made in a removed directory stays.
fn remove_agreed(
    path: &RelativePath,
    agreed: &Node,
    disk: &Directory,
    declined: &Declined,
    after: &mut Directory,
    displaced: &mut BTreeMap<RelativePath, Node>,
) {
    if let (Node::Directory(directory), Some(Node::Directory(_))) = (agreed, after.get(path)) {
        for (name, node) in directory.entries() {
            if let Ok(path) = path.join(name) {
                remove_agreed(&path, node, disk, declined, after, displaced);
            }
        }
        let is_empty = matches!(after.get(path), Some(Node::Directory(left)) if left.is_empty());
        if is_empty {
            remove(after, path);
        }
        return;
    }
    let Ok(now) = after.remove(path) else { return };
    if now != *agreed && !declined.is_at(path, disk) {
        displaced.insert(path.clone(), now);
    }
}

/// Whether a run has made a directory of a file, or the reverse, and the client has, too. A
/// client that has only removed the path was stopped while it took the change.
fn is_taken(now: Option<&Node>, agreed: &Node, wanted: Option<&Node>) -> bool {
    let is_directory = |node: &Node| matches!(node, Node::Directory(_));
    now.is_some_and(|now| is_directory(now) != is_directory(agreed))
        && match (now, wanted) {
            (_, None) | (Some(Node::Directory(_)), Some(Node::Directory(_))) => true,
            (now, wanted) => now == wanted,
        }
}

/// Whether an entry has to go for a node to take its path.
fn is_replaced(now: Option<&Node>, node: &Node) -> bool {
    match (now, node) {
        (None, _) | (Some(Node::Directory(_)), Node::Directory(_)) => false,
        (Some(Node::File(now)), Node::File(new)) => now.digest != new.digest,
        (Some(now), new) => now != new,
    }
}

/// The first path above `path` that is not a directory.
fn blocking_ancestor(tree: &Directory, path: &RelativePath) -> Option<RelativePath> {
    let mut above = path.parent();
    let mut blocking = None;
    while let Some(path) = above {
        if matches!(tree.get(&path), Some(Node::File(_) | Node::Link(_))) {
            blocking = Some(path.clone());
        }
        above = path.parent();
    }
    blocking
}

fn put_over(tree: &mut Directory, path: &RelativePath, node: Node) {
    if let Some(blocking) = blocking_ancestor(tree, path) {
        remove(tree, &blocking);
    }
    // Nothing is in the way now.
    drop(tree.put(path, node));
}

fn remove(tree: &mut Directory, path: &RelativePath) {
    // An error says that there is nothing to remove.
    drop(tree.remove(path));
}

/// A free path beside `path`, or beside the directory above it that the client has replaced.
fn free_path(path: &RelativePath, renamed: &Directory, after: &Directory) -> Option<RelativePath> {
    let above = blocking_ancestor(after, path);
    let mut besides = conflict_paths(above.as_ref().unwrap_or(path));
    let is_free = |beside: &RelativePath| {
        [renamed, after]
            .iter()
            .all(|tree| tree.get(beside).is_none() && blocking_ancestor(tree, beside).is_none())
    };
    match above {
        None => besides.find(is_free),
        Some(above) => {
            let below = path.below(&above)?;
            besides.filter_map(|beside| beside.join_path(&below).ok()).find(is_free)
        }
    }
}
