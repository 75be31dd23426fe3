//! The fetched blobs of a download, and how each gets to its places.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use burst_protocol::message::{Blob, Encoding, Fetch};
use burst_protocol::tree::{Change, Entry, File, FileMode, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::blobs::{receive_bytes, receive_into};
use burst_sync::fingerprint::is_fingerprint;
use burst_sync::ignore_rules::CONFLICT_SUFFIX;
use burst_sync::tally::Tally;
use burst_sync::wire::Incoming;
use burst_sync::{SyncError, patch};

use super::destination::{Conflict, Destination, Place};
use super::local_files::{LocalFiles, Replaced};
use super::taken::Taken;
use crate::workspace::conflicts::Conflicts;
use crate::workspace::git_excludes::is_ignore_file;
use crate::workspace::runs_code::runs_code;

/// The largest file that is the base of a patch: base and result have to fit into memory.
pub(super) const BASE_BYTES_MAX: u64 = 128 << 20;

/// What another command of this workspace has fetched for a path.
pub(super) type Known<'a> = &'a dyn Fn(&RelativePath) -> Option<Node>;

/// What was done with the results.
#[derive(Debug, Default)]
pub(crate) struct Downloaded {
    /// The number of files written.
    pub(crate) written: usize,
    /// Indices of the changes that are here now.
    pub(crate) adopted: Vec<u32>,
    /// Indices of the changes that are not wanted here.
    pub(super) declined: Vec<u32>,
    /// Paths that the run created, relative to the workspace root.
    pub(crate) made: Vec<RelativePath>,
    /// Warnings for the user.
    pub(crate) notes: Vec<String>,
    /// What is to be remembered of files that were changed here, too.
    pub(crate) conflicts: Conflicts,
    /// The record of what has taken effect, until the agent knows.
    pub(crate) taken: Option<Taken>,
    /// The files of the target directory that were written.
    pub(crate) artifacts: Vec<RelativePath>,
    /// Whether everything that was wanted is here.
    pub(crate) is_complete: bool,
}

/// The results of a run on their way to their places.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub(super) workspace: LocalFiles,
    /// The target directory, if there are artifacts.
    pub(super) target: Option<LocalFiles>,
    /// For each blob to be fetched: its size, and its places.
    pub(super) wanted: BTreeMap<Digest, (u64, Vec<Destination>)>,
    pub(super) returned: Downloaded,
    /// The changes that were offered.
    pub(super) changes: &'a [Change],
    /// The record of those that have taken effect.
    taken: Taken,
    /// Counts the files that are fetched, and their bytes.
    pub(super) tally: Arc<Tally>,
    /// Whether a patch did not fit.
    misfit: bool,
    /// The artifacts that were written.
    pub(super) fetched: Vec<(RelativePath, Digest)>,
    /// The named files of the workspace that were written.
    pub(super) named: Vec<(RelativePath, Digest)>,
    /// Fingerprints of a whole target directory, which wait in temporary files until everything
    /// else is in place.
    waiting: Vec<(RelativePath, Destination)>,
    /// Whether something could not be fetched.
    pub(super) is_incomplete: bool,
    /// The paths that were written and run code here.
    running_code: Vec<RelativePath>,
    /// The paths that were written or removed and tell git what to ignore.
    ignore_files: BTreeSet<RelativePath>,
}

impl<'a> Results<'a> {
    /// No results yet.
    pub(super) fn new(
        workspace: LocalFiles,
        target: Option<LocalFiles>,
        changes: &'a [Change],
        taken: Taken,
        conflicts: Conflicts,
    ) -> Self {
        let returned = Downloaded { conflicts, ..Downloaded::default() };
        let wanted = BTreeMap::new();
        Self {
            workspace,
            target,
            wanted,
            returned,
            changes,
            taken,
            tally: Arc::default(),
            misfit: false,
            fetched: Vec::new(),
            named: Vec::new(),
            waiting: Vec::new(),
            is_incomplete: false,
            running_code: Vec::new(),
            ignore_files: BTreeSet::new(),
        }
    }

    /// The blobs to fetch.
    pub(super) fn fetches(&self) -> Vec<Fetch> {
        let base = |destinations: &[Destination]| destinations.first()?.base();
        let wanted = self.wanted.iter();
        wanted
            .map(|(digest, (_, destinations))| Fetch { digest: *digest, base: base(destinations) })
            .collect()
    }

    /// Whether a patch did not fit, so that its blob is to be fetched once more, whole.
    pub(super) const fn fetches_again(&mut self) -> bool {
        std::mem::replace(&mut self.misfit, false)
    }

