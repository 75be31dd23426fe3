//! A project's files on the agent: its tree, target directories and blobs.
//!
//! ```text
//! PROJECT/
//!   tree/      the files of the client's machine that belong to the project, each
//!              at its absolute path: tree/home/me/app/src/main.rs
//!   targets/   one directory for each target directory that the client has named
//!   packs/     small blobs (burst_sync::pack); staging/ large ones that are being received
//!   name       the path of the project (a record)
//!   index      the stat cache and the state of the tree (a record)
//!   changing   exists while the tree is being changed
//!   returned/  copies of what was returned last (returned_copies)
//!   running    exists while runs write to a volume (power_cut)
//! ```
//!
//! Two manifests are kept. `manifest` is the state that both ends agree on. `disk` also has
//! the files that runs have left and the client has not adopted
//! ([`Project::record_return`]). A sync never touches those, as a local build would not.
//!
//! Crash rule: `changing` is created before the tree changes and removed after the index is
//! written. If it exists when the project is opened, the stat cache is ignored and every
//! file is hashed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burst_protocol::RelativePath;
use burst_protocol::message::{FromAgent, RunRequest, Want};
use burst_protocol::tree::{Change, Directory, Node};
use burst_protocol::{Digest, limit};
use burst_sync::SyncError;
use burst_sync::apply::{self, Applied};
use burst_sync::blobs::BlobStore;
use burst_sync::clock::{Moment, stamp};
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::{AllBut, scan};
use burst_sync::stat_cache::{Cached, StatCache, read_record, write_record};
use burst_sync::wire::{Incoming, Outgoing};
use serde::{Deserialize, Serialize};

use crate::error::{AgentError, FileOperation};
use crate::receive::{self, Receiver};

/// Bytes of blobs that stay in the packs after a sync, for a return to an earlier state.
const PACKED_BYTES_KEPT: u64 = 512 << 20;

/// A tree is scanned before a sync if its last scan is longer ago: a program that cleans
/// caches may have changed it.
const RESCAN_AFTER: Duration = Duration::from_secs(10);

/// How often missing blobs are asked for before the sync fails.
const WANT_ROUNDS_MAX: usize = 3;

/// The name of a project's directory below `projects/`: 24 hexadecimal digits of its
/// path's digest. Target directories are named the same way.
pub fn project_key(name: &RelativePath) -> String {
    Digest::of(name.as_bytes()).to_hex()[..24].to_owned()
}

/// The state of one project.
#[derive(Debug)]
pub(crate) struct Project {
    directory: PathBuf,
    name: RelativePath,
    root_directory: RootDirectory,
    manifest: Arc<Directory>,
    /// Shared with `manifest` where the two are equal, which is usual.
    disk: Arc<Directory>,
    cache: StatCache,
    store: BlobStore,
    last_run_ended: Moment,
    last_scan: Instant,
    /// Mount points inside the tree, which scans leave out.
    mount_points: BTreeSet<RelativePath>,
    unsaved: bool,
}

#[derive(Serialize, Deserialize)]
struct Index {
    name: RelativePath,
    files: Vec<(RelativePath, Cached)>,
    untracked: BTreeSet<RelativePath>,
    mount_points: BTreeSet<RelativePath>,
    last_run_ended: Moment,
}

impl Project {
    /// The name of the project in a directory; none if it is not a project's.
    pub(crate) fn name_of(directory: &Path) -> Option<RelativePath> {
        read_record::<RelativePath>(&directory.join("name"))
    }

    /// Opens a project, creates its directories where they are missing, and scans its tree.
    pub(crate) fn open(directory: &Path, name: &RelativePath) -> Result<Self, AgentError> {
        let tree = directory.join("tree");
        for path in [&tree, &directory.join("targets")] {
            std::fs::create_dir_all(path)
                .map_err(AgentError::file(FileOperation::CreateDirectory, path))?;
        }
        write_record(&directory.join("name"), name)?;
        let interrupted = directory.join("changing").exists();
        let index =
            read_record::<Index>(&directory.join("index")).filter(|index| index.name == *name);
        let mut cache = StatCache::default();
        let mut untracked = BTreeSet::new();
        let mut mount_points = BTreeSet::new();
        // An interrupted run may have written until this moment.
        let mut last_run_ended = Moment::now();
        if let Some(index) = index {
            if !interrupted {
                for (path, cached) in index.files {
                    cache.insert(path.as_bytes(), cached);
                }
            }
            untracked = index.untracked;
            mount_points = index.mount_points;
            last_run_ended = last_run_ended.max(index.last_run_ended);
        }
        let mut project = Self {
            // Errors show the client's paths, not those of this disk.
            root_directory: RootDirectory::open_as(&tree, Path::new("/"))?,
            store: BlobStore::open(directory)?,
            directory: directory.to_owned(),
            name: name.clone(),
            manifest: Arc::default(),
            disk: Arc::default(),
            cache,
            last_run_ended,
            last_scan: Instant::now(),
            mount_points,
            unsaved: true,
        };
        project.disk = Arc::new(project.scan_tree()?);
        project.manifest = project.disk.clone();
        for path in &untracked {
            // An error says that the file no longer exists.
            drop(Arc::make_mut(&mut project.manifest).remove(path));
        }
        project.save()?;
        Ok(project)
    }

