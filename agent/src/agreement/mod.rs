//! What the two ends of a project agree on, and what the disk has beyond that. Pure.
//!
//! Three states of the tree are compared:
//!
//! - *agreed*: what the client holds, as far as it last said.
//! - *disk*: what the agent's disk holds.
//! - *wanted*: what the client needs for its next run.
//!
//! The difference between agreed and disk was made by runs. It is **offered** after every
//! run until the client has adopted it, or has declined it by name: a client that was killed
//! or whose disk was full loses nothing. A declined version is not offered again; it is
//! offered anew once a later run has changed the path.
//!
//! Invariant: `agreed` changes only by what the client says: a sync makes it the client's
//! tree, an adoption adds the adopted version, and a path that is free at the client counts as
//! if it had adopted and removed what it has declined there. After a sync that was interrupted,
//! its paths are agreed as the disk has them, until the client says what it holds.
//!
//! [`reconcile()`] decides what a sync does to the disk.

mod declined;
mod reconcile;

use std::collections::BTreeMap;
use std::sync::Arc;

use burst_protocol::tree::{Change, Directory};
use burst_protocol::{Digest, RelativePath};

pub(crate) use self::declined::Declined;
pub(crate) use self::reconcile::{Displaced, Plan, reconcile};

/// The agreed state, the state of the disk, and what the client has declined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    agreed: Arc<Directory>,
    /// Shared with `agreed` where the two are equal, which is usual.
    disk: Arc<Directory>,
    declined: Declined,
    /// Changes that were offered to clients which did not answer. They may have taken them, though
    /// the disk has other versions by now.
    unanswered: BTreeMap<RelativePath, Change>,
}

impl Agreement {
    /// The agreement of a tree that no run has changed.
    pub(crate) fn of(disk: Directory) -> Self {
        let disk = Arc::new(disk);
        Self { agreed: disk.clone(), disk, ..Self::default() }
    }

    /// The agreement that a record describes.
    pub(crate) fn restored(agreed: Directory, disk: Directory, declined: Declined) -> Self {
        let (agreed, disk) = (Arc::new(agreed), Arc::new(disk));
        let mut agreement = Self { agreed, disk, declined, ..Self::default() };
        agreement.settle();
        agreement
    }

    /// What the client holds.
    pub(crate) fn agreed(&self) -> &Arc<Directory> {
        &self.agreed
    }

    /// What the disk holds.
    pub(crate) fn disk(&self) -> &Arc<Directory> {
        &self.disk
    }

    /// The versions that the client has declined.
    pub(crate) const fn declined(&self) -> &Declined {
        &self.declined
    }

    /// The root digest of the agreed state.
    pub(crate) fn root(&self) -> Digest {
        self.agreed.digest()
    }

    /// Records the state of the disk after a run.
    pub(crate) fn disk_is(&mut self, disk: Directory) {
        if disk.digest() != self.disk.digest() {
            self.disk = Arc::new(disk);
        }
        self.settle();
    }

    /// Records the state of the disk where no run has changed it: something else has, such
    /// as a program that cleans caches. Nothing of that is offered. The next sync restores
    /// what the client has.
    pub(crate) fn disk_became(&mut self, disk: Directory) {
        let changes = self.disk.changes_to(&disk);
        self.disk_is(disk);
        if changes.is_empty() {
            return;
        }
        for change in &changes {
            self.declined.insert(change);
        }
        self.settle();
    }

    /// The changes that are offered to the client, in an order in which they can be applied.
    pub(crate) fn offer(&self) -> Vec<Change> {
        if Arc::ptr_eq(&self.agreed, &self.disk) {
            return Vec::new();
        }
        let mut changes = self.agreed.changes_to(&self.disk);
        changes.retain(|change| !self.declined.contains(change));
        changes
    }

