//! The download of results: each is decided about, then fetched and written.
//!
//! A source file is replaced only if it is still in the state that was sent; if it was
//! edited meanwhile, the run's version is written beside it (`NAME.from-burst`) and the user
//! is told. A file that is not sent, since git ignores it, meets the version of one run only:
//! until it changes or is deleted here, further versions are declined. [`Boundary`] decides where
//! results may be written. Every change of a source is answered: adopted, or declined. One that
//! is not, because an error ended the download, is offered again after the next run. Files that
//! are here already are not fetched.

mod changes;
mod freshness;
mod links;
mod locking;
mod whole;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use burst_protocol::limit::DIGESTS_PER_MESSAGE_MAX;
use burst_protocol::message::{Artifact, Fetch, FromAgent, FromShim};
use burst_protocol::tree::{Change, Directory, Entry, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::fingerprint::is_fingerprint;
use burst_sync::root_directory::RootDirectory;
use burst_sync::stat_cache::{Cached, Signature, StatCache};
use burst_sync::tally::Tally;
use burst_sync::wire::{Incoming, Outgoing};

use super::boundary::{Boundary, Verdict};
use super::cargo_lock::CargoLocks;
use super::destination::{Destination, Place};
use super::error::{Phase, agent_failed, confused, lost, not_returned};
use super::held_target::{Found, held_artifact};
use super::held_units::HeldUnits;
use super::local_files::LocalFiles;
use super::receiving::{BASE_BYTES_MAX, Downloaded, Results};
use super::stale_pages::{remove, stale};
use super::taken::Taken;
use super::target::TargetDirectory;
use crate::error::Error;
use crate::workspace::conflicts::Conflicts;
use crate::workspace::error::unreadable;
use crate::workspace::sources::Sources;
use crate::workspace::state::WorkspaceState;

/// How often blobs are fetched. A patch may not fit, because another command has replaced the
/// file that it is based on; then the whole file is fetched.
const FETCH_ROUNDS_MAX: usize = 2;

/// What the results of a run are compared with, and where they go.
pub(crate) struct Receiving<'a> {
    /// The tree that was sent.
    pub(crate) sources: &'a Sources,
    /// The workspace root, absolute.
    pub(crate) workspace: &'a Path,
    /// The target directory, as found before the run.
    pub(crate) target: &'a TargetDirectory,
    /// The directories in which nothing is a source, absolute.
    pub(crate) without_sources: Vec<&'a Path>,
    /// The directory with the records of this workspace.
    pub(crate) records: &'a Path,
    /// What is remembered of files that were changed here and by runs.
    pub(crate) conflicts: Conflicts,
    /// What the agent holds by now, if another command of this workspace knows better.
    pub(crate) base: &'a dyn Fn() -> Option<&'a Directory>,
    /// Whether a path is excluded by default. Such files are never sources.
    pub(crate) excluded: &'a dyn Fn(&RelativePath) -> bool,
    /// Whether a file that is not in the tree that was sent is in no later one either, unless git
    /// tracks it.
    pub(crate) left_out: &'a dyn Fn(&RelativePath) -> bool,
    /// Whether a path of the target directory is one that the user has named to be fetched.
    pub(crate) is_named: &'a dyn Fn(&RelativePath) -> bool,
    /// The directories of packages.
    pub(crate) packages: Vec<&'a Path>,
}

impl Receiving<'_> {
    /// What another command of this workspace has fetched for a path below the workspace.
    fn base_at(&self, path: &RelativePath) -> Option<Node> {
        let place = self.sources.project.join_path(path).ok()?;
        (self.base)()?.get(&place).cloned()
    }
}

/// The record of the files of the workspace that were fetched because they were named.
const NAMED: &str = "named";

/// The digests of files that were fetched, for the next command.
pub(crate) struct Caches {
    /// Of the target directory.
    pub(crate) returned: StatCache,
    /// Of the workspace, where the user has named them.
    pub(crate) named: StatCache,
}