    /// Records that a blob cannot be fetched. Its changes are not answered, so they are
    /// offered again.
    pub(super) fn forget(&mut self, digest: &Digest) {
        self.wanted.remove(digest);
        self.is_incomplete = true;
    }

    /// Writes the fingerprints that have arrived and for which `goes` holds; none if something is
    /// missing that they may vouch for.
    pub(super) fn finish_waiting(
        &mut self,
        goes: &dyn Fn(&RelativePath) -> bool,
    ) -> Result<(), SyncError> {
        let Some(target) = self.target.as_ref().filter(|_| !self.is_incomplete) else {
            return Ok(());
        };
        let (going, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, to)| goes(&to.path));
        self.waiting = waiting;
        let going: Vec<(RelativePath, Destination)> = going;
        for (temporary, Destination { path, file, .. }) in going {
            target.overwrite(&temporary, &path)?;
            self.fetched.push((path, file.digest));
        }
        Ok(())
    }

    /// Drops the fingerprints that have arrived and are not to be here.
    pub(super) fn drop_waiting(&mut self) {
        let Some(target) = &self.target else { return };
        for (temporary, _) in std::mem::take(&mut self.waiting) {
            drop(target.root().remove_file(&temporary));
        }
    }

    /// Records that a file is to be fetched.
    pub(super) fn want(&mut self, file: &File, destination: Destination) {
        let (_, destinations) = self.wanted.entry(file.digest).or_insert((file.size, Vec::new()));
        destinations.push(destination);
    }

    /// Records a change whose version is here now.
    pub(super) fn adopt(&mut self, index: u32, path: &RelativePath, is_new: bool) {
        self.returned.adopted.push(index);
        if let Some(change) = usize::try_from(index).ok().and_then(|index| self.changes.get(index))
        {
            self.taken.add(change);
            if let (true, Change::Put { entry: Entry::File(file), .. }) = (is_beside(path), change)
            {
                self.returned.conflicts.add_beside(path.clone(), *file);
            }
        }
        if is_new && !is_beside(path) {
            self.returned.made.push(path.clone());
        }
        if is_beside(path) {
            self.returned.notes.push(format!(
                "`{}` is an earlier run's version of a file that was changed here, too",
                path.display()
            ));
        }
    }

    /// Records a file or link that was written, if it runs code here.
    pub(super) fn note_code(&mut self, path: &RelativePath, is_link: bool) {
        if runs_code(path, is_link) {
            self.running_code.push(path.clone());
        }
    }

    /// Records a file or link that was written or removed, if it tells git what to ignore.
    pub(super) fn note_ignore_file(&mut self, path: &RelativePath) {
        if is_ignore_file(path) {
            self.ignore_files.insert(path.clone());
        }
    }

    /// What was done with the results.
    pub(super) fn into_downloaded(mut self) -> Downloaded {
        if !self.running_code.is_empty() {
            self.returned.notes.push(format!(
                "the run changed files that run code here: {}; read them before you go on",
                shown(&self.running_code)
            ));
        }
        // In a directory that is gone nothing is left to be sent.
        let root = self.workspace.root();
        self.ignore_files
            .retain(|path| path.parent().is_none_or(|above| root.status(&above).is_ok()));
        if !self.ignore_files.is_empty() {
            self.returned.notes.push(format!(
                "the run changed what git ignores: {}; the next command may send files that were \
                 ignored: check that before you go on",
                shown(&self.ignore_files)
            ));
        }
        self.returned.taken = Some(self.taken);
        self.returned.is_complete = !self.is_incomplete;
        self.returned.artifacts = self.fetched.into_iter().map(|(path, _)| path).collect();
        self.returned.artifacts.sort();
        self.returned
    }

    /// Records a change whose version has no place here.
    pub(super) fn keep(&mut self, index: u32, path: &RelativePath, conflict: Conflict, what: &str) {
        self.returned.declined.push(index);
        let why = match conflict {
            Conflict::Known => return,
            Conflict::Edited => "but was changed here: left as it is here",
            Conflict::Unsent => {
                "but the one here is not sent: it is left as it is, and the run's stays on the \
                 agent until it changes or is deleted here"
            }
        };
        self.returned.notes.push(format!("`{}` {what}, {why}", path.display()));
    }

    /// Records a change whose version was written beside the path.
    fn note_beside(
        &mut self,
        index: u32,
        path: &RelativePath,
        conflict: Conflict,
        beside: &RelativePath,
    ) {
        self.returned.declined.push(index);
        self.returned.notes.push(match conflict {
            Conflict::Unsent | Conflict::Known => format!(
                "`{}` is here and not sent, so the run has made its own: it is in `{}`; until the \
                 one here changes or is deleted, further versions stay on the agent",
                path.display(),
                beside.display()
            ),
            Conflict::Edited => told_beside(path, beside),
        });
    }

    /// Receives an announced blob, and writes it to all its places. `known` tells what another
    /// command of this workspace has fetched for a source.
    pub(super) fn receive(
        &mut self,
        content: Blob,
        incoming: &mut Incoming,
        known: Known<'_>,
    ) -> Result<(), SyncError> {
        let Blob { digest, size, encoding } = content;
        let Some((expected, destinations)) = self.wanted.remove(&digest) else {
            return Err(SyncError::violation("a blob that was not fetched"));
        };
        if expected != size {
            return Err(SyncError::Damaged(digest));
        }
        let (first, others) = destinations.split_first().ok_or(SyncError::Gone)?;
        let files = self.files(first)?;
        let unwritable = |error| files.unwritable(&first.path, error);
        let tally = &self.tally;
        let temporary = match encoding {
            Encoding::Whole => files.write_temporary(&first.path, first.file.mode, |file| {
                receive_into(incoming, digest, size, |piece| {
                    tally.bytes(piece.len() as u64);
                    file.write_all(piece).map_err(unwritable)
                })
            })?,
            Encoding::Patch { base, length } => {
                let patched = patched(files, first, (base, length), content, incoming)?;
                let Some(content) = patched else {
                    self.misfit = true;
                    let whole = destinations.into_iter().map(Destination::without_base).collect();
                    self.wanted.insert(digest, (size, whole));
                    return Ok(());
                };
                tally.bytes(size);
                files.write_temporary(&first.path, first.file.mode, |file| {
                    file.write_all(&content).map_err(unwritable)
                })?
            }
        };
        for other in others {
            let copy = copy(self.files(first)?, &temporary, self.files(other)?, other);
            let copied = copy.and_then(|copy| self.finish(&copy, other, known));
            if let Err(error) = copied {
                drop(self.files(first)?.root().remove_file(&temporary));
                return Err(error);
            }
        }
        self.tally.file();
        self.finish(&temporary, first, known)
    }

    /// Moves a temporary file to its place.
    fn finish(
        &mut self,
        temporary: &RelativePath,
        destination: &Destination,
        known: Known<'_>,
    ) -> Result<(), SyncError> {
        self.returned.written += 1;
        let files = self.files(destination)?;
        let path = &destination.path;
        match &destination.place {
            Place::Artifact { modified, .. } => {
                if let Some(modified) = modified {
                    let set = files.root().set_modified(temporary, *modified);
                    set.map_err(|error| files.unwritable(path, error))?;
                    if is_fingerprint(path) {
                        self.waiting.push((temporary.clone(), destination.clone()));
                        return Ok(());
                    }
                }
                files.overwrite(temporary, path)?;
                self.fetched.push((path.clone(), destination.file.digest));
                Ok(())
            }
            Place::Beside { index, conflict } => {
                let beside = self.write_beside(temporary, destination)?;
                self.note_beside(*index, path, *conflict, &beside);
                Ok(())
            }
            Place::Named { expected } => {
                let version = Node::File(destination.file);
                let none = |_: &RelativePath| None;
                let versions = (expected.as_ref(), &version, &none as Known<'_>);
                if replace(files, temporary, path, versions)? == Replaced::Expected {
                    self.named.push((path.clone(), destination.file.digest));
                    self.note_code(path, false);
                    self.note_ignore_file(path);
                    return Ok(());
                }
                let beside = self.write_beside(temporary, destination)?;
                self.returned.notes.push(told_beside(path, &beside));
                Ok(())
            }
            Place::Source { index, expected, is_new } => {
                let version = Node::File(destination.file);
                match replace(files, temporary, path, (expected.as_ref(), &version, known))? {
                    Replaced::Expected => {
                        self.adopt(*index, path, *is_new);
                        self.note_code(path, false);
                        self.note_ignore_file(path);
                        Ok(())
                    }
                    Replaced::Edited => {
                        if *is_new {
                            let here = files.entry(path)?.map(|node| node.entry());
                            self.returned.conflicts.add_unsent(path, here);
                        }
                        let beside = self.write_beside(temporary, destination)?;
                        self.note_beside(*index, path, Conflict::Edited, &beside);
                        Ok(())
                    }
                }
            }
        }
    }

    fn write_beside(
        &mut self,
        temporary: &RelativePath,
        Destination { path, file, .. }: &Destination,
    ) -> Result<RelativePath, SyncError> {
        let file = File { mode: self.mode_beside(path, file.mode), ..*file };
        let root = self.workspace.root();
        let restricted = root.set_mode(temporary, file.mode.bits());
        restricted.map_err(|error| root.unwritable(path, error))?;
        let conflicts = &self.returned.conflicts;
        let known = |beside: &RelativePath| conflicts.beside(beside).map(Node::File);
        let version = Node::File(file);
        let beside = self.workspace.place_beside(temporary, path, &version, known)?;
        self.returned.conflicts.add_beside(beside.clone(), file);
        Ok(beside)
    }

    /// The permission bits of a version beside a path: others may read no more of it than of the
    /// file here.
    fn mode_beside(&self, path: &RelativePath, mode: FileMode) -> FileMode {
        let root = self.workspace.root();
        let readable = match (root.status(path), root.read_link(path)) {
            (Err(_), _) => 0o777,
            (Ok(_), Ok(_)) => 0o700,
            (Ok(status), Err(_)) => status.st_mode | 0o700,
        };
        FileMode::of(mode.bits() & readable)
    }

    fn files(&self, destination: &Destination) -> Result<&LocalFiles, SyncError> {
        match destination.place {
            Place::Artifact { .. } => self.target.as_ref().ok_or(SyncError::Gone),
            _ => Ok(&self.workspace),
        }
    }
}

