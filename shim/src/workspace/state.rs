//! What is remembered of a workspace between commands, below the cache directory and never
//! in the workspace.
//!
//! Per workspace and provider: the stat cache; the *base*, the manifest that the agent held
//! when it last answered; the blobs of its small files, as bases of patches. All of it is a
//! cache: without it a command takes longer and sends more. What is remembered of runs is
//! forgotten when another workspace is at the path.
//!
//! Several commands of one workspace can run at once. Records are replaced whole; of the
//! generated files each command adds and removes only its own, under a lock; the blobs
//! belong to one command at a time, and the others do without. Results are counted: a scan from
//! before the results of another command is repeated, and what it has sent is not remembered
//! in place of what they have made of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burst_protocol::tree::Directory;
use burst_protocol::{Digest, RelativePath};
use burst_sync::pack::PackStore;
use burst_sync::stat_cache::{StatCache, read_record, write_record};

use super::error::unreadable;
use super::identity::identity;
use super::{collection, conflicts};
use crate::background::lock;
use crate::directories::unusable;
use crate::error::Error;

/// The name with which the records of what commands have taken begin. They end with the id of
/// the process.
pub(crate) const TAKEN: &str = "taken-";

/// The name of the record of generated files.
const GENERATED_FILES: &str = "companions";

/// The name of the record of sources that runs have written.
pub(super) const WRITTEN: &str = "written";

/// The name of the record of files that runs have lacked. Another meaning of its paths takes
/// another name: `inputs` had paths below the workspace root.
pub(super) const INPUTS: &str = "lacked-files";

/// The blobs of a workspace, which no other command uses meanwhile.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The store.
    pub(crate) blobs: PackStore,
    _lock: File,
}

/// How often results had come to a workspace when its scan began.
#[derive(Clone, Debug)]
pub(crate) struct ResultCount {
    path: PathBuf,
    seen: u64,
}

impl ResultCount {
    /// Whether more results have come since.
    pub(crate) fn is_outdated(&self) -> bool {
        self.now() != self.seen
    }

    fn now(&self) -> u64 {
        read_record(&self.path).unwrap_or_default()
    }
}

/// The remembered state of one workspace.
#[derive(Debug)]
pub(crate) struct WorkspaceState {
    directory: PathBuf,
    /// The stat cache of the last scan.
    pub(crate) scanned: StatCache,
    /// Files that runs created and that came back. They belong to the tree even if git
    /// ignores them.
    pub(crate) generated_files: BTreeSet<RelativePath>,
    generated_files_loaded: BTreeSet<RelativePath>,
    results: ResultCount,
    /// Keeps the directory from being collected.
    _in_use: File,
}

impl WorkspaceState {
    /// Loads the state; parts that are missing or damaged are empty.
    pub(crate) fn load(cache: &Path, provider: &str, workspace: &Path) -> Result<Self, Error> {
        let directory = cache.join("workspaces").join(name_of(workspace, provider));
        let in_use = collection::claim(&directory, workspace, SystemTime::now())?;
        forget_other_workspace(&directory, identity(workspace))?;
        let mut state = Self {
            scanned: StatCache::load(&directory.join("scanned")),
            generated_files: BTreeSet::new(),
            generated_files_loaded: BTreeSet::new(),
            results: ResultCount { path: directory.join("results"), seen: 0 },
            directory,
            _in_use: in_use,
        };
        state.begin_scan();
        Ok(state)
    }

    /// Takes in what other commands have remembered; to be called before a scan.
    pub(crate) fn begin_scan(&mut self) {
        // First, so that no results are missed.
        self.results.seen = self.results.now();
        self.generated_files = self.stored_generated_files();
        self.generated_files_loaded.clone_from(&self.generated_files);
    }

    /// The results that had come when the last scan began.
    pub(crate) const fn results(&self) -> &ResultCount {
        &self.results
    }

    /// The root digest of the base, if one is remembered.
    pub(crate) fn base_root(&self) -> Option<Digest> {
        read_record(&self.directory.join("base-root"))
    }

    /// The base, if it is complete and undamaged.
    pub(crate) fn base(&self) -> Option<Directory> {
        let tree: Directory = read_record(&self.directory.join("base"))?;
        (Some(tree.digest()) == self.base_root()).then_some(tree)
    }

    /// Stores the manifest of the scan, which the agent holds now. If results have come since
    /// the scan, what is stored is newer.
    pub(crate) fn save_sent(&self, tree: &Directory) -> Result<(), Error> {
        let _lock = self.lock_base()?;
        if self.results.is_outdated() {
            return Ok(());
        }
        self.save_base(tree)
    }

