//! The download of results, and how they are written here.
//!
//! Each file is written whole under a temporary name and renamed. A source file is replaced
//! only if it is still in the state that was sent; if it was edited meanwhile, the run's
//! version is written beside it (`NAME.from-burst`) and the user is told. Nothing is written
//! outside of the workspace and its target directory, and nothing through a symbolic link
//! inside of them. Files that are here already are not fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use burst_protocol::limit::DIGESTS_PER_MESSAGE_MAX;
use burst_protocol::message::{Artifact, Blob, Encoding, Fetch, FromAgent, FromShim};
use burst_protocol::tree::{Change, Entry, File, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::blobs::{receive_bytes, receive_into};
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::CONFLICT_SUFFIX;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::hash_file;
use burst_sync::stat_cache::StatCache;
use burst_sync::wire::{Incoming, Outgoing};
use burst_sync::{SyncError, patch};

use super::error::{Phase, agent_failed, confused, lost, not_returned};
use crate::error::Error;
use crate::workspace::sources::Sources;

/// The largest file that is the base of a patch: base and result have to fit into memory.
const BASE_BYTES_MAX: u64 = 128 << 20;

/// What was done with the results.
#[derive(Debug, Default)]
pub(crate) struct Downloaded {
    /// The number of files written.
    pub(crate) written: usize,
    /// Indices of the changes that were taken over.
    pub(crate) adopted: Vec<u32>,
    /// Paths that the run created, relative to the workspace root.
    pub(crate) made: Vec<RelativePath>,
    /// Warnings for the user.
    pub(crate) notes: Vec<String>,
}

/// A file to be written.
#[derive(Clone, Debug)]
struct Destination {
    /// 0 for the workspace, 1 for the target directory.
    root: usize,
    path: RelativePath,
    executable: bool,
    base: Option<Digest>,
}

/// The results of one run: first decided about, then fetched and written.
pub(crate) struct Download<'a> {
    sources: &'a Sources,
    workspace: RootDirectory,
    target: Option<RootDirectory>,
    /// Whether a path is excluded by default. Such files are never sources.
    excluded: &'a dyn Fn(&RelativePath) -> bool,
    wanted: BTreeMap<Digest, (u64, Vec<Destination>)>,
    returned: Downloaded,
}

impl<'a> Download<'a> {
    /// Opens the workspace. `excluded` tells the paths that are never sources.
    pub(crate) fn new(
        sources: &'a Sources,
        workspace: &Path,
        excluded: &'a dyn Fn(&RelativePath) -> bool,
    ) -> Result<Self, SyncError> {
        Ok(Self {
            sources,
            workspace: RootDirectory::open(workspace)?,
            target: None,
            excluded,
            wanted: BTreeMap::new(),
            returned: Downloaded::default(),
        })
    }

    /// Decides about the source files that the run changed, created or removed. Links,
    /// directories and removals take effect at once, files in [`Self::fetch`].
    pub(crate) fn changes(&mut self, changes: &[Change]) -> Result<(), SyncError> {
        let trusted = self.removals_are_plausible(changes);
        for (index, change) in changes.iter().enumerate() {
            let Some(path) = change.path().below(&self.sources.project) else {
                let shown = burst_protocol::path::display(&change.path().absolute()).to_string();
                self.returned.notes.push(format!(
                    "the run changed `{shown}`, which is outside of the workspace: it is not fetched"
                ));
                continue;
            };
            let removed = matches!(change, Change::Remove { .. });
            if (self.excluded)(&path) || (removed && !trusted) {
                continue;
            }
            let sent = self.sources.tree.get(change.path());
            let adopted = match change {
                Change::Put { entry, .. } => self.put(&path, entry, sent)?,
                Change::Remove { .. } => self.remove(&path, sent)?,
            };
            if adopted && let Ok(index) = u32::try_from(index) {
                self.returned.adopted.push(index);
                if sent.is_none() {
                    self.returned.made.push(path);
                }
            }
        }
        Ok(())
    }

    /// Whether the removals can be true. If more than half of the files are gone, the
    /// agent has more likely lost its disk: nothing is deleted here, and the next sync
    /// restores the files there.
    fn removals_are_plausible(&mut self, changes: &[Change]) -> bool {
        let mut removed = 0;
        for change in changes {
            if let Change::Remove { path } = change {
                removed += match self.sources.tree.get(path) {
                    Some(Node::Directory(directory)) => directory.count_files(),
                    Some(_) => 1,
                    None => 0,
                };
            }
        }
        let all = self.sources.tree.count_files();
        let plausible = removed <= 1 || removed * 2 <= all;
        if !plausible {
            self.returned.notes.push(format!(
                "after this run {removed} of {all} files are missing on the agent: nothing was \
                 deleted here"
            ));
        }
        plausible
    }

