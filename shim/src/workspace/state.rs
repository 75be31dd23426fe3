//! What is remembered between commands, in the XDG directories and never in the
//! workspace.
//!
//! Per workspace and provider: the stat cache; the *base*, which is the manifest
//! that the agent held when we last heard of it; the contents of its small files,
//! as prefixes for patches. All of it is a cache: without it a command takes
//! longer and sends more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burst_protocol::tree::Directory;
use burst_protocol::{Digest, RelativePath};
use burst_sync::pack::PackStore;
use burst_sync::stat_cache::{StatCache, read_record, write_record};
use etcetera::BaseStrategy;

use crate::failure::Failure;

/// The directories of this program.
#[derive(Clone, Debug)]
pub struct Directories {
    /// `$XDG_CONFIG_HOME`
    pub config_home: PathBuf,
    /// `$XDG_CACHE_HOME/cargo-burst`: what can be made again.
    pub cache: PathBuf,
    /// `$XDG_STATE_HOME/cargo-burst`: keys, addresses, logs.
    pub state: PathBuf,
}

impl Directories {
    /// From the environment.
    pub fn find() -> Result<Self, Failure> {
        let base = etcetera::base_strategy::Xdg::new().map_err(|error| Failure::Directory {
            path: PathBuf::from("~"),
            source: std::io::Error::other(error.to_string()),
        })?;
        Ok(Self {
            config_home: base.config_dir(),
            cache: base.cache_dir().join("cargo-burst"),
            state: base
                .state_dir()
                .unwrap_or_else(|| base.home_dir().join(".local/state"))
                .join("cargo-burst"),
        })
    }
}

/// What is remembered of one workspace.
#[derive(Debug)]
pub struct WorkspaceState {
    directory: PathBuf,
    /// What the last scan saw.
    pub scanned: StatCache,
    /// Files that runs have made and that came back: they belong to the tree
    /// even if git ignores them.
    pub generated_files: BTreeSet<RelativePath>,
    generated_files_loaded: BTreeSet<RelativePath>,
}

impl WorkspaceState {
    /// Loads it; what is not there is empty.
    pub fn load(cache: &Path, provider: &str, workspace: &Path) -> Result<Self, Failure> {
        use std::os::unix::ffi::OsStrExt;
        let key = Digest::of(workspace.as_os_str().as_bytes()).to_hex();
        let directory = cache.join("workspaces").join(format!("{}-{provider}", &key[..24]));
        std::fs::create_dir_all(&directory)
            .map_err(|source| Failure::Directory { path: directory.clone(), source })?;
        let generated_files: BTreeSet<RelativePath> =
            read_record(&directory.join("companions")).unwrap_or_default();
        Ok(Self {
            scanned: StatCache::load(&directory.join("scanned")),
            generated_files_loaded: generated_files.clone(),
            generated_files,
            directory,
        })
    }

    /// The root digest of the base, if there is one.
    pub fn base_root(&self) -> Option<Digest> {
        read_record(&self.directory.join("base-root"))
    }

    /// The base, if it is whole.
    pub fn base(&self) -> Option<Directory> {
        let tree: Directory = read_record(&self.directory.join("base"))?;
        (Some(tree.digest()) == self.base_root()).then_some(tree)
    }

    /// Remembers what the agent holds.
    pub fn save_base(&self, tree: &Directory) -> Result<(), Failure> {
        // The root goes last: a base without its root is none.
        self.forget_base();
        write_record(&self.directory.join("base"), tree)
            .and_then(|()| write_record(&self.directory.join("base-root"), &tree.digest()))
            .map_err(Failure::Workspace)
    }

    /// From now on nothing is known about what the agent holds.
    pub fn forget_base(&self) {
        // What is not there is forgotten.
        drop(std::fs::remove_file(self.directory.join("base-root")));
    }

    /// The contents that patches can be based on.
    pub fn blobs(&self) -> Result<PackStore, Failure> {
        PackStore::open(&self.directory.join("contents")).map_err(Failure::Workspace)
    }

    /// The stat cache of a target directory's returned files.
    pub fn returned_path(&self) -> PathBuf {
        self.directory.join("returned")
    }

    /// Writes what changed.
    pub fn save(&mut self) -> Result<(), Failure> {
        if self.scanned.is_changed() {
            self.scanned.save(&self.directory.join("scanned")).map_err(Failure::Workspace)?;
        }
        if self.generated_files != self.generated_files_loaded {
            write_record(&self.directory.join("companions"), &self.generated_files)
                .map_err(Failure::Workspace)?;
            self.generated_files_loaded.clone_from(&self.generated_files);
        }
        Ok(())
    }
}
