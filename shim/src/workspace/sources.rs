//! The sources to send: the manifest of the workspace and of the files that belong to it,
//! and access to their contents.
//!
//! All roots are one tree below `/`, each file at its absolute path. cargo's configuration,
//! inside of the roots and above the workspace, is sent without the credentials in it: the
//! cleaned text is kept in memory. Such a file differs from the one on disk, so a version of a
//! run never replaces it.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::tree::{Directory, File as FileEntry, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::{IgnoreRules, RuleWarning, Whole, cargo_reads};
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::{add_paths, is_of_other_kind, scan};
use burst_sync::tally::Tally;

use crate::environment;
use crate::settings::Settings;
use crate::workspace::Workspace;
use crate::workspace::additions::Additions;
use crate::workspace::configured_sources::configures_sources;
use crate::workspace::credentials;
use crate::workspace::git_command;
use crate::workspace::git_excludes;
use crate::workspace::git_index::Listing;
use crate::workspace::state::WorkspaceState;

/// The manifest, and the open roots behind it.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The manifest, below `/`.
    pub(crate) tree: Directory,
    /// Directories and files that the remote side mounts at their own paths.
    pub(crate) mounts: Vec<RelativePath>,
    /// The workspace root, below `/`.
    pub(crate) project: RelativePath,
    /// Warnings of the ignore rules, such as a pattern that matches nothing.
    pub(crate) warnings: Vec<RuleWarning>,
    /// The number of sockets, pipes and devices, which are not sent.
    pub(crate) special: usize,
    /// When the scan began, by the clock of the file system.
    pub(crate) scanned: Moment,
    /// Whether a configuration of cargo has packages come from git or another registry.
    pub(crate) configures_sources: bool,
    /// Directories of the workspace of which everything is sent, below its root; none for the root.
    whole: Vec<Option<RelativePath>>,
    /// Whether the settings exclude the git directory.
    pub(super) excludes_git: bool,
    pub(super) roots: Vec<Root>,
    pub(super) in_memory: HashMap<RelativePath, Vec<u8>>,
    /// Files that lie in no root: the directory of each, with links followed, and its name there.
    pub(super) single_files: HashMap<RelativePath, (RootDirectory, RelativePath)>,
}

#[derive(Debug)]
pub(super) struct Root {
    pub(super) prefix: RelativePath,
    pub(super) handle: RootDirectory,
}

/// What the scans of one command have in common.
#[derive(Clone, Copy)]
pub(super) struct Scanning<'a> {
    workspace: &'a Workspace,
    settings: &'a Settings,
    pub(super) now: Moment,
    tally: &'a Tally,
}

/// An open file of the manifest.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A file on disk.
    File(File),
    /// A text that was changed before sending.
    Memory(Vec<u8>),
}