    /// The root digest of the manifest.
    pub(crate) fn root(&self) -> Digest {
        self.manifest.digest()
    }

    /// Whether the directory is still the one that was opened.
    pub(crate) fn is_current(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let opened = rustix::fs::fstat(self.root_directory.root());
        let there = std::fs::metadata(self.tree());
        matches!((opened, there), (Ok(opened), Ok(there)) if opened.st_ino == there.ino())
    }

    /// The project's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory that stands for the root of the client's file system.
    pub(crate) fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// The state that both ends agree on.
    pub(crate) fn manifest(&self) -> &Directory {
        &self.manifest
    }

    /// The directory that stands for a target directory of the client; created if missing.
    pub(crate) fn target(&self, client_path: &RelativePath) -> Result<PathBuf, AgentError> {
        let path = self.directory.join("targets").join(project_key(client_path));
        std::fs::create_dir_all(&path)
            .map_err(AgentError::file(FileOperation::CreateDirectory, &path))?;
        Ok(path)
    }

    /// Excludes a mount point from scans, so that files below it do not count as the
    /// tree's.
    pub(crate) fn add_mount_point(&mut self, path: RelativePath) {
        self.unsaved |= self.mount_points.insert(path);
    }

    /// Brings the tree into the requested state. Every blob is stored and verified before
    /// the tree changes.
    pub(crate) fn sync(
        &mut self,
        request: &RunRequest,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<Applied, AgentError> {
        if self.last_scan.elapsed() > RESCAN_AFTER {
            // No run made these changes, so they are not returned; this sync reverts those of
            // the client's files.
            let changes = self.changes_of_run()?;
            self.record_return(&changes, &BTreeSet::new());
        }
        let wanted = self.wanted_state(request, incoming, outgoing)?;
        if wanted.digest() != request.root {
            return Err(SyncError::Damaged(request.root).into());
        }
        let changes = self.manifest.changes_to(&wanted);
        if changes.is_empty() {
            return Ok(Applied::default());
        }
        apply::check_not_emptied(&self.manifest, &wanted)?;
        self.fetch_missing(&changes, incoming, outgoing)?;
        apply::keep_moved_blobs(&self.root_directory, &self.manifest, &changes, &mut self.store)?;
        self.mark_changing()?;
        let stamp = stamp(Moment::coarse_now(), self.last_run_ended);
        let applied = apply::apply(
            &self.root_directory,
            &self.manifest,
            &changes,
            &mut self.store,
            stamp,
            &mut self.cache,
        )?;
        self.disk = self.disk_after(&wanted);
        self.manifest = wanted;
        self.store.clean(PACKED_BYTES_KEPT)?;
        self.last_run_ended = self.last_run_ended.max(applied.latest.unwrap_or_default());
        Ok(applied)
    }

    /// Reads an offer that is not needed, because the tree is in the wanted state already.
    pub(crate) fn skip_offer(&mut self, incoming: &mut Incoming) -> Result<(), AgentError> {
        self.receiver().offer(false, incoming)?;
        Ok(())
    }

    fn receiver(&mut self) -> Receiver<'_> {
        Receiver { manifest: &self.manifest, root: &self.root_directory, store: &mut self.store }
    }

    /// Scans the tree after a run; returns the changes since the last scan.
    pub(crate) fn changes_of_run(&mut self) -> Result<Vec<Change>, AgentError> {
        self.last_run_ended = Moment::now();
        self.unsaved = true;
        let now = self.scan_tree()?;
        let changes = self.disk.changes_to(&now);
        if !changes.is_empty() {
            self.disk = Arc::new(now);
        }
        Ok(changes)
    }

    /// Records the changes that a run has offered. Changes of paths that the client has go
    /// into the manifest; new paths do if the client has adopted their index.
    pub(crate) fn record_return(&mut self, changes: &[Change], adopted: &BTreeSet<usize>) {
        if changes.is_empty() {
            return;
        }
        let manifest = Arc::make_mut(&mut self.manifest);
        for (index, change) in changes.iter().enumerate() {
            let recorded = match change {
                Change::Put { path, entry } => {
                    let known = manifest.get(path).is_some();
                    if !known && !adopted.contains(&index) {
                        continue;
                    }
                    manifest.put(path, entry.clone().into_node())
                }
                Change::Remove { path } if manifest.get(path).is_some() => {
                    manifest.remove(path).map(drop)
                }
                Change::Remove { .. } => Ok(()),
            };
            if recorded.is_err() {
                // An untracked directory is in the way. The roots now differ, so the next
                // sync compares the directories.
                tracing::debug!(path = %change.path().display(), "cannot record a change");
            }
        }
        if self.manifest.digest() == self.disk.digest() {
            self.manifest = self.disk.clone();
        }
    }