    /// Records changes that the client now holds.
    pub(crate) fn adopt<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes {
            reconcile::apply_change(Arc::make_mut(&mut self.agreed), change);
        }
        self.settle();
    }

    /// Records an offer that the client has not answered.
    pub(crate) fn note_unanswered(&mut self, offered: &[Change]) {
        self.unanswered
            .extend(offered.iter().map(|change| (change.path().clone(), change.clone())));
    }

    /// Records changes that the client has taken earlier without saying so. One that the disk does
    /// not have, and that was not offered lately, is of no account.
    pub(crate) fn adopt_taken(&mut self, changes: &[Change]) {
        let unanswered = std::mem::take(&mut self.unanswered);
        let is_there = |change: &&Change| match change {
            change if unanswered.get(change.path()) == Some(change) => true,
            Change::Put { path, entry } => {
                let version = entry.clone().into_node();
                declined::is_same(self.disk.get(path), Some(&version))
            }
            Change::Remove { path } => self.disk.get(path).is_none(),
        };
        let taken: Vec<Change> = changes.iter().filter(is_there).cloned().collect();
        self.adopt(&taken);
    }

    /// Whether a version that the client has declined is at one of these paths.
    pub(crate) fn has_declined(&self, paths: &[RelativePath]) -> bool {
        paths.iter().any(|path| self.declined.is_at(path, &self.disk))
    }

    /// Records that paths are free at the client: what it has declined there is agreed, so that
    /// the next sync removes it. A version that it has not declined is another one and stays.
    pub(crate) fn free(&mut self, paths: &[RelativePath]) {
        for path in paths.iter().filter(|path| self.declined.is_at(path, &self.disk)) {
            // What is below a directory was declined by itself, or is another result.
            let version = self.disk.get(path).map(|node| node.entry().into_node());
            reconcile::set(Arc::make_mut(&mut self.agreed), path, version.as_ref());
        }
        self.settle();
    }

    /// Records that the client has another workspace at this path: nothing that runs have done
    /// to the earlier one is offered, or left for the next run.
    pub(crate) fn forget_runs(&mut self) {
        self.agreed = self.disk.clone();
        self.settle();
    }

    /// Records changes that the client does not want.
    pub(crate) fn decline<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes {
            self.declined.insert(change);
        }
        self.settle();
    }

    /// What a sync to `wanted` does to the disk.
    pub(crate) fn reconcile(&self, wanted: &Arc<Directory>) -> Plan {
        reconcile(&self.agreed, &self.disk, wanted, &self.declined)
    }

    /// Records that the disk was brought to the client's state by a plan.
    pub(crate) fn synced(&mut self, wanted: Arc<Directory>, plan: Plan) {
        self.agreed = wanted;
        self.disk = Arc::new(plan.after);
        self.settle();
    }

    /// Records a sync that was interrupted: its paths count as agreed in the state that the
    /// disk has them in, so that nothing of them is offered. The versions of runs that it
    /// has renamed are offered. Before it has renamed all of them it has changed nothing.
    pub(crate) fn sync_stopped(
        &mut self,
        changes: &[Change],
        displaced: &[Displaced],
        disk: &Directory,
    ) {
        let is_in_place = |one: &Displaced| {
            let recorded = self.disk.get(&one.path);
            recorded.is_some() && disk.get(&one.path) == recorded
        };
        if !displaced.iter().any(is_in_place) {
            for path in changes.iter().map(Change::path) {
                let now = disk.get(path);
                reconcile::set(Arc::make_mut(&mut self.agreed), path, now);
                reconcile::set(Arc::make_mut(&mut self.disk), path, now);
            }
        }
        self.renamed(displaced, disk);
    }

    /// Records a sync that was complete when its agent ended.
    pub(crate) fn sync_ended(
        &mut self,
        changes: &[Change],
        displaced: &[Displaced],
        disk: &Directory,
    ) {
        for change in changes {
            reconcile::apply_change(Arc::make_mut(&mut self.agreed), change);
            reconcile::apply_change(Arc::make_mut(&mut self.disk), change);
        }
        self.renamed(displaced, disk);
    }

    fn renamed(&mut self, displaced: &[Displaced], disk: &Directory) {
        for path in displaced.iter().flat_map(|one| [&one.path, &one.beside]) {
            reconcile::set(Arc::make_mut(&mut self.disk), path, disk.get(path));
        }
        self.settle();
    }

    fn settle(&mut self) {
        if self.agreed.digest() == self.disk.digest() {
            self.disk = self.agreed.clone();
        }
        self.declined.forget_outdated(&self.agreed, &self.disk);
    }
}

#[cfg(test)]
mod tests;
