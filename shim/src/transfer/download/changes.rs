//! What a run has done with the sources: each change is decided about by what was sent, what is
//! here, and what other commands have fetched since.
//!
//! Invariants: an edit of the user stays in its place. Removals take effect only if they are
//! plausible: a copy on the agent that has lost most of its files removes nothing here. Where a
//! change may be written at all is not decided here ([`Boundary`](super::Boundary)).

use std::collections::BTreeSet;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Change, Directory, Entry, File, Node};
use burst_sync::SyncError;

use super::Download;
use crate::transfer::boundary::Verdict;
use crate::transfer::decision::{Decision, decide};
use crate::transfer::destination::{Conflict, Destination, Place};
use crate::transfer::local_files::Replaced;
use crate::transfer::receiving::is_beside;

/// What a run has done that has no place here.
const MADE_A_LINK: &str = "was made a link to another path by the run";

impl Download<'_> {
    /// Decides about the source files that the run changed, created or removed. Links,
    /// directories and removals take effect at once, files in [`Self::fetch`].
    pub(crate) fn changes(&mut self) -> Result<(), SyncError> {
        let changes = self.results.changes;
        let trusted = self.removals_are_plausible(changes);
        let mut removed = BTreeSet::new();
        for (index, change) in (0..).zip(changes) {
            let path = match self.boundary.judge(change) {
                Verdict::Source(path) => path,
                refused => {
                    self.refuse(change, &refused);
                    self.results.returned.declined.push(index);
                    continue;
                }
            };
            let is_removal = matches!(change, Change::Remove { .. });
            // What is beside a removal that cannot be true is offered again, once the files
            // are back.
            if !trusted && !is_removal {
                continue;
            }
            if !trusted || (self.receiving.excluded)(&path) && !is_beside(&path) {
                self.results.returned.declined.push(index);
                continue;
            }
            // What was below a path that is removed is gone, too.
            let mut at_and_above = std::iter::successors(Some(path.clone()), RelativePath::parent);
            let sent = match at_and_above.any(|path| removed.contains(&path)) {
                true => None,
                false => self.receiving.sources.tree.get(change.path()),
            };
            match change {
                Change::Put { entry, .. } => self.put(index, change.path(), &path, entry, sent)?,
                Change::Remove { .. } => {
                    if self.remove(index, change.path(), &path, sent)? {
                        removed.insert(path);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the removals can be true. If more than half of the files are gone, the
    /// agent has more likely lost its disk: nothing is deleted here, and the next sync
    /// restores the files there.
    fn removals_are_plausible(&mut self, changes: &[Change]) -> bool {
        let (mut removed, mut added) = (0, 0);
        let tree = &self.receiving.sources.tree;
        for change in changes {
            match change {
                Change::Remove { path } => {
                    removed += match tree.get(path) {
                        Some(Node::Directory(directory)) => directory.count_files(),
                        Some(_) => 1,
                        None => 0,
                    };
                }
                Change::Put { path, .. } => added += usize::from(tree.file(path).is_none()),
            }
        }
        let all = tree.count_files();
        // A run may move everything.
        let missing = removed.saturating_sub(added);
        let plausible = missing <= 1 || missing * 2 <= all;
        if !plausible {
            self.results.returned.notes.push(format!(
                "after this run {missing} of {all} files are missing on the agent: nothing was \
                 deleted here"
            ));
        }
        plausible
    }

    /// Decides about a file, link or directory that is new or different.
    fn put(
        &mut self,
        index: u32,
        place: &RelativePath,
        path: &RelativePath,
        entry: &Entry,
        sent: Option<&Node>,
    ) -> Result<(), SyncError> {
        if !self.results.workspace.is_reachable(path) {
            let conflict = self.conflict(path, None, sent);
            let what = "was made by the run below a path that is no directory here";
            self.results.keep(index, path, conflict, what);
            return Ok(());
        }
        let here = self.results.workspace.entry(path)?;
        let expected = self.expected(place, sent, here.as_ref());
        let decision = match is_beside(path) {
            // The user was told of the file whose other version it is.
            true if here.is_some() && here != Some(entry.clone().into_node()) => Decision::Beside,
            _ => decide(Some(entry), here.as_ref(), expected.as_ref()),
        };
        match (decision, entry) {
            (Decision::Held, _) => self.results.adopt(index, path, sent.is_none()),
            (Decision::Take, Entry::Directory) => {
                self.results.workspace.create_directory(path)?;
                self.results.adopt(index, path, sent.is_none());
            }
            (Decision::Take, Entry::Link(target)) => {
                let files = &self.results.workspace;
                match files.replace_by_link(path, target, expected.as_ref())? {
                    Replaced::Expected => {
                        self.results.returned.written += 1;
                        self.results.adopt(index, path, sent.is_none());
                        self.results.note_code(path, true);
                        self.results.note_ignore_file(path);
                    }
                    Replaced::Edited => {
                        let conflict = self.conflict(path, here.as_ref(), sent);
                        self.results.keep(index, path, conflict, MADE_A_LINK);
                    }
                }
            }
            (Decision::Take, Entry::File(file)) => {
                let is_new = sent.is_none();
                let place = Place::Source { index, expected, is_new };
                let destination = Destination { path: path.clone(), file: *file, place };
                self.results.want(file, destination);
            }
            (Decision::Beside, Entry::File(file)) => {
                let conflict = self.conflict(path, here.as_ref(), sent);
                self.put_beside(index, path, file, conflict);
            }
            (_, other) => {
                let conflict = self.conflict(path, here.as_ref(), sent);
                let what = match other {
                    Entry::Link(_) => MADE_A_LINK,
                    _ => "was made a directory by the run",
                };
                self.results.keep(index, path, conflict, what);
            }
        }
        Ok(())
    }

    /// Why the run's version of a path has no place here. What was not sent is remembered: once it
    /// is deleted here, the agent is to know.
    fn conflict(
        &mut self,
        path: &RelativePath,
        here: Option<&Node>,
        sent: Option<&Node>,
    ) -> Conflict {
        if sent.is_some() || is_beside(path) {
            return Conflict::Edited;
        }
        let was_told = self.results.returned.conflicts.add_unsent(path, here.map(Node::entry));
        match (self.receiving.left_out)(path) {
            false => Conflict::Edited,
            true if was_told => Conflict::Known,
            true => Conflict::Unsent,
        }
    }

    /// Lets the run's version be written beside the file here, unless the user knows of it.
    fn put_beside(&mut self, index: u32, path: &RelativePath, file: &File, conflict: Conflict) {
        if conflict == Conflict::Known {
            self.results.returned.declined.push(index);
            return;
        }
        let place = Place::Beside { index, conflict };
        self.results.want(file, Destination { path: path.clone(), file: *file, place });
    }

    /// Decides about a removal. Returns whether the path is free now.
    fn remove(
        &mut self,
        index: u32,
        place: &RelativePath,
        path: &RelativePath,
        sent: Option<&Node>,
    ) -> Result<bool, SyncError> {
        let here = match self.results.workspace.is_reachable(path) {
            true => self.results.workspace.entry(path)?,
            false => None,
        };
        let fetched = (self.receiving.base)().and_then(|base| base.get(place));
        let directory = [fetched, sent].into_iter().flatten().find_map(|node| match node {
            Node::Directory(directory) => Some(directory),
            _ => None,
        });
        if let (Some(Node::Directory(_)), Some(directory)) = (&here, directory) {
            self.remove_below(path, directory)?;
            self.results.adopt(index, path, false);
            return Ok(self.results.workspace.root().status(path).is_err());
        }
        let expected = self.expected(place, sent, here.as_ref());
        let is_removed = match (decide(None, here.as_ref(), expected.as_ref()), &expected) {
            (Decision::Held, _) => true,
            (Decision::Take, Some(expected)) => {
                self.results.workspace.remove(path, expected)? == Replaced::Expected
            }
            _ => false,
        };
        if is_removed && here.is_some() {
            self.results.note_ignore_file(path);
        }
        match is_removed {
            true => self.results.adopt(index, path, false),
            false => self.results.keep(index, path, Conflict::Edited, "was removed by the run"),
        }
        Ok(is_removed)
    }

    /// Removes the files that were sent and are unchanged, and directories that are empty
    /// then.
    fn remove_below(
        &mut self,
        path: &RelativePath,
        directory: &Directory,
    ) -> Result<(), SyncError> {
        let mut below = Vec::new();
        directory.visit(&mut |inner, node| {
            if let Ok(inner) = path.join_path(inner) {
                below.push((inner, node));
            }
        });
        for (inner, node) in below.iter().rev() {
            if !self.results.workspace.is_reachable(inner) {
                continue;
            }
            if matches!(node, Node::Directory(_)) {
                self.results.workspace.remove_directory(inner)?;
            } else if self.results.workspace.entry(inner)?.as_ref() == Some(*node)
                && self.results.workspace.remove(inner, node)? == Replaced::Expected
            {
                self.results.note_ignore_file(inner);
            }
        }
        self.results.workspace.remove_directory(path)
    }

    /// What the agent takes for the entry at a path: what was sent, or what another command
    /// of this workspace has fetched since.
    fn expected(
        &self,
        place: &RelativePath,
        sent: Option<&Node>,
        here: Option<&Node>,
    ) -> Option<Node> {
        match (self.receiving.base)() {
            // Another command may have removed the path, too.
            Some(base) if here != sent && base.get(place) == here => here.cloned(),
            _ => sent.cloned(),
        }
    }
}
