//! What cargo reads for a build, beside the files below the workspace root that git does not
//! ignore: packages, targets and configuration, wherever they are.
//!
//! Directories outside of the workspace are only those of packages, each with a `Cargo.toml`,
//! and replacements of registries. Files outside are manifests, cargo's configuration, toolchain
//! files and `*.rs`: what a repository names elsewhere is not sent for its name alone.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use burst_protocol::path::normalized;

use super::configuration::{Configuration, patched, patches};
use super::configured_sources::is_of_other_source;
use super::manifest;
use super::metadata::{Package, metadata};
use crate::environment;

/// The names of toolchain files, which rustup searches for.
const TOOLCHAINS: [&str; 2] = ["rust-toolchain.toml", "rust-toolchain"];

/// What cargo reads. All paths are absolute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// Directories of packages outside of the root, none below another.
    pub(crate) outside: BTreeSet<PathBuf>,
    /// Replacements of registries, inside and outside.
    pub(crate) registries: BTreeSet<PathBuf>,
    /// The root, and directories of packages, inside and outside.
    pub(crate) packages: BTreeSet<PathBuf>,
    /// The main files of targets, inside and outside, each with the directory of its package.
    pub(crate) targets: BTreeSet<(PathBuf, PathBuf)>,
    /// Single files, inside and outside: workspace manifests that packages inherit from, cargo's
    /// configuration, the toolchain file, what packages name as their readme and license.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Single files that the settings name, inside and outside.
    pub(crate) included_files: BTreeSet<PathBuf>,
    /// Directories that the settings name, inside and outside.
    pub(crate) included_directories: BTreeSet<PathBuf>,
    /// Those of `files` that are cargo's configuration, which may hold credentials.
    pub(crate) configuration: BTreeSet<PathBuf>,
    /// The manifests of all packages, inside and outside.
    pub(super) manifests: BTreeSet<PathBuf>,
    /// Whether a package, or a patch of the root manifest, names another source than crates.io
    /// and paths: a git repository, or another registry.
    pub(super) names_other_sources: bool,
    /// The configuration in cargo's home.
    of_home: BTreeSet<PathBuf>,
    /// Whether they are for another machine.
    pub(crate) is_for_server: bool,
}

impl Inputs {
    /// Finds the inputs of a cargo that runs in `directory` for the workspace at `root`, which
    /// has these packages. `options` are those of calls of `cargo metadata`.
    pub(super) fn find(
        directory: &Path,
        root: &Path,
        packages: &[Package],
        configuration: &Configuration,
        options: &[OsString],
    ) -> Self {
        let packages_of_root = BTreeSet::from([root.to_owned()]);
        let mut inputs = Self { packages: packages_of_root, ..Self::default() };
        let mut search =
            Search { directory, root, options, inputs: &mut inputs, found: Vec::new() };
        packages.iter().for_each(|package| search.add(package));
        let manifest = root_manifest(root);
        search.inputs.names_other_sources |= patches(&manifest).any(is_of_other_source);
        search.found.extend(patched(&manifest).map(|path| root.join(path)));
        search.found.extend(configuration.packages.iter().cloned());
        search.follow_paths(packages);
        inputs.find_files(directory, root, configuration);
        inputs.find_registries(root, configuration);
        inputs
    }

    /// Adds what another machine does not have: the configuration in cargo's home, and the git
    /// directory above the workspace.
    pub(super) fn send_to_server(&mut self) {
        self.files.append(&mut self.of_home);
        self.is_for_server = true;
    }

    /// Adds what the settings name: paths relative to the root, absolute, or below `~/`. Returns
    /// those that cannot be sent, since they contain the workspace.
    pub(super) fn include(&mut self, root: &Path, paths: &[String]) -> Vec<PathBuf> {
        let mut refused = Vec::new();
        for path in paths {
            let home = || Some(environment::home()?.join(path.strip_prefix("~/")?));
            let path = normalized(&home().unwrap_or_else(|| root.join(path)));
            if path.is_file() {
                self.included_files.insert(path);
            } else if root.starts_with(&path) {
                refused.push(path);
            } else if path.is_dir() {
                self.included_directories.insert(path);
            }
        }
        refused
    }