    /// Stores what results have made of the manifest that the agent held before: `after` is
    /// given what is remembered of that. Stores the generated files, too, so that the next
    /// scan has them.
    pub(crate) fn save_results(
        &mut self,
        after: impl FnOnce(Option<Directory>) -> Option<Directory>,
    ) -> Result<(), Error> {
        self.save()?;
        let _lock = self.lock_base()?;
        // Before the base: a command that knows it knows that there are results.
        let count = self.results.now() + 1;
        write_record(&self.results.path, &count).map_err(unreadable)?;
        match after(self.base()) {
            Some(base) => self.save_base(&base),
            None => {
                self.forget_base();
                Ok(())
            }
        }
    }

    fn lock_base(&self) -> Result<File, Error> {
        lock::take(&self.directory.join("base.lock"))
    }

    fn save_base(&self, tree: &Directory) -> Result<(), Error> {
        // The root goes last: a base without its root is none.
        self.forget_base();
        write_record(&self.directory.join("base"), tree)
            .and_then(|()| write_record(&self.directory.join("base-root"), &tree.digest()))
            .map_err(unreadable)
    }

    /// Removes the base: the next command asks the agent what it holds.
    pub(crate) fn forget_base(&self) {
        // It may not exist.
        drop(std::fs::remove_file(self.directory.join("base-root")));
    }

    /// Whether a target directory was there after the last command that used it. One that is
    /// gone now was removed by the user, who expects a build from nothing.
    pub(crate) fn had_target(&self, target: &Path) -> bool {
        self.targets().contains(target)
    }

    /// Remembers whether a target directory is there.
    pub(crate) fn note_target(&self, target: &Path, is_there: bool) -> Result<(), Error> {
        if self.targets().contains(target) == is_there {
            return Ok(());
        }
        // Another command may note another one.
        let _lock = lock::take(&self.directory.join("targets.lock"))?;
        let mut targets = self.targets();
        match is_there {
            true => targets.insert(target.to_owned()),
            false => targets.remove(target),
        };
        write_record(&self.directory.join("targets"), &targets).map_err(unreadable)
    }

    fn targets(&self) -> BTreeSet<PathBuf> {
        read_record(&self.directory.join("targets")).unwrap_or_default()
    }

    /// Remembers the variables that are set here and not sent; returns whether they are others
    /// than those that were remembered.
    pub(crate) fn note_unsent_variables(&self, names: &BTreeSet<String>) -> Result<bool, Error> {
        let path = self.directory.join("unsent-variables");
        let known: BTreeSet<String> = read_record(&path).unwrap_or_default();
        if known == *names {
            return Ok(false);
        }
        write_record(&path, names).map_err(unreadable)?;
        Ok(true)
    }

    /// Opens the store of blobs that patches can be based on; none while another command
    /// uses it.
    pub(crate) fn contents(&self) -> Result<Option<Contents>, Error> {
        let Some(_lock) = lock::try_take(&self.directory.join("contents.lock"))? else {
            return Ok(None);
        };
        let blobs = PackStore::open(&self.directory.join("contents")).map_err(unreadable)?;
        Ok(Some(Contents { blobs, _lock }))
    }

    /// The directory of the state, for records of others.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of the stat cache of fetched artifacts.
    pub(crate) fn returned_path(&self) -> PathBuf {
        self.directory.join("returned")
    }

    /// Writes the parts that changed.
    pub(crate) fn save(&mut self) -> Result<(), Error> {
        if self.scanned.is_changed() {
            self.scanned.save(&self.directory.join("scanned")).map_err(unreadable)?;
        }
        if self.generated_files != self.generated_files_loaded {
            self.save_generated_files()?;
        }
        Ok(())
    }

    /// Adds and removes what this command has added and removed; another command may have
    /// written its own since.
    fn save_generated_files(&mut self) -> Result<(), Error> {
        let _lock = lock::take(&self.directory.join("companions.lock"))?;
        let mut files = self.stored_generated_files();
        files.extend(self.generated_files.difference(&self.generated_files_loaded).cloned());
        for gone in self.generated_files_loaded.difference(&self.generated_files) {
            files.remove(gone);
        }
        write_record(&self.generated_files_path(), &files).map_err(unreadable)?;
        self.generated_files_loaded.clone_from(&self.generated_files);
        Ok(())
    }

    fn stored_generated_files(&self) -> BTreeSet<RelativePath> {
        read_record(&self.generated_files_path()).unwrap_or_default()
    }