impl Caches {
    /// Loads what earlier commands have fetched.
    pub(crate) fn load(state: &WorkspaceState) -> Self {
        Self {
            returned: StatCache::load(&state.returned_path()),
            named: StatCache::load(&state.directory().join(NAMED)),
        }
    }

    /// Saves what has changed.
    pub(crate) fn save(&mut self, state: &WorkspaceState) -> Result<(), Error> {
        if self.named.is_changed() {
            self.named.save(&state.directory().join(NAMED)).map_err(unreadable)?;
        }
        if self.returned.is_changed() {
            self.returned.save(&state.returned_path()).map_err(unreadable)?;
        }
        Ok(())
    }
}

/// The results of one run: first decided about, then fetched and written.
pub(crate) struct Download<'a> {
    receiving: Receiving<'a>,
    boundary: Boundary,
    results: Results<'a>,
    /// Files of the target directory that are here and get another time, with their digests.
    redated: Vec<(RelativePath, Digest, Moment)>,
    /// The lists of the inputs of units in the whole target directory.
    input_lists: Vec<RelativePath>,
    /// The fingerprints in the target directory here.
    held_units: HeldUnits,
    /// What was found here of the whole target directory.
    found: Option<Found>,
    /// Until the end of the download.
    locks: Option<CargoLocks>,
}

impl<'a> Download<'a> {
    /// Opens the workspace, and the target directory if something in it `has_results`: before
    /// anything is written.
    pub(crate) fn new(
        mut receiving: Receiving<'a>,
        changes: &'a [Change],
        has_results: bool,
    ) -> Result<Self, SyncError> {
        let target = match has_results {
            true => Some(LocalFiles::new(receiving.target.open()?)),
            false => None,
        };
        let project = receiving.sources.project.clone();
        Ok(Self {
            boundary: Boundary::new(project, receiving.workspace, &receiving.without_sources),
            results: Results::new(
                LocalFiles::recorded(RootDirectory::open(receiving.workspace)?, receiving.records),
                target,
                changes,
                Taken::new(receiving.records),
                std::mem::take(&mut receiving.conflicts),
            ),
            receiving,
            redated: Vec::new(),
            input_lists: Vec::new(),
            held_units: HeldUnits::default(),
            found: None,
            locks: None,
        })
    }

    /// Tells of a change that is not taken.
    fn refuse(&mut self, change: &Change, verdict: &Verdict) {
        let why = match verdict {
            Verdict::Outside => "outside of the workspace",
            _ => "a place that no run may change",
        };
        let shown = burst_protocol::path::display(&change.path().absolute()).to_string();
        self.results
            .returned
            .notes
            .push(format!("the run changed `{shown}`, which is {why}: it is not fetched"));
    }

    /// Decides about files of the target directory, which only cargo writes to: but what the user
    /// has named and changed since it was fetched stays. Fingerprints do not come so:
    /// they would be newer than sources that were edited since. `cache` holds the digests of files
    /// fetched earlier.
    pub(crate) fn artifacts(
        &mut self,
        artifacts: &[Artifact],
        cache: &mut StatCache,
    ) -> Result<(), SyncError> {
        let (fingerprints, artifacts): (Vec<&Artifact>, Vec<&Artifact>) =
            artifacts.iter().partition(|artifact| is_fingerprint(&artifact.path));
        if !fingerprints.is_empty() {
            let note = "cargo's fingerprints are not fetched by path: `--fetch all` brings them";
            self.results.returned.notes.push(note.to_owned());
        }
        for Artifact { path, file } in artifacts {
            let Some(target) = &self.results.target else { return Ok(()) };
            let fetched = cache.get(path.as_bytes()).map(|cached| cached.digest);
            let here = held_artifact(target.root(), path, cache);
            if here.is_some_and(|here| here == *file) {
                continue;
            }
            if (self.receiving.is_named)(path)
                && here.is_some_and(|here| Some(here.digest) != fetched)
            {
                // It was not fetched.
                cache.remove(path.as_bytes());
                let shown = target.root().absolute(path);
                self.results.returned.notes.push(format!(
                    "`{}` was changed here and stays: remove it to have the run's version",
                    shown.display()
                ));
                continue;
            }
            self.make_way(path)?;
            let base = here.filter(|here| here.size <= BASE_BYTES_MAX).map(|here| here.digest);
            let place = Place::Artifact { base, modified: None };
            let destination = Destination { path: path.clone(), file: *file, place };
            self.results.want(file, destination);
            self.unseal(path)?;
        }
        Ok(())
    }