    /// Decides about files of the target directory, which only cargo writes to. `cache`
    /// holds the digests of files fetched earlier.
    pub(crate) fn artifacts(
        &mut self,
        target: &Path,
        artifacts: &[Artifact],
        cache: &mut StatCache,
    ) -> Result<(), SyncError> {
        if artifacts.is_empty() {
            return Ok(());
        }
        create_target(target)?;
        let handle = RootDirectory::open(target)?;
        for Artifact { path, file } in artifacts {
            let here = self.known(&handle, path, cache)?;
            if here.is_some_and(|here| here == *file) {
                continue;
            }
            let base = here.filter(|here| here.size <= BASE_BYTES_MAX).map(|here| here.digest);
            let destination =
                Destination { root: 1, path: path.clone(), executable: file.executable, base };
            self.want(file, destination);
        }
        self.target = Some(handle);
        Ok(())
    }

    /// The number of bytes to fetch, without patches and compression.
    pub(crate) fn wanted_bytes(&self) -> u64 {
        self.wanted.values().map(|(size, _)| size).sum()
    }

    /// Fetches the files that were decided for, and writes them.
    pub(crate) fn fetch(
        mut self,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<Downloaded, Error> {
        let wanted: Vec<Fetch> = self
            .wanted
            .iter()
            .map(|(digest, (_, destinations))| Fetch {
                digest: *digest,
                base: destinations.first().and_then(|destination| destination.base),
            })
            .collect();
        let lost = |error| lost(&error, Phase::Results);
        for batch in wanted.chunks(DIGESTS_PER_MESSAGE_MAX) {
            outgoing.message(&FromShim::Fetch(batch.to_vec())).map_err(lost)?;
            loop {
                match incoming.message().map_err(lost)? {
                    FromAgent::Blob(blob) => match self.receive(blob, incoming) {
                        // The agent could not read the rest of it, and says why.
                        Err(SyncError::BlobInterrupted) => {
                            return Err(match incoming.message().map_err(lost)? {
                                FromAgent::Failed(failure) => agent_failed(failure, Phase::Results),
                                other => confused(&SyncError::out_of_turn(&other)),
                            });
                        }
                        received => received.map_err(not_returned)?,
                    },
                    FromAgent::BlobsEnd => break,
                    FromAgent::Failed(failure) => {
                        return Err(agent_failed(failure, Phase::Results));
                    }
                    FromAgent::InputCredit(_) => {}
                    other => return Err(confused(&SyncError::out_of_turn(&other))),
                }
            }
        }
        if let Some((digest, _)) = self.wanted.first_key_value() {
            return Err(confused(&SyncError::MissingBlob(*digest)));
        }
        let adopted = FromShim::Adopted(self.returned.adopted.clone());
        outgoing.message(&adopted).map_err(lost)?;
        outgoing.message(&FromShim::Done).map_err(lost)?;
        Ok(self.returned)
    }

    /// Decides about a file, link or directory that is new or different. Returns whether
    /// the change is taken over.
    fn put(
        &mut self,
        path: &RelativePath,
        entry: &Entry,
        sent: Option<&Node>,
    ) -> Result<bool, SyncError> {
        let here = self.here(path)?;
        let write = |source| self.workspace.unwritable(path, source);
        match entry {
            Entry::Directory => Ok(self.workspace.create_directories(path, false).is_ok()),
            Entry::Link(target) => {
                if here == Some(Node::Link(target.clone())) {
                    return Ok(true);
                }
                if here.as_ref() != sent {
                    return Ok(
                        self.note_conflict(path, "was made a link to another path by the run")
                    );
                }
                if let Some(parent) = path.parent() {
                    self.workspace.create_directories(&parent, false).map_err(write)?;
                }
                self.workspace.remove_file(path).map_err(write)?;
                self.workspace.create_link(path, target.as_bytes()).map_err(write)?;
                self.returned.written += 1;
                Ok(true)
            }
            Entry::File(file) => {
                if here == Some(Node::File(*file)) {
                    return Ok(true);
                }
                let untouched = here.as_ref() == sent;
                let mut destination = Destination {
                    root: 0,
                    path: path.clone(),
                    executable: file.executable,
                    base: None,
                };
                if !untouched {
                    let Some(beside) = beside(path) else { return Ok(false) };
                    self.returned.notes.push(format!(
                        "`{}` was changed here and by the run: the run's version is in `{}`",
                        path.display(),
                        beside.display()
                    ));
                    destination.path = beside;
                }
                self.want(file, destination);
                Ok(untouched)
            }
        }
    }

    fn remove(&mut self, path: &RelativePath, sent: Option<&Node>) -> Result<bool, SyncError> {
        let here = self.here(path)?;
        let write = |source| self.workspace.unwritable(path, source);
        match (&here, sent) {
            (None, _) => {}
            (Some(Node::Directory(_)), Some(Node::Directory(directory))) => {
                // Only files that were sent are removed, and only if they are unchanged.
                let mut below = Vec::new();
                directory.visit(&mut |inner, node| {
                    if let Ok(inner) = path.join_path(inner) {
                        below.push((inner, node));
                    }
                });
                for (inner, node) in below.iter().rev() {
                    if matches!(node, Node::Directory(_)) {
                        self.workspace.remove_directory(inner).map_err(write)?;
                    } else if self.here(inner)?.as_ref() == Some(*node) {
                        self.workspace.remove_file(inner).map_err(write)?;
                    }
                }
                self.workspace.remove_directory(path).map_err(write)?;
            }
            (here, sent) if here.as_ref() == sent => {
                self.workspace.remove_file(path).map_err(write)?;
            }
            _ => return Ok(self.note_conflict(path, "was removed by the run")),
        }
        Ok(true)
    }

    fn note_conflict(&mut self, path: &RelativePath, what: &str) -> bool {
        let text = format!("`{}` {what}, but was changed here: left as it is here", path.display());
        self.returned.notes.push(text);
        false
    }

    /// The current entry at a path of the workspace; a file is read and hashed.
    fn here(&self, path: &RelativePath) -> Result<Option<Node>, SyncError> {
        let Ok(status) = self.workspace.status(path) else { return Ok(None) };
        if burst_sync::root_directory::is_directory(&status) {
            return Ok(Some(Node::Directory(burst_protocol::tree::Directory::new())));
        }
        if let Ok(target) = self.workspace.read_link(path) {
            return Ok(burst_protocol::tree::LinkTarget::new(&target).ok().map(Node::Link));
        }
        let cached = hash_file(&self.workspace, path, Moment::coarse_now())?;
        Ok(cached.map(|cached| Node::File(burst_sync::scan::file_of(&cached))))
    }

    /// The current file at a path of the target directory, by the cache if possible.
    fn known(
        &self,
        handle: &RootDirectory,
        path: &RelativePath,
        cache: &mut StatCache,
    ) -> Result<Option<File>, SyncError> {
        let Ok(status) = handle.status(path) else { return Ok(None) };
        let signature = burst_sync::stat_cache::Signature::of(&status);
        if let Some(digest) = cache.lookup(path.as_bytes(), &signature) {
            let (size, executable) = (signature.size(), signature.executable());
            return Ok(Some(File { size, digest, executable }));
        }
        let Ok(Some(cached)) = hash_file(handle, path, Moment::coarse_now()) else {
            return Ok(None);
        };
        cache.insert(path.as_bytes(), cached);
        Ok(Some(burst_sync::scan::file_of(&cached)))
    }

    fn want(&mut self, file: &File, destination: Destination) {
        let (_, destinations) = self.wanted.entry(file.digest).or_insert((file.size, Vec::new()));
        destinations.push(destination);
    }

    fn receive(&mut self, content: Blob, incoming: &mut Incoming) -> Result<(), SyncError> {
        let Blob { digest, size, encoding } = content;
        let Some((expected, destinations)) = self.wanted.remove(&digest) else {
            return Err(SyncError::violation("a blob that was not fetched"));
        };
        if expected != size {
            return Err(SyncError::Damaged(digest));
        }
        let (first, others) = destinations.split_first().ok_or(SyncError::Gone)?;
        let handle = self.handle(first)?;
        match encoding {
            Encoding::Whole => {
                write_file(handle, first, |file| {
                    receive_into(incoming, digest, size, |piece| {
                        file.write_all(piece).map_err(|error| handle.unwritable(&first.path, error))
                    })
                })?;
            }
            Encoding::Patch { base, length } => {
                let content = self.patched(first, (base, length), content, incoming)?;
                let handle = self.handle(first)?;
                write_file(handle, first, |file| {
                    file.write_all(&content).map_err(|error| handle.unwritable(&first.path, error))
                })?;
            }
        }
        for other in others {
            let (from, to) = (self.handle(first)?, self.handle(other)?);
            let mut source = from
                .open_file(&first.path)
                .map_err(|source| from.unreadable(&first.path, source))?;
            write_file(to, other, |file| {
                std::io::copy(&mut source, file)
                    .map_err(|source| to.unwritable(&other.path, source))?;
                Ok(())
            })?;
        }
        self.returned.written += destinations.len();
        Ok(())
    }

    fn patched(
        &self,
        destination: &Destination,
        (base, length): (Digest, u64),
        content: Blob,
        incoming: &mut Incoming,
    ) -> Result<Vec<u8>, SyncError> {
        if length > 2 * BASE_BYTES_MAX || content.size > 2 * BASE_BYTES_MAX {
            return Err(SyncError::violation(format!("a patch of {length} bytes")));
        }
        let patch = receive_bytes(incoming, length)?;
        let (handle, path) = (self.handle(destination)?, &destination.path);
        let held =
            handle.read(path, BASE_BYTES_MAX).map_err(|source| handle.unreadable(path, source))?;
        if Digest::of(&held) != base {
            return Err(SyncError::Changed(handle.absolute(path)));
        }
        let size = usize::try_from(content.size).unwrap_or(usize::MAX);
        let bytes = patch::apply(&held, &patch, size)?;
        if Digest::of(&bytes) == content.digest {
            Ok(bytes)
        } else {
            Err(SyncError::Damaged(content.digest))
        }
    }

    fn handle(&self, destination: &Destination) -> Result<&RootDirectory, SyncError> {
        match destination.root {
            0 => Ok(&self.workspace),
            _ => self.target.as_ref().ok_or(SyncError::Gone),
        }
    }
}

/// The path for the run's version of a file that was edited here.
fn beside(path: &RelativePath) -> Option<RelativePath> {
    RelativePath::new(&[path.as_bytes(), CONFLICT_SUFFIX.as_bytes()].concat()).ok()
}

/// Writes a file under a temporary name, then renames it. On an error nothing is left.
fn write_file(
    handle: &RootDirectory,
    destination: &Destination,
    fill: impl FnOnce(&mut std::fs::File) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let failed = |source| handle.unwritable(&destination.path, source);
    let path = &destination.path;
    if let Some(parent) = path.parent() {
        handle.create_directories(&parent, false).map_err(failed)?;
    }
    let temporary =
        temporary_name(path).ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
    handle.remove_file(&temporary).map_err(failed)?;
    let mode = if destination.executable { 0o755 } else { 0o644 };
    let mut file = handle.create_file(&temporary, mode).map_err(failed)?;
    let filled = fill(&mut file).and_then(|()| handle.rename(&temporary, path).map_err(failed));
    if filled.is_err() {
        // The first error is the one to report.
        drop(handle.remove_file(&temporary));
    }
    filled
}

/// A temporary path in the directory of a file; its length does not depend on the name.
fn temporary_name(path: &RelativePath) -> Option<RelativePath> {
    let name = format!(".burst-{}{CONFLICT_SUFFIX}", std::process::id());
    let (parent, _) = path.split();
    let bytes = match parent {
        Some(parent) => [parent, b"/", name.as_bytes()].concat(),
        None => name.into_bytes(),
    };
    RelativePath::new(&bytes).ok()
}

/// Creates the target directory as cargo does, with the tag that excludes it from backups
/// and from our scan.
fn create_target(target: &Path) -> Result<(), SyncError> {
    if target.exists() {
        return Ok(());
    }
    const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
        # This file is a cache directory tag created by cargo.\n\
        # For information about cache directory tags see https://bford.info/cachedir/\n";
    #[expect(clippy::disallowed_methods, reason = "half a tag is written anew by cargo")]
    std::fs::create_dir_all(target)
        .and_then(|()| std::fs::write(target.join("CACHEDIR.TAG"), TAG))
        .map_err(|source| SyncError::Write { path: target.to_owned(), source })
}

/// The tree that the agent holds after the download: the one that was sent, with all
/// changes of known paths and the new paths that were taken over. `None` if the changes do
/// not fit the tree.
pub(crate) fn base_after(
    sent: &burst_protocol::tree::Directory,
    changes: &[Change],
    adopted: &[u32],
) -> Option<burst_protocol::tree::Directory> {
    let adopted: BTreeSet<usize> = adopted.iter().map(|index| *index as usize).collect();
    let mut base = sent.clone();
    for (index, change) in changes.iter().enumerate() {
        let known = base.get(change.path()).is_some();
        let counts = match change {
            Change::Put { .. } => known || adopted.contains(&index),
            Change::Remove { .. } => known,
        };
        if counts {
            base.apply(change).ok()?;
        }
    }
    Some(base)
}