impl Sources {
    /// Scans all roots. The manifest holds `working_directory` even if it is empty. `now` is
    /// the time at which the scan begins: files modified since then are read again next
    /// time. `tally` counts what the scan finds and reads.
    pub(crate) fn scan(
        workspace: &Workspace,
        settings: &Settings,
        state: &mut WorkspaceState,
        working_directory: &Path,
        now: Moment,
        tally: &Tally,
    ) -> Result<Self, SyncError> {
        let project = below_root(&workspace.root)?;
        let mut sources = Self {
            tree: Directory::new(),
            mounts: Vec::new(),
            project: project.clone(),
            warnings: Vec::new(),
            special: 0,
            scanned: now,
            configures_sources: false,
            whole: Vec::new(),
            excludes_git: false,
            roots: Vec::new(),
            in_memory: HashMap::new(),
            single_files: HashMap::new(),
        };
        let inputs = &workspace.inputs;
        let scanning = Scanning { workspace, settings, now, tally };
        let mut roots: Vec<&PathBuf> =
            std::iter::once(&workspace.root).chain(&inputs.outside).collect();
        // A root in another one replaces what the other has of it.
        roots.sort();
        for root in roots {
            sources.scan_root(root, scanning, state)?;
        }
        let registries = inputs.registries.iter().map(|path| (path, Whole::Registry));
        let included = inputs.included_directories.iter().map(|path| (path, Whole::Package));
        for (directory, kind) in registries.chain(included) {
            // Below a root it is there already.
            if sources.root_around(&below_root(directory)?).is_none() {
                sources.scan_whole(directory, kind, scanning, state)?;
            }
        }
        let named = inputs.targets.iter().map(|(file, _)| file).chain(&inputs.included_files);
        let files =
            named.map(|file| (file, false)).chain(inputs.files.iter().map(|file| (file, true)));
        for (file, is_cargos) in files {
            if sources.root_around(&below_root(file)?).is_none() && file.is_file() {
                match is_cargos {
                    true => sources.add_cargos_file(file)?,
                    false => sources.add_file(file, scanning, state)?,
                }
            }
        }
        sources.remove_credentials(workspace)?;
        sources.add_git(workspace, settings, state)?;
        if git_command::has_hung() {
            let text = "git has not answered here in time and was killed: files that it tracks and \
                        ignores may not be sent, and there is no `.git` in the run";
            sources.warnings.push(RuleWarning(text.to_owned()));
        }
        let home = environment::cargo_home().and_then(|home| below_root(&home).ok());
        let kept: Vec<&[u8]> =
            sources.mounts.iter().chain(&home).map(RelativePath::as_bytes).collect();
        let is_within = |path: &[u8], kept: &[u8]| {
            path.strip_prefix(kept).is_some_and(|below| below.is_empty() || below[0] == b'/')
        };
        state.scanned.retain(|path| kept.iter().any(|kept| is_within(path, kept)));
        let inside = working_directory.starts_with(&workspace.root);
        if let (true, Ok(directory)) = (inside, below_root(working_directory))
            && sources.tree.get(&directory).is_none()
        {
            sources.tree.put(&directory, Node::Directory(Directory::new()))?;
        }
        Ok(sources)
    }