    /// Finds the configuration and the toolchain file that a cargo in `directory` uses.
    fn find_files(&mut self, directory: &Path, root: &Path, configuration: &Configuration) {
        let above = directory.ancestors().chain(root.ancestors());
        let toolchains = above.flat_map(|above| TOOLCHAINS.map(|name| above.join(name)));
        self.files.extend(toolchains.filter(|file| file.is_file()));
        let home = environment::cargo_home();
        let is_home = |file: &&PathBuf| home.as_ref().is_some_and(|home| file.starts_with(home));
        let (of_home, others) = configuration.files.iter().partition::<Vec<_>, _>(is_home);
        self.of_home.extend(of_home.into_iter().cloned());
        self.configuration.extend(others.into_iter().cloned());
        self.files.extend(self.configuration.iter().cloned());
    }

    fn find_registries(&mut self, root: &Path, configuration: &Configuration) {
        for registry in configuration.registries.iter().filter(|path| path.is_dir()) {
            // Nobody vendors the workspace itself.
            if root.starts_with(registry) {
                continue;
            }
            self.registries.insert(registry.clone());
            self.registries.extend(behind_link(root, registry));
        }
    }
}

/// A search for path dependencies.
struct Search<'a> {
    /// Where cargo runs, so that it reads the same configuration.
    directory: &'a Path,
    root: &'a Path,
    options: &'a [OsString],
    inputs: &'a mut Inputs,
    /// Directories that are still to be looked at.
    found: Vec<PathBuf>,
}

impl Search<'_> {
    /// Adds a package that cargo has described.
    fn add(&mut self, package: &Package) {
        let directory = package.directory().to_owned();
        let root = self.root;
        self.found.extend(package.paths());
        self.inputs.manifests.insert(package.manifest_path.clone());
        self.inputs.names_other_sources |= package.names_other_sources();
        for target in &package.targets {
            let source = normalized(&target.src_path);
            let is_source = source.extension() == Some(OsStr::new("rs"));
            if source.starts_with(root) || source.starts_with(&directory) || is_source {
                self.inputs.targets.insert((source, directory.clone()));
            }
        }
        let own = |file: &PathBuf| file.starts_with(root) || file.starts_with(&directory);
        self.inputs.files.extend(package.documents().filter(own));
        self.add_directory(directory);
    }

    fn add_directory(&mut self, directory: PathBuf) {
        let is_outside = !directory.starts_with(self.root);
        let behind = behind_link(self.root, &directory);
        self.inputs.outside.extend(behind.or_else(|| is_outside.then(|| directory.clone())));
        self.inputs.packages.insert(directory);
    }

    /// Looks at the path dependencies of what was found, transitively. Members of the workspace
    /// are known.
    fn follow_paths(&mut self, members: &[Package]) {
        let members = members.iter().map(|member| member.directory().to_owned());
        let mut seen: HashSet<PathBuf> = members.collect();
        while let Some(directory) = self.found.pop() {
            let directory = normalized(&directory);
            let manifest = directory.join("Cargo.toml");
            if !seen.insert(directory.clone()) || !manifest.is_file() {
                continue;
            }
            match metadata(self.directory, Some(manifest.clone().into()), self.options, None) {
                Ok(other) => {
                    if other.workspace_root != directory {
                        self.inputs.files.insert(other.workspace_root.join("Cargo.toml"));
                    }
                    let is_own = |package: &&Package| package.manifest_path == manifest;
                    other.packages.iter().filter(is_own).for_each(|package| self.add(package));
                }
                // The remote cargo reports a manifest that cannot be read.
                Err(_) => {
                    self.inputs.manifests.insert(manifest);
                    self.add_directory(directory);
                }
            }
        }
        let all = self.inputs.outside.clone();
        let is_below = |path: &Path, other: &Path| other != path && path.starts_with(other);
        self.inputs.outside.retain(|path| !all.iter().any(|other| is_below(path, other)));
    }
}

/// The directory outside of the root that one inside leads to through a link.
fn behind_link(root: &Path, directory: &Path) -> Option<PathBuf> {
    let real = directory.canonicalize().ok()?;
    let is_outside = directory.starts_with(root) && !real.starts_with(root.canonicalize().ok()?);
    is_outside.then_some(real)
}

/// The manifest of the workspace; empty if it cannot be read, which cargo reports.
fn root_manifest(root: &Path) -> toml::Table {
    manifest::table(&root.join("Cargo.toml")).unwrap_or_default()
}
