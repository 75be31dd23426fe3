//! What a run returns: the list that the client is offered, and the contents that it fetches.
//!
//! A file that has changed since it was offered is said to be unavailable; it is offered again
//! after the next run. No link that a build has placed is followed.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use burst_protocol::budget::Budget;
use burst_protocol::limit::{CHANGES_PER_MESSAGE_MAX, UNREADABLE_NAMED_MAX};
use burst_protocol::message::{
    Artifact, Blob, Ending, Fetch, FromAgent, NamedLink, TargetFile, TargetListed,
};
use burst_protocol::tree::{Change, Entry};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::blobs::{self, BlobSource};
use burst_sync::root_directory::RootDirectory;
use burst_sync::wire::Outgoing;
use rustix::io::Errno;

use crate::artifacts;
use crate::artifacts::whole::Whole;
use crate::error::AgentError;
use crate::returned_copies::{COPIED_BYTES_MAX, ReturnedCopies};

/// Bytes of the largest changed source file that is returned. Larger ones are only named.
const CHANGED_FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of all changed source files that are returned. Files beyond are only named.
const CHANGED_BYTES_MAX: u64 = 256 << 20;

/// The files that a run offers to its client.
#[derive(Debug, Default)]
pub(crate) struct ReturnSet {
    /// Sources that runs have changed.
    pub(crate) changes: Vec<Change>,
    /// Files of the target directory.
    pub(crate) artifacts: Vec<Artifact>,
    /// The bytes of what tests have left below the target directory, if they are too many.
    pub(crate) large_tests: Option<u64>,
    /// The whole target directory, if it was requested.
    pub(crate) whole: Option<Whole>,
    /// Files below the project that the client has named.
    pub(crate) named_files: Vec<Artifact>,
    /// Symbolic links at and below what the client has named, and in the whole target directory.
    pub(crate) named_links: Vec<NamedLink>,
    /// Paths that the client has named and at which there is nothing.
    pub(crate) missing: Vec<RelativePath>,
    /// The project's directory on the agent's disk.
    pub(crate) project: PathBuf,
    /// Changed files that are too large to be offered.
    pub(crate) withheld: Vec<Change>,
    /// The errors of what cannot be read.
    pub(crate) unreadable: Vec<String>,
    /// The target directory with the artifacts, on the agent's disk.
    pub(crate) target: PathBuf,
    /// The target directory as the client knows it.
    pub(crate) target_seen: PathBuf,
}

/// The client that fetches contents, and where they are.
#[derive(Debug)]
pub(crate) struct Recipient<'a> {
    /// The stream of the client.
    pub(crate) outgoing: &'a Outgoing,
    /// The project's tree on the agent's disk.
    pub(crate) tree: &'a Path,
    /// The directory of the copies that later patches are based on.
    pub(crate) copies: &'a Path,
    /// Whether large contents are compressed, and sent as patches.
    pub(crate) compress_large: bool,
}

impl ReturnSet {
    /// Adds changes; withholds files that are too large, and those beyond the size of all.
    pub(crate) fn add_changes(&mut self, changes: Vec<Change>) {
        let mut bytes = 0;
        for change in changes {
            if let Change::Put { entry: Entry::File(file), .. } = &change {
                if file.size > CHANGED_FILE_BYTES_MAX || bytes + file.size > CHANGED_BYTES_MAX {
                    self.withheld.push(change);
                    continue;
                }
                bytes += file.size;
            }
            self.changes.push(change);
        }
    }

    /// The offered changes with these indices; others do not exist.
    pub(crate) fn select(&self, indices: &BTreeSet<u32>) -> impl Iterator<Item = &Change> {
        indices.iter().filter_map(|index| self.changes.get(usize::try_from(*index).ok()?))
    }

    /// The withheld files that no later run can offer either: the client was told of them.
    pub(crate) fn too_large(&self) -> impl Iterator<Item = &Change> {
        self.withheld.iter().filter(|change| {
            matches!(change, Change::Put { entry: Entry::File(file), .. }
                if file.size > CHANGED_FILE_BYTES_MAX)
        })
    }

    /// Sends the list, and how cargo ended.
    pub(crate) fn announce(&self, outgoing: &Outgoing, ending: Ending) -> Result<(), AgentError> {
        let mut budget = Budget::default();
        self.changes.iter().try_for_each(|change| budget.change(change.path()))?;
        self.artifacts.iter().try_for_each(|artifact| budget.file(&artifact.path))?;
        for piece in self.changes.chunks(CHANGES_PER_MESSAGE_MAX) {
            outgoing.message(&FromAgent::Changed(piece.to_vec()))?;
        }
        for piece in self.artifacts.chunks(CHANGES_PER_MESSAGE_MAX) {
            outgoing.message(&FromAgent::Artifacts(piece.to_vec()))?;
        }
        if let Some(whole) = &self.whole {
            whole.changed.iter().try_for_each(|file| budget.file(&file.path))?;
            whole.gone.iter().try_for_each(|path| budget.file(path))?;
            announce_whole(outgoing, whole)?;
        }
        self.named_files.iter().try_for_each(|file| budget.file(&file.path))?;
        for piece in self.named_files.chunks(CHANGES_PER_MESSAGE_MAX) {
            outgoing.message(&FromAgent::NamedFiles(piece.to_vec()))?;
        }
        self.named_links.iter().try_for_each(|link| budget.file(&link.path))?;
        for piece in self.named_links.chunks(CHANGES_PER_MESSAGE_MAX) {
            outgoing.message(&FromAgent::NamedLinks(piece.to_vec()))?;
        }
        if !self.missing.is_empty() {
            outgoing.message(&FromAgent::Missing(self.missing.clone()))?;
        }
        if let Some(bytes) = self.large_tests {
            outgoing.message(&FromAgent::LargeTestFiles { bytes })?;
        }
        for change in &self.withheld {
            if let Change::Put { path, entry: Entry::File(file) } = change {
                let (path, size) = (path.clone(), file.size);
                outgoing.message(&FromAgent::Withheld { path, size })?;
            }
        }
        if !self.unreadable.is_empty() {
            let (named, others) =
                self.unreadable.split_at(self.unreadable.len().min(UNREADABLE_NAMED_MAX));
            let (errors, others) = (named.to_vec(), others.len() as u64);
            outgoing.message(&FromAgent::Unreadable { errors, others })?;
        }
        Ok(outgoing.message(&FromAgent::Finished(ending))?)
    }