    fn generated_files_path(&self) -> PathBuf {
        self.directory.join(GENERATED_FILES)
    }
}

/// The name of the directory with the state of a workspace.
pub(super) fn name_of(workspace: &Path, provider: &str) -> String {
    let key = Digest::of(workspace.as_os_str().as_bytes()).to_hex();
    format!("{}-{provider}", &key[..24])
}

/// Removes what is remembered of runs, unless it is known to be of the workspace with this
/// identity. The rest is a cache of the path.
fn forget_other_workspace(directory: &Path, identity: Option<u64>) -> Result<(), Error> {
    let record = directory.join("identity");
    let is_known = || read_record::<Option<u64>>(&record) == Some(identity);
    if is_known() {
        return Ok(());
    }
    let _lock = lock::take(&directory.join("identity.lock"))?;
    if is_known() {
        return Ok(());
    }
    let failed = |source| unusable("use", directory, &source);
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_of_runs =
            [GENERATED_FILES, WRITTEN, INPUTS, conflicts::RECORD].iter().any(|one| name == *one);
        if is_of_runs || name.as_bytes().starts_with(TAKEN.as_bytes()) {
            match std::fs::remove_file(entry.path()) {
                // Another command has removed its own.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.map_err(failed)?,
            }
        }
    }
    // Last: a command that is stopped before has not removed all.
    write_record(&record, &identity).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use burst_protocol::tree::Node;

    use super::*;

    #[test]
    fn two_commands_of_a_workspace_do_not_disturb_each_other() {
        let cache = tempfile::tempdir().unwrap();
        let load = || WorkspaceState::load(cache.path(), "local", Path::new("/w")).unwrap();
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let mut before = load();
        before.generated_files.extend([path("kept"), path("gone")]);
        before.save().unwrap();
        let (mut one, mut other) = (load(), load());
        one.generated_files.insert(path("one"));
        one.generated_files.remove(&path("gone"));
        other.generated_files.insert(path("other"));
        one.save().unwrap();
        other.save().unwrap();
        let expected = BTreeSet::from(["kept", "one", "other"].map(path));
        assert_eq!(load().generated_files, expected);
        let contents = one.contents().unwrap();
        assert!(contents.is_some() && other.contents().unwrap().is_none());
        drop(contents);
        assert!(other.contents().unwrap().is_some());
    }

    #[test]
    fn what_runs_have_made_is_forgotten_with_the_workspace() {
        let disk = tempfile::tempdir().unwrap();
        let workspace = disk.path().join("workspace");
        let load = || WorkspaceState::load(disk.path(), "local", &workspace).unwrap();
        let of_runs = [GENERATED_FILES, INPUTS, conflicts::RECORD, "taken-1"];
        std::fs::create_dir(&workspace).unwrap();
        let state = load();
        for name in of_runs.iter().chain(&["base"]) {
            std::fs::write(state.directory().join(name), "").unwrap();
        }
        let found = || {
            [of_runs.as_slice(), &["base"]]
                .concat()
                .into_iter()
                .filter(|name| state.directory().join(name).exists())
                .collect::<Vec<_>>()
        };
        load();
        assert_eq!(found(), [of_runs.as_slice(), &["base"]].concat());
        std::fs::rename(&workspace, disk.path().join("earlier")).unwrap();
        std::fs::create_dir(&workspace).unwrap();
        load();
        assert_eq!(found(), ["base"]);
    }

    #[test]
    fn what_was_sent_does_not_replace_what_results_have_made_of_it() {
        let cache = tempfile::tempdir().unwrap();
        let load = || WorkspaceState::load(cache.path(), "local", Path::new("/w")).unwrap();
        let path = RelativePath::new(b"made").unwrap();
        let mut results = Directory::new();
        results.put(&path, Node::Directory(Directory::new())).unwrap();
        let (mut first, mut second) = (load(), load());
        first.save_sent(&Directory::new()).unwrap();
        first.generated_files.insert(path.clone());
        let after = |before: Option<Directory>| before.map(|_| results.clone());
        first.save_results(after).unwrap();
        assert!(second.results().is_outdated());
        second.save_sent(&Directory::new()).unwrap();
        assert_eq!(load().base(), Some(results));
        second.begin_scan();
        assert!(!second.results().is_outdated());
        assert_eq!(second.generated_files, BTreeSet::from([path]));
        second.save_sent(&Directory::new()).unwrap();
        assert_eq!(load().base(), Some(Directory::new()));
    }
}