    /// The paths below `/` of the changes, which are decided about on their own.
    fn changed(&self) -> HashSet<&'a RelativePath> {
        let changes: &'a [Change] = self.results.changes;
        changes.iter().map(Change::path).collect()
    }

    /// Decides about files of the workspace that the user has named. One that is here is replaced
    /// if it is the version that was fetched last; `cache` holds those. Otherwise the new version
    /// is written beside it.
    pub(crate) fn named(&mut self, files: &[Artifact], cache: &StatCache) -> Result<(), SyncError> {
        let changed = self.changed();
        for Artifact { path: place, file } in files {
            let place = self.receiving.sources.project.join_path(place);
            let Ok(place) = place else { continue };
            if changed.contains(&place) {
                continue;
            }
            let change = Change::Put { path: place, entry: Entry::File(*file) };
            let path = match self.boundary.judge(&change) {
                Verdict::Source(path) => path,
                refused => {
                    self.refuse(&change, &refused);
                    continue;
                }
            };
            let here = self.results.workspace.entry(&path)?;
            let fetched = cache.get(path.as_bytes()).map(|cached| cached.digest);
            let expected = match here {
                Some(here) if here == Node::File(*file) => continue,
                Some(Node::File(here)) if Some(here.digest) == fetched => Some(Node::File(here)),
                _ => None,
            };
            let place = Place::Named { expected };
            self.results.want(file, Destination { path, file: *file, place });
        }
        Ok(())
    }

    /// Whether something is to be written below the target directory.
    pub(crate) fn writes_target(&self) -> bool {
        !self.results.wanted.is_empty() || !self.redated.is_empty() || !self.input_lists.is_empty()
    }

    /// Creates the directory for the files of tests, as cargo does where it builds tests: those
    /// that were fetched expect it.
    pub(crate) fn create_directory_of_tests(&self) -> Result<(), SyncError> {
        if let (Some(target), Ok(tmp)) = (&self.results.target, RelativePath::new(b"tmp")) {
            let created = target.root().create_directories(&tmp, false);
            created.map_err(|source| target.unwritable(&tmp, source))?;
        }
        Ok(())
    }

    /// Removes pages of the documentation that were fetched earlier and are gone.
    pub(crate) fn remove_stale_pages(
        &mut self,
        artifacts: &[Artifact],
        cache: &mut StatCache,
    ) -> Result<(), SyncError> {
        let Some(target) = &self.results.target else { return Ok(()) };
        for page in stale(target.root(), artifacts, cache) {
            self.unseal(&page)?;
            if let Some(target) = &self.results.target {
                remove(target.root(), &page);
            }
        }
        Ok(())
    }

    /// The number of bytes to fetch, without patches and compression.
    pub(crate) fn wanted_bytes(&self) -> u64 {
        self.results.wanted.values().map(|(size, _)| size).sum()
    }

    /// The figures of the download, which counts each different content once.
    pub(crate) fn begin_tally(&self) -> Arc<Tally> {
        let tally = &self.results.tally;
        tally.expect(self.results.wanted.len() as u64, self.wanted_bytes());
        Arc::clone(tally)
    }

    /// Fetches the files that were decided for, and writes them. Artifacts are entered into
    /// the cache.
    pub(crate) fn fetch(
        mut self,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
        caches: &mut Caches,
    ) -> Result<Downloaded, Error> {
        for _ in 0..FETCH_ROUNDS_MAX {
            let wanted = self.results.fetches();
            for batch in wanted.chunks(DIGESTS_PER_MESSAGE_MAX) {
                self.fetch_batch(batch, incoming, outgoing)?;
            }
            if !self.results.fetches_again() {
                break;
            }
        }
        if let Some((digest, _)) = self.results.wanted.first_key_value() {
            return Err(confused(&SyncError::MissingBlob(*digest)));
        }
        self.seal().map_err(not_returned)?;
        if let Some(target) = &self.results.target {
            remember(target.root(), &self.results.fetched, &mut caches.returned);
        }
        remember(self.results.workspace.root(), &self.results.named, &mut caches.named);
        Ok(self.results.into_downloaded())
    }

    fn fetch_batch(
        &mut self,
        batch: &[Fetch],
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<(), Error> {
        let lost = |error| lost(&error, Phase::Results);
        outgoing.message(&FromShim::Fetch(batch.to_vec())).map_err(lost)?;
        loop {
            match incoming.message().map_err(lost)? {
                FromAgent::Blob(blob) => {
                    let (digest, known) = (blob.digest, &self.receiving);
                    let expected = |path: &RelativePath| known.base_at(path);
                    match self.results.receive(blob, incoming, &expected) {
                        // The agent could not send all of it, and says why.
                        Err(SyncError::BlobInterrupted | SyncError::Damaged(_)) => {
                            incomplete(digest, incoming)?;
                        }
                        received => received.map_err(not_returned)?,
                    }
                }
                FromAgent::Unavailable(digest) => self.results.forget(&digest),
                FromAgent::BlobsEnd => return Ok(()),
                FromAgent::Failed(failure) => return Err(agent_failed(failure, Phase::Results)),
                FromAgent::InputCredit(_) => {}
                other => return Err(confused(&SyncError::out_of_turn(&other))),
            }
        }
    }
}