/// What the user is told of a version that was written beside a file that has changed here.
fn told_beside(path: &RelativePath, beside: &RelativePath) -> String {
    let (path, beside) = (path.display(), beside.display());
    format!("`{path}` was changed here and by the run: the run's version is in `{beside}`")
}

/// Paths as they are shown in a sentence.
fn shown<'a>(paths: impl IntoIterator<Item = &'a RelativePath>) -> String {
    let shown = paths.into_iter().map(|path| format!("`{}`", path.display()));
    shown.collect::<Vec<_>>().join(", ")
}

/// Whether a path is another version of a file, or is below one of a directory.
pub(crate) fn is_beside(path: &RelativePath) -> bool {
    let mut names = path.as_bytes().split(|byte| *byte == b'/');
    names.any(|name| name.ends_with(CONFLICT_SUFFIX.as_bytes()))
}

/// Replaces a source file. One that another command of this workspace has fetched since is
/// no edit.
fn replace(
    files: &LocalFiles,
    temporary: &RelativePath,
    path: &RelativePath,
    (expected, version, known): (Option<&Node>, &Node, Known<'_>),
) -> Result<Replaced, SyncError> {
    if files.replace(temporary, path, expected, version)? == Replaced::Expected {
        return Ok(Replaced::Expected);
    }
    let here = files.entry(path)?;
    if here.as_ref() == Some(version) {
        files.root().remove_file(temporary).map_err(|error| files.unwritable(path, error))?;
        return Ok(Replaced::Expected);
    }
    match here {
        Some(here) if known(path).as_ref() == Some(&here) => {
            files.replace(temporary, path, Some(&here), version)
        }
        _ => Ok(Replaced::Edited),
    }
}

/// Copies a temporary file to another one.
fn copy(
    from: &LocalFiles,
    temporary: &RelativePath,
    to: &LocalFiles,
    destination: &Destination,
) -> Result<RelativePath, SyncError> {
    let path = &destination.path;
    let opened = from.root().open_file(temporary);
    let mut source = opened.map_err(|error| from.root().unreadable(temporary, error))?;
    to.write_temporary(path, destination.file.mode, |file| {
        let copied = std::io::copy(&mut source, file);
        copied.map(drop).map_err(|error| to.unwritable(path, error))
    })
}

/// Receives a patch and applies it to the file that is there; `None` if that is no longer the
/// one that the patch is based on.
fn patched(
    files: &LocalFiles,
    destination: &Destination,
    (base, length): (Digest, u64),
    content: Blob,
    incoming: &mut Incoming,
) -> Result<Option<Vec<u8>>, SyncError> {
    if length > 2 * BASE_BYTES_MAX || content.size > 2 * BASE_BYTES_MAX {
        return Err(SyncError::violation(format!("a patch of {length} bytes")));
    }
    let patch = receive_bytes(incoming, length)?;
    let (root, path) = (files.root(), &destination.path);
    let held = match root.read(path, BASE_BYTES_MAX) {
        Ok(held) if Digest::of(&held) == base => held,
        _ => return Ok(None),
    };
    let size = usize::try_from(content.size).unwrap_or(usize::MAX);
    let bytes = patch::apply(&held, &patch, size)?;
    if Digest::of(&bytes) == content.digest {
        Ok(Some(bytes))
    } else {
        Err(SyncError::Damaged(content.digest))
    }
}