    /// Writes the index if it has changed, and removes `changing`.
    pub(crate) fn save(&mut self) -> Result<(), AgentError> {
        if !self.unsaved && !self.cache.is_changed() {
            return Ok(());
        }
        let mut files = Vec::with_capacity(self.cache.len());
        self.disk.visit(&mut |path, node| {
            if let (Node::File(_), Some(cached)) = (node, self.cache.get(path.as_bytes())) {
                files.push((path.clone(), *cached));
            }
        });
        let index = Index {
            name: self.name.clone(),
            files,
            untracked: self.untracked(),
            mount_points: self.mount_points.clone(),
            last_run_ended: self.last_run_ended,
        };
        write_record(&self.directory.join("index"), &index)?;
        let changing = self.directory.join("changing");
        match std::fs::remove_file(&changing) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(AgentError::file(FileOperation::Remove, changing)(error))
            }
            _ => {
                self.unsaved = false;
                Ok(())
            }
        }
    }

    fn untracked(&self) -> BTreeSet<RelativePath> {
        let mut untracked = BTreeSet::new();
        for change in self.manifest.changes_to(&self.disk) {
            if let Change::Put { path, .. } = change {
                untracked.insert(path);
            }
        }
        untracked
    }

    fn scan_tree(&mut self) -> Result<Directory, AgentError> {
        let filter = AllBut(self.mount_points.iter().cloned().collect());
        self.last_scan = Instant::now();
        let found =
            scan(&self.root_directory, None, &filter, &mut self.cache, Moment::coarse_now())?;
        self.cache.forget_unseen(None);
        Ok(found.tree)
    }

    /// The new manifest and the untracked files that still exist.
    fn disk_after(&self, manifest: &Arc<Directory>) -> Arc<Directory> {
        let untracked = self.untracked_on_disk();
        if untracked.is_empty() {
            return manifest.clone();
        }
        let mut disk = Directory::clone(manifest);
        for path in untracked {
            if disk.get(&path).is_none()
                && self.root_directory.status(&path).is_ok()
                && let Some(node) = self.disk.get(&path)
            {
                // An error says that the manifest now has a file where this directory was.
                drop(disk.put(&path, node.clone()));
            }
        }
        Arc::new(disk)
    }

    fn untracked_on_disk(&self) -> Vec<RelativePath> {
        let mut paths = Vec::new();
        if Arc::ptr_eq(&self.disk, &self.manifest) {
            return paths;
        }
        self.disk.visit(&mut |path, node| {
            if !matches!(node, Node::Directory(directory) if !directory.is_empty())
                && self.manifest.get(path).is_none()
            {
                paths.push(path.clone());
            }
        });
        paths
    }

    /// The manifest of the requested state: from the offered changes if their base is the
    /// current state, else from the directory objects that the shim is asked for.
    fn wanted_state(
        &mut self,
        request: &RunRequest,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<Arc<Directory>, AgentError> {
        if request.offers_changes {
            let fits = request.base == Some(self.root());
            let changes = self.receiver().offer(fits, incoming)?;
            if fits {
                let mut wanted = Directory::clone(&self.manifest);
                let applied = changes.iter().try_for_each(|change| wanted.apply(change));
                if applied.is_ok() && wanted.digest() == request.root {
                    return Ok(Arc::new(wanted));
                }
            }
        }
        if self.root() == request.root {
            return Ok(self.manifest.clone());
        }
        if self.manifest.is_empty() {
            outgoing.message(&FromAgent::Want(Want::Everything))?;
            let mut wanted = Directory::new();
            for change in self.receiver().offer(true, incoming)? {
                wanted.apply(&change).map_err(SyncError::from)?;
            }
            return Ok(Arc::new(wanted));
        }
        let listed = receive::directory_objects(&self.manifest, request.root, incoming, outgoing)?;
        Ok(Arc::new(listed))
    }

    fn fetch_missing(
        &mut self,
        changes: &[Change],
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<(), AgentError> {
        for _ in 0..WANT_ROUNDS_MAX {
            let missing = apply::missing_blobs(&self.manifest, changes, &self.store);
            if missing.is_empty() {
                return Ok(());
            }
            for batch in missing.chunks(limit::DIGESTS_PER_MESSAGE_MAX) {
                outgoing.message(&FromAgent::Want(Want::Blobs(batch.to_vec())))?;
                self.receiver().blobs(changes, incoming)?;
            }
        }
        let missing = apply::missing_blobs(&self.manifest, changes, &self.store);
        match missing.first() {
            Some(digest) => Err(SyncError::MissingBlob(*digest).into()),
            None => Ok(()),
        }
    }

    fn mark_changing(&mut self) -> Result<(), AgentError> {
        let path = self.directory.join("changing");
        File::create(&path).map_err(AgentError::file(FileOperation::Write, &path))?;
        self.unsaved = true;
        Ok(())
    }
}