    /// Opens the file at a path of the manifest.
    pub(crate) fn open(&self, path: &RelativePath) -> Result<Opened, SyncError> {
        if let Some(bytes) = self.in_memory.get(path) {
            return Ok(Opened::Memory(bytes.clone()));
        }
        let unreadable = |source| SyncError::Read { path: path.absolute(), source };
        let Some((handle, below)) = self.handle_of(path) else {
            return Err(unreadable(std::io::ErrorKind::NotFound.into()));
        };
        match handle.open_file(&below) {
            Ok(file) => Ok(Opened::File(file)),
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound || is_of_other_kind(&error) =>
            {
                Err(SyncError::Changed(path.absolute()))
            }
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Whether a path below the workspace root is one of a directory that is sent whole.
    pub(crate) fn is_in_whole(&self, path: &RelativePath) -> bool {
        self.whole.iter().any(|whole| match whole {
            Some(whole) => path.below(whole).is_some(),
            None => true,
        })
    }

    /// One path for each digest of the manifest.
    pub(crate) fn places(&self) -> HashMap<Digest, (RelativePath, FileEntry)> {
        let mut places = HashMap::new();
        self.tree.visit(&mut |path, node| {
            if let Node::File(file) = node {
                places.entry(file.digest).or_insert_with(|| (path.clone(), *file));
            }
        });
        places
    }

    /// Adds files and empty directories below cargo's home. Returns whether all of them are there.
    pub(crate) fn add_cargo_home(
        &mut self,
        home: &Path,
        files: &BTreeSet<RelativePath>,
        directories: &BTreeSet<RelativePath>,
        state: &mut WorkspaceState,
        now: Moment,
    ) -> Result<bool, SyncError> {
        let at = below_root(home)?;
        let mut tree = Directory::new();
        // Each may be a link to another disk.
        for part in [b"registry".as_slice(), b"git"] {
            let part = RelativePath::new(part)
                .map_err(|source| SyncError::Path { path: home.to_owned(), source })?;
            let below: Vec<RelativePath> =
                files.iter().filter_map(|path| path.below(&part)).collect();
            let Ok(prefix) = at.join_path(&part) else { continue };
            if below.is_empty() {
                continue;
            }
            let Ok(handle) = RootDirectory::open(&part.in_directory(home)) else {
                return Ok(false);
            };
            let mut found = Directory::new();
            add_paths(&handle, Some(&prefix), &below, &mut state.scanned, now, &mut found)?;
            state.scanned.forget_unseen(Some(&prefix));
            tree.put(&part, Node::Directory(found))?;
            self.roots.push(Root { prefix, handle });
        }
        for directory in directories {
            tree.put(directory, Node::Directory(Directory::new()))?;
        }
        let is_complete = files.iter().all(|path| tree.file(path).is_some());
        let mut result = Ok(());
        tree.visit(&mut |path, node| {
            let Ok(place) = at.join_path(path) else { return };
            // What the workspace has at this place is the same file.
            let is_directory = matches!(node, Node::Directory(below) if !below.is_empty());
            if result.is_ok() && !is_directory && self.tree.get(&place).is_none() {
                result = self.tree.put(&place, node.clone());
            }
        });
        result?;
        Ok(is_complete)
    }

    fn scan_root(
        &mut self,
        root: &Path,
        scanning: Scanning<'_>,
        state: &mut WorkspaceState,
    ) -> Result<(), SyncError> {
        let Scanning { workspace, settings, now, tally } = scanning;
        let prefix = below_root(root)?;
        let (rules, warnings) = rules(root, workspace, settings);
        let is_workspace = root == workspace.root;
        let handle = RootDirectory::open(root)?;
        let tracked = Listing::of_tracked_ignored(root);
        let mut found = scan(&handle, Some(&prefix), &rules, &mut state.scanned, now, tally)?;
        let below = |path: &Path| match path.strip_prefix(root) {
            Ok(below) => RelativePath::new(below.as_os_str().as_bytes()).ok(),
            Err(_) => None,
        };
        let lacked = state.inputs();
        let lacked: Vec<_> = lacked.iter().filter_map(|path| path.below(&prefix)).collect();
        let scanned = &mut state.scanned;
        let tracked: HashSet<RelativePath> = tracked.answer().into_iter().collect();
        let mut added =
            Additions { handle: &handle, prefix: &prefix, rules: &rules, scanned, now, tally };
        added.files(&mut found.tree, &tracked)?;
        let whole = added.packages(&mut found.tree, root, &workspace.inputs)?;
        let files: Vec<_> = workspace.inputs.files.iter().filter_map(|file| below(file)).collect();
        added.files(&mut found.tree, &files)?;
        added.files(&mut found.tree, &lacked)?;
        let scanned = &mut state.scanned;
        let cargos: Vec<RelativePath> = cargo_reads().collect();
        add_paths(&handle, Some(&prefix), &cargos, scanned, now, &mut found.tree)?;
        if is_workspace {
            self.warnings = warnings;
            self.whole = whole;
            let git = RelativePath::new(b".git");
            self.excludes_git = git.is_ok_and(|git| rules.excludes_tracked(&git));
            let generated_files = state.generated_files.iter();
            let generated_files = generated_files.filter(|path| !rules.excludes_made(path));
            add_paths(&handle, Some(&prefix), generated_files, scanned, now, &mut found.tree)?;
            state.generated_files.retain(|path| found.tree.get(path).is_some());
        }
        scanned.forget_unseen(Some(&prefix));
        self.special += found.special.len();
        self.tree.put(&prefix, Node::Directory(found.tree))?;
        self.mounts.push(prefix.clone());
        self.roots.push(Root { prefix, handle });
        Ok(())
    }

    /// Scans a directory of which everything is sent and that lies in no other root.
    fn scan_whole(
        &mut self,
        directory: &Path,
        kind: Whole,
        scanning: Scanning<'_>,
        state: &mut WorkspaceState,
    ) -> Result<(), SyncError> {
        let Scanning { workspace, settings, now, tally } = scanning;
        let prefix = below_root(directory)?;
        let (rules, _) = rules(directory, workspace, settings);
        let handle = RootDirectory::open(directory)?;
        let filter = rules.whole(None, kind);
        let found = scan(&handle, Some(&prefix), &filter, &mut state.scanned, now, tally)?;
        state.scanned.forget_unseen(Some(&prefix));
        self.tree.put(&prefix, Node::Directory(found.tree))?;
        self.mounts.push(prefix.clone());
        self.roots.push(Root { prefix, handle });
        Ok(())
    }

    /// Removes credentials from everything that was scanned, whatever its place and the reason why
    /// it is sent.
    fn remove_credentials(&mut self, workspace: &Workspace) -> Result<(), SyncError> {
        let home = environment::cargo_home().and_then(|home| below_root(&home).ok());
        let named = workspace.inputs.configuration.iter();
        let named: Vec<_> = named.filter_map(|file| below_root(file).ok()).collect();
        let mut tree = std::mem::take(&mut self.tree);
        let configures = Cell::new(self.configures_sources);
        let read = |path: &RelativePath, most| {
            let text = self.read(path, most)?;
            configures.set(configures.get() || configures_sources(&text));
            Ok(text)
        };
        let cleaned = credentials::remove(&mut tree, home.as_ref(), &named, read);
        self.configures_sources = configures.get();
        // A single file may have been one of credentials.
        self.mounts.retain(|mount| tree.get(mount).is_some());
        self.tree = tree;
        self.in_memory.extend(cleaned?);
        Ok(())
    }

    /// Reads a file of the manifest.
    fn read(&self, path: &RelativePath, most: u64) -> std::io::Result<Vec<u8>> {
        if let Some(text) = self.in_memory.get(path) {
            return Ok(text.clone());
        }
        let (handle, below) = self.handle_of(path).ok_or(std::io::ErrorKind::NotFound)?;
        handle.read(&below, most)
    }

    /// The open directory in which a file of the manifest is read, and its path there: the first
    /// root that it lies below, or that of a single file.
    fn handle_of(&self, path: &RelativePath) -> Option<(&RootDirectory, RelativePath)> {
        let single = self.single_files.get(path).map(|(handle, name)| (handle, name.clone()));
        let below = |root: &'_ Root| path.below(&root.prefix);
        single.or_else(|| self.roots.iter().find_map(|root| Some((&root.handle, below(root)?))))
    }

    /// The root that a path lies in.
    pub(super) fn root_around(&self, path: &RelativePath) -> Option<&Root> {
        self.roots.iter().find(|root| path.is_within(&root.prefix))
    }
}

/// The rules for a root, and warnings about the settings.
pub(crate) fn rules(
    root: &Path,
    workspace: &Workspace,
    settings: &Settings,
) -> (IgnoreRules, Vec<RuleWarning>) {
    let built = workspace.without_sources().filter_map(|built| built.strip_prefix(root).ok());
    let never: HashSet<RelativePath> =
        built.filter_map(|built| RelativePath::new(built.as_os_str().as_bytes()).ok()).collect();
    let Settings { unexclude, extra_excludes, .. } = settings;
    let registries = workspace.inputs.registries.iter();
    let registries = registries.filter_map(|registry| registry.strip_prefix(root).ok());
    let registries = registries
        .filter_map(|registry| RelativePath::new(registry.as_os_str().as_bytes()).ok())
        .collect();
    let (rules, warnings) =
        IgnoreRules::new(root, unexclude, extra_excludes, never, git_excludes::find);
    (rules.with_registries(registries), warnings)
}

/// An absolute path, relative to `/`.
pub(crate) fn below_root(path: &Path) -> Result<RelativePath, SyncError> {
    let bytes = path.as_os_str().as_bytes();
    RelativePath::below_root(bytes)
        .map_err(|source| SyncError::Path { path: path.to_owned(), source })
}