    /// Sends the contents that the client fetches.
    pub(crate) fn send(&self, wanted: &[Fetch], to: &Recipient<'_>) -> Result<(), AgentError> {
        let tree = RootDirectory::open_as(to.tree, Path::new("/"))?;
        let mut sources: HashMap<Digest, (&RootDirectory, &RelativePath, u64)> = HashMap::new();
        for change in &self.changes {
            if let Change::Put { path, entry: Entry::File(file) } = change {
                sources.insert(file.digest, (&tree, path, file.size));
            }
        }
        let project = match self.named_files.is_empty() {
            true => None,
            false => Some(RootDirectory::open(&self.project)?),
        };
        for (named, project) in self.named_files.iter().zip(project.iter().cycle()) {
            sources.insert(named.file.digest, (project, &named.path, named.file.size));
        }
        let of_whole = self.whole.iter().flat_map(|whole| &whole.files);
        let of_whole = of_whole.map(|TargetFile { path, file, .. }| (path, file));
        let artifacts = self.artifacts.iter().map(|Artifact { path, file }| (path, file));
        let mut artifacts = artifacts.chain(of_whole).peekable();
        let target = match artifacts.peek() {
            None => None,
            Some(_) => Some(artifacts::open_target(&self.target, &self.target_seen)?),
        };
        for ((path, file), target) in artifacts.zip(target.iter().cycle()) {
            sources.insert(file.digest, (target, path, file.size));
        }
        let copies = ReturnedCopies::open(to.copies)?;
        for fetch in wanted {
            let (root, path, size) =
                sources.get(&fetch.digest).ok_or(SyncError::MissingBlob(fetch.digest))?;
            match to.send_one(fetch, root, path, *size, &copies) {
                Err(AgentError::Sync(SyncError::Changed(_))) => {
                    to.outgoing.message(&FromAgent::Unavailable(fetch.digest))?;
                }
                sent => sent?,
            }
        }
        copies.trim()?;
        Ok(to.outgoing.message(&FromAgent::BlobsEnd)?)
    }
}

impl Recipient<'_> {
    fn send_one(
        &self,
        fetch: &Fetch,
        root: &RootDirectory,
        path: &RelativePath,
        size: u64,
        copies: &ReturnedCopies,
    ) -> Result<(), AgentError> {
        let announce = |content: Blob| self.outgoing.message(&FromAgent::Blob(content));
        let (digest, shown) = (fetch.digest, root.absolute(path));
        let unreadable = |source: io::Error| match is_replaced(&source) {
            true => AgentError::from(SyncError::Changed(root.absolute(path))),
            false => root.unreadable(path, source).into(),
        };
        if self.compress_large && size <= COPIED_BYTES_MAX {
            let content = root.read(path, size).map_err(unreadable)?;
            if Digest::of(&content) != digest {
                return Err(SyncError::Changed(shown).into());
            }
            let base = fetch.base.and_then(|base| Some((base, copies.get(&base)?)));
            copies.keep(digest, &content)?;
            if let Some((base, held)) = base {
                let cap = usize::MAX;
                let base = (base, held.as_slice());
                if blobs::send_patch(self.outgoing, &announce, digest, &content, base, cap)? {
                    return Ok(());
                }
            }
            let source = BlobSource { path: &shown, digest, size, reader: &mut content.as_slice() };
            return Ok(blobs::send_whole(self.outgoing, &announce, source, true)?);
        }
        let mut file = root.open_file(path).map_err(unreadable)?;
        let source = BlobSource { path: &shown, digest, size, reader: &mut file };
        Ok(blobs::send_whole(self.outgoing, &announce, source, self.compress_large)?)
    }
}

fn announce_whole(outgoing: &Outgoing, whole: &Whole) -> Result<(), AgentError> {
    for piece in whole.changed.chunks(CHANGES_PER_MESSAGE_MAX) {
        outgoing.message(&FromAgent::TargetFiles(piece.to_vec()))?;
    }
    for piece in whole.gone.chunks(CHANGES_PER_MESSAGE_MAX) {
        outgoing.message(&FromAgent::TargetGone(piece.to_vec()))?;
    }
    let (base, list, compiler) = (whole.base, whole.list, whole.compiler.clone());
    let listed = TargetListed { base, list, compiler };
    Ok(outgoing.message(&FromAgent::TargetListed(listed))?)
}

/// Whether a file cannot be read because it is no longer what was offered: it, or a directory
/// above it, was removed or replaced, or it has grown.
fn is_replaced(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | FileTooLarge | InvalidInput)
        // A link in its place, or a socket.
        || matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::NXIO))
}

#[cfg(test)]
mod tests;