/// Answers the changes: the agent offers those that are neither adopted nor declined again. What
/// was adopted must have been remembered.
pub(crate) fn answer(downloaded: &Downloaded, outgoing: &Outgoing) -> Result<(), Error> {
    let Downloaded { adopted, declined, .. } = downloaded;
    let answers = [FromShim::Adopted(adopted.clone()), FromShim::Declined(declined.clone())];
    for message in answers.iter().chain([&FromShim::Done]) {
        outgoing.message(message).map_err(|error| lost(&error, Phase::Results))?;
    }
    Ok(())
}

/// Reads why a blob is incomplete. That its file has changed is no error.
fn incomplete(digest: Digest, incoming: &mut Incoming) -> Result<(), Error> {
    match incoming.message().map_err(|error| lost(&error, Phase::Results))? {
        FromAgent::Unavailable(changed) if changed == digest => Ok(()),
        FromAgent::Failed(failure) => Err(agent_failed(failure, Phase::Results)),
        _ => Err(not_returned(SyncError::Damaged(digest))),
    }
}

/// Enters files that were written into a cache.
fn remember(root: &RootDirectory, written: &[(RelativePath, Digest)], cache: &mut StatCache) {
    let now = Moment::coarse_now();
    for (path, digest) in written {
        if let Ok(status) = root.status(path) {
            let signature = Signature::of(&status);
            let settled = signature.settled(now);
            cache.insert(path.as_bytes(), Cached { signature, digest: *digest, settled });
        }
    }
}

/// The tree that the agent takes for ours after the download: the one before, with the
/// changes that were adopted. `None` if they do not fit the tree.
pub(crate) fn base_after(
    before: &Directory,
    changes: &[Change],
    adopted: &[u32],
) -> Option<Directory> {
    let adopted: BTreeSet<u32> = adopted.iter().copied().collect();
    let mut base = before.clone();
    for (index, change) in (0..).zip(changes) {
        if adopted.contains(&index) {
            base.apply(change).ok()?;
        }
    }
    Some(base)
}
