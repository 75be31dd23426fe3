//! A project's files on the agent: its tree, target directories and blobs.
//!
//! ```text
//! PROJECT/
//!   tree/      the files of the client's machine that belong to the project, each
//!              at its absolute path: tree/home/me/app/src/main.rs
//!   targets/   one directory for each target directory that the client has named
//!   packs/     small blobs (burst_sync::pack); staging/ large ones that are being received
//!   name       the path of the project (a record)
//!   state, changing, changed, unfinished
//!              what the project is opened with after a crash (record)
//!   returned/  copies of what was returned last (returned_copies)
//!   placed     what of the client's cargo home was placed into the project's own (cargo_home)
//!   running    exists while runs write to a volume (power_cut)
//! ```
//!
//! What the client holds and what the disk holds are compared by [`crate::agreement`].

mod cargo_home;
mod filter;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use burst_protocol::RelativePath;
use burst_protocol::message::{FromAgent, RunRequest, Want};
use burst_protocol::tree::{Change, Directory};
use burst_protocol::{Digest, limit};
use burst_sync::SyncError;
use burst_sync::apply::{self, Applied};
use burst_sync::blobs::BlobStore;
use burst_sync::clock::{Moment, stamp};
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::scan;
use burst_sync::stat_cache::{StatCache, read_record, write_record};
use burst_sync::tally::Tally;
use burst_sync::wire::{Incoming, Outgoing};

use self::filter::SourceFilter;
use self::record::{History, ProjectRecord, SyncRecord, Unfinished};
use crate::agreement::{Agreement, Plan};
use crate::atomic_file;
use crate::boot_id::this_boot;
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
    agreement: Agreement,
    cache: StatCache,
    store: BlobStore,
    history: History,
    /// What the last scan could not read, and whether the client was told of it.
    unreadable: BTreeMap<String, bool>,
    /// The number of runs that may write to the tree.
    runs: usize,
    last_scan: Instant,
    unsaved: bool,
}

impl Project {
    /// The name of the project in a directory; none if it is not a project's.
    pub(crate) fn name_of(directory: &Path) -> Option<RelativePath> {
        read_record::<RelativePath>(&directory.join("name"))
    }

    /// When the project in a directory was last used: its name is written whenever it is
    /// opened, its state after each run.
    pub(crate) fn last_used(directory: &Path) -> Option<SystemTime> {
        let times = ["name", "state"].map(|file| std::fs::metadata(directory.join(file)));
        times.into_iter().flatten().flat_map(|file| file.modified()).max()
    }

    /// Whether the project in a directory may have results of runs that its client has neither
    /// taken nor declined. Reads the record of the whole tree.
    pub(crate) fn may_have_results(directory: &Path) -> bool {
        Self::name_of(directory).is_some_and(|name| record::may_have_results(directory, &name))
    }

    /// Opens a project, creates its directories where they are missing, and scans its tree.
    pub(crate) fn open(directory: &Path, name: &RelativePath) -> Result<Self, AgentError> {
        let tree = directory.join("tree");
        for path in [&tree, &directory.join("targets")] {
            std::fs::create_dir_all(path)
                .map_err(AgentError::file(FileOperation::CreateDirectory, path))?;
        }
        write_record(&directory.join("name"), name)?;
        let unfinished = Unfinished::read(directory);
        let record = ProjectRecord::read(directory, name);
        let cache = record.as_ref().filter(|_| unfinished.keeps_cache()).map(ProjectRecord::cache);
        let mut history = record.as_ref().map(|record| record.history.clone()).unwrap_or_default();
        // An interrupted run may have written until this moment.
        history.last_run_ended = history.last_run_ended.max(Moment::now());
        let mut project = Self {
            // Errors show the client's paths, not those of this disk.
            root_directory: RootDirectory::open_as(&tree, Path::new("/"))?,
            store: BlobStore::open(directory)?,
            directory: directory.to_owned(),
            name: name.clone(),
            agreement: Agreement::default(),
            cache: cache.unwrap_or_default(),
            history,
            unreadable: BTreeMap::new(),
            runs: 0,
            last_scan: Instant::now(),
            unsaved: true,
        };
        let recorded = record.as_ref().map(ProjectRecord::agreement);
        project.agreement = recorded.clone().unwrap_or_default();
        let disk = project.scan_tree()?;
        project.agreement = record::restore(recorded, project.history.syncs, unfinished, disk);
        project.save()?;
        Ok(project)
    }

    /// The root digest of the agreed state.
    pub(crate) fn root(&self) -> Digest {
        self.agreement.root()
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

    /// What runs have changed and the client has neither adopted nor declined.
    pub(crate) fn offer(&self) -> Vec<Change> {
        self.agreement.offer()
    }

    /// What the last scan could not read and the client was not told of; from now on it was.
    pub(crate) fn tell_unreadable(&mut self) -> Vec<String> {
        let untold = self.unreadable.iter_mut().filter(|(_, is_told)| !**is_told);
        untold
            .map(|(error, is_told)| {
                *is_told = true;
                error.clone()
            })
            .collect()
    }

    /// The directory that stands for a target directory of the client; created if missing.
    pub(crate) fn target(&self, client_path: &RelativePath) -> Result<PathBuf, AgentError> {
        let path = self.directory.join("targets").join(project_key(client_path));
        std::fs::create_dir_all(&path)
            .map_err(AgentError::file(FileOperation::CreateDirectory, &path))?;
        Ok(path)
    }

    /// Empties the target and build directories of a request. Follows no link.
    pub(crate) fn clear_built(&self, request: &RunRequest) -> Result<(), AgentError> {
        let build = request.build_directory.as_ref();
        for built in std::iter::once(&request.target_directory).chain(build) {
            let path = self.target(built)?;
            std::fs::remove_dir_all(&path)
                .map_err(AgentError::file(FileOperation::Remove, &path))?;
        }
        Ok(())
    }

    /// Excludes a mount point from scans, so that files below it do not count as the
    /// tree's.
    pub(crate) fn add_mount_point(&mut self, path: RelativePath) {
        self.unsaved |= self.history.mount_points.insert(path);
    }

    /// Brings the tree into the requested state, but for what runs have changed and the
    /// client has not seen. A tree whose last scan is long ago is scanned: changes that no
    /// run has made are undone.
    pub(crate) fn sync(
        &mut self,
        request: &RunRequest,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<Applied, AgentError> {
        if self.last_scan.elapsed() > RESCAN_AFTER {
            let disk = self.scan_tree()?;
            self.agreement.disk_became(disk);
        }
        let wanted = self.wanted_state(request, incoming, outgoing)?;
        if wanted.digest() != request.root {
            return Err(SyncError::Damaged(request.root).into());
        }
        self.record_taken(&request.taken);
        if self.has_declined(&request.freed) {
            self.agreement.free(&request.freed);
            self.unsaved = true;
        }
        if request.workspace.is_some() && request.workspace != self.history.workspace {
            if self.history.workspace.is_some() {
                self.agreement.forget_runs();
            }
            self.history.workspace = request.workspace;
            self.unsaved = true;
        }
        let apart = cargo_home::parts(request.cargo_home.as_ref());
        apply::check_not_emptied(self.agreement.agreed(), &wanted, &apart)?;
        let plan = self.agreement.reconcile(&wanted);
        let applied = match plan.changes.is_empty() && plan.displaced.is_empty() {
            true => Applied::default(),
            false => self.change_tree(&plan, incoming, outgoing)?,
        };
        self.unsaved |= wanted.digest() != self.root();
        self.agreement.synced(wanted, plan);
        Ok(applied)
    }

    /// Changes the tree as planned, once every blob is stored and verified.
    fn change_tree(
        &mut self,
        plan: &Plan,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<Applied, AgentError> {
        self.fetch_missing(plan, incoming, outgoing)?;
        self.begin_changing(plan)?;
        for displaced in &plan.displaced {
            let (from, to) = (&displaced.path, &displaced.beside);
            apply::rename(&self.root_directory, from, to, &mut self.cache)?;
        }
        let (root, store) = (&self.root_directory, &mut self.store);
        apply::keep_moved_blobs(root, &plan.renamed, &plan.changes, store)?;
        let stamp = stamp(Moment::coarse_now(), self.history.last_run_ended);
        let applied = apply::apply(
            &self.root_directory,
            &plan.renamed,
            &plan.changes,
            &mut self.store,
            stamp,
            &mut self.cache,
        )?;
        self.end_changing()?;
        self.store.clean(PACKED_BYTES_KEPT)?;
        self.history.last_run_ended =
            self.history.last_run_ended.max(applied.latest.unwrap_or_default());
        Ok(applied)
    }

    /// Places what the client has sent of its cargo home, which is at `seen_at` there, into the
    /// cargo home `own`.
    pub(crate) fn fill_cargo_home(
        &self,
        seen_at: &RelativePath,
        own: &Path,
    ) -> Result<(), AgentError> {
        let agreed = self.agreement.agreed();
        cargo_home::fill(agreed, &self.root_directory, &self.directory, seen_at, own)
    }

    /// Reads an offer that is not needed, because the tree is in the wanted state already.
    pub(crate) fn skip_offer(&mut self, incoming: &mut Incoming) -> Result<(), AgentError> {
        self.receiver().offer(false, incoming)?;
        Ok(())
    }

    fn receiver(&mut self) -> Receiver<'_> {
        Receiver {
            manifest: self.agreement.agreed(),
            root: &self.root_directory,
            store: &mut self.store,
        }
    }

    /// Records that a run may write to the tree from now on.
    pub(crate) fn begin_run(&mut self) -> Result<(), AgentError> {
        if self.runs == 0 {
            let path = self.directory.join("unfinished");
            atomic_file::replace(&path, atomic_file::SHARED, &this_boot())
                .map_err(AgentError::file(FileOperation::Write, &path))?;
        }
        self.runs += 1;
        Ok(())
    }

    /// Scans the tree after a run, which writes no more.
    pub(crate) fn end_run(&mut self) -> Result<(), AgentError> {
        self.runs = self.runs.saturating_sub(1);
        self.history.last_run_ended = Moment::now();
        self.unsaved = true;
        let disk = self.scan_tree()?;
        self.agreement.disk_is(disk);
        Ok(())
    }

    /// Whether a version that the client has declined is at one of these paths, which a sync that
    /// names them removes.
    pub(crate) fn has_declined(&self, paths: &[RelativePath]) -> bool {
        self.agreement.has_declined(paths)
    }

    /// Records changes that the client has taken earlier without saying so.
    pub(crate) fn record_taken(&mut self, changes: &[Change]) {
        if !changes.is_empty() {
            self.agreement.adopt_taken(changes);
            self.unsaved = true;
        }
    }

    /// Records what the client has said about an offer.
    pub(crate) fn record_answer<'a>(
        &mut self,
        adopted: impl IntoIterator<Item = &'a Change>,
        declined: impl IntoIterator<Item = &'a Change>,
    ) {
        self.agreement.adopt(adopted);
        self.agreement.decline(declined);
        self.unsaved = true;
    }

    /// Records an offer that the client has not answered.
    pub(crate) fn note_unanswered(&mut self, offered: &[Change]) {
        self.agreement.note_unanswered(offered);
    }

    /// Writes the state if it has changed, and removes the marks of what is complete.
    pub(crate) fn save(&mut self) -> Result<(), AgentError> {
        if !self.unsaved && !self.cache.is_changed() {
            return Ok(());
        }
        let record = ProjectRecord::new(&self.name, &self.history, &self.agreement, &self.cache);
        record.write(&self.directory)?;
        let runs_ended: &[&str] = if self.runs == 0 { &["unfinished"] } else { &[] };
        for mark in ["changing", "changed"].iter().chain(runs_ended) {
            let mark = self.directory.join(mark);
            match std::fs::remove_file(&mark) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(AgentError::file(FileOperation::Remove, mark)(error));
                }
                _ => {}
            }
        }
        self.unsaved = false;
        Ok(())
    }

    fn scan_tree(&mut self) -> Result<Directory, AgentError> {
        let filter = SourceFilter {
            root: &self.root_directory,
            agreed: self.agreement.agreed(),
            disk: self.agreement.disk(),
            mount_points: &self.history.mount_points,
            unreadable: Mutex::default(),
        };
        self.last_scan = Instant::now();
        let found = scan(
            &self.root_directory,
            None,
            &filter,
            &mut self.cache,
            Moment::coarse_now(),
            &Tally::default(),
        )?;
        let unreadable = filter.unreadable.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.unreadable = unreadable
            .into_iter()
            .map(|error| {
                let is_told = self.unreadable.get(&error).copied().unwrap_or_default();
                (error, is_told)
            })
            .collect();
        self.cache.forget_unseen(None);
        Ok(found.tree)
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
                let mut wanted = Directory::clone(self.agreement.agreed());
                let applied = changes.iter().try_for_each(|change| wanted.apply(change));
                if applied.is_ok() && wanted.digest() == request.root {
                    return Ok(Arc::new(wanted));
                }
            }
        }
        if self.root() == request.root {
            return Ok(self.agreement.agreed().clone());
        }
        if self.agreement.agreed().is_empty() {
            outgoing.message(&FromAgent::Want(Want::Everything))?;
            let mut wanted = Directory::new();
            for change in self.receiver().offer(true, incoming)? {
                wanted.apply(&change).map_err(SyncError::from)?;
            }
            return Ok(Arc::new(wanted));
        }
        let listed =
            receive::directory_objects(self.agreement.agreed(), request.root, incoming, outgoing)?;
        Ok(Arc::new(listed))
    }

    fn fetch_missing(
        &mut self,
        Plan { renamed, changes, .. }: &Plan,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<(), AgentError> {
        for _ in 0..WANT_ROUNDS_MAX {
            let missing = apply::missing_blobs(renamed, changes, &mut self.store);
            if missing.is_empty() {
                return Ok(());
            }
            for batch in missing.chunks(limit::DIGESTS_PER_MESSAGE_MAX) {
                outgoing.message(&FromAgent::Want(Want::Blobs(batch.to_vec())))?;
                self.receiver().blobs(changes, incoming)?;
            }
        }
        let missing = apply::missing_blobs(renamed, changes, &mut self.store);
        match missing.first() {
            Some(digest) => Err(SyncError::MissingBlob(*digest).into()),
            None => Ok(()),
        }
    }

    fn begin_changing(&mut self, plan: &Plan) -> Result<(), AgentError> {
        // The record of an earlier sync gives way only to the state that it led to, and only
        // the saved state tells what runs have changed from what this sync changes.
        self.unsaved |= self.directory.join("changed").exists();
        if self.unsaved {
            self.save()?;
        }
        self.history.syncs += 1;
        self.unsaved = true;
        let record = SyncRecord::new(self.history.syncs, plan);
        Ok(write_record(&self.directory.join("changing"), &record)?)
    }

    fn end_changing(&self) -> Result<(), AgentError> {
        let path = self.directory.join("changed");
        std::fs::rename(self.directory.join("changing"), &path)
            .map_err(AgentError::file(FileOperation::Write, &path))
    }
}

#[cfg(test)]
mod tests;
