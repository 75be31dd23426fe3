//! The workspace as cargo describes it: its root, its target directory, its packages, and
//! the [inputs] of a build that a scan of the root would not find.
//!
//! This module asks `cargo metadata`; it neither scans nor reads sources.

mod additions;
pub(crate) mod cargo_home;
mod clean_configuration;
pub(crate) mod collection;
mod configuration;
mod configured_sources;
pub(crate) mod conflicts;
pub(crate) mod credentials;
pub(crate) mod error;
mod git_boundary;
mod git_command;
mod git_configuration;
mod git_copy;
mod git_directories;
pub(crate) mod git_excludes;
mod git_facts;
mod git_history;
pub(crate) mod git_index;
mod git_origin;
mod git_places;
mod git_store;
pub(crate) mod identity;
pub(crate) mod inputs;
pub(crate) mod large_files;
mod lock_file;
mod manifest;
pub(crate) mod metadata;
mod overrides;
mod run_records;
pub(crate) mod runs_code;
mod single_files;
pub(crate) mod sources;
pub(crate) mod state;
mod target_place;
mod test_harness;
mod url_password;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use burst_protocol::path::normalized;
use burst_sync::ignore_rules::is_cargo_target;

use self::configuration::Configuration;
use self::git_index::Listing;
use self::inputs::Inputs;
use self::metadata::{Package, metadata};
use self::overrides::Resolving;
use crate::cargo_options::{has_option, short_values_of, value_of, values_of};
use crate::environment;
use crate::error::{Error, ErrorKind};

/// The options of a run that say how dependencies are resolved.
const RESOLVING: [&str; 3] = ["--locked", "--offline", "--frozen"];

/// The workspace of one command.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The root directory, absolute.
    pub(crate) root: PathBuf,
    /// The target directory, absolute and without `.` and `..`.
    pub(crate) target_directory: PathBuf,
    /// Whether only an environment variable names the target directory, so that the
    /// remote cargo must be told.
    pub(crate) target_by_variable: bool,
    /// The directory of intermediate files, absolute and without `.` and `..`; none if it is
    /// the target directory or below it.
    pub(crate) build_directory: Option<PathBuf>,
    /// What cargo reads beside the files below the root that git does not ignore.
    pub(crate) inputs: Inputs,
    /// Directories of this program, which hold no sources wherever they are.
    own: Vec<PathBuf>,
    /// The options that `cargo metadata` was given, and the directory it ran in.
    metadata_options: Vec<OsString>,
    directory: PathBuf,
    packages: Vec<Package>,
    default_members: HashSet<String>,
}

impl Workspace {
    /// Asks cargo. `arguments` are those of the run: `--manifest-path`, `--config`, `-Z` and
    /// `--target-dir` count. Errors of cargo are reported in its own words.
    pub(crate) fn find(directory: &Path, arguments: &[OsString]) -> Result<Self, Error> {
        let manifest = value_of(arguments, "--manifest-path");
        let mut options = Vec::new();
        let configs = values_of(arguments, "--config", "--config");
        for config in &configs {
            options.extend(["--config".into(), config.clone()]);
        }
        for unstable in short_values_of(arguments, "-Z") {
            options.extend(["-Z".into(), unstable]);
        }
        let mut metadata_options = options.clone();
        if let Some(manifest) = &manifest {
            metadata_options.extend(["--manifest-path".into(), manifest.clone()]);
        }
        let color = value_of(arguments, "--color");
        let metadata = metadata(directory, manifest, &options, color.as_ref())?;
        let root = metadata.workspace_root;
        let named = value_of(arguments, "--target-dir").map(|named| directory.join(named));
        let target_by_variable = named.is_none() && environment::names_target_directory();
        let is_configured = named.is_none() && !target_by_variable;
        let target_directory = normalized(named.as_deref().unwrap_or(&metadata.target_directory));
        let build_directory = metadata
            .build_directory
            .filter(|build| *build != metadata.target_directory)
            .map(|build| normalized(&build))
            .filter(|build| !build.starts_with(&target_directory));
        let default_members = match metadata.workspace_default_members {
            members if members.is_empty() => metadata.workspace_members,
            members => members,
        };
        let mut configuration =
            Configuration::read(directory, &root, &configs, environment::cargo_home().as_deref());
        let resolving_options = resolving_options(&options, arguments);
        let overrides = overrides::find(
            &configuration.overrides,
            Resolving { directory, root: &root, options: &resolving_options },
        )?;
        configuration.packages.extend(overrides);
        let workspace = Self {
            target_directory,
            build_directory,
            target_by_variable,
            inputs: Inputs::find(directory, &root, &metadata.packages, &configuration, &options),
            own: Vec::new(),
            metadata_options,
            directory: directory.to_owned(),
            packages: metadata.packages,
            default_members: default_members.into_iter().collect(),
            root,
        };
        workspace.check_directories()?;
        if is_configured {
            workspace.check_configured_target()?;
        }
        Ok(workspace)
    }

    /// The directories that cargo builds in; nothing in them is a source.
    pub(crate) fn built(&self) -> impl Iterator<Item = &Path> {
        let build = self.build_directory.as_deref();
        std::iter::once(self.target_directory.as_path()).chain(build)
    }

    fn check_directories(&self) -> Result<(), Error> {
        for (directory, name) in self.built().zip(["target", "build"]) {
            if self.root.starts_with(directory) {
                let shown = directory.display();
                return Err(Error::new(
                    ErrorKind::Workspace,
                    format!("the {name} directory `{shown}` contains the workspace"),
                    format!("choose a {name} directory beside or below the workspace"),
                ));
            }
            if let Some(source) = self.source_below(directory) {
                let (shown, source) = (directory.display(), source.display());
                return Err(Error::new(
                    ErrorKind::Workspace,
                    format!("the {name} directory `{shown}` holds sources of the workspace"),
                    format!(
                        "choose a {name} directory without sources, such as `{shown}/target`: \
                         nothing in it is sent"
                    ),
                )
                .cause(format!("`{source}` is one of them")));
            }
        }
        Ok(())
    }

    /// A source in a directory that cargo is to build in: of a package, or, where that is
    /// neither the usual directory nor marked by cargo, a file that git tracks.
    fn source_below(&self, directory: &Path) -> Option<PathBuf> {
        let sources = self.packages.iter().flat_map(|package| {
            let targets = package.targets.iter().map(|target| &target.src_path);
            std::iter::once(&package.manifest_path).chain(targets)
        });
        if let Some(source) = sources.into_iter().find(|source| source.starts_with(directory)) {
            return Some(source.clone());
        }
        let can_have_others = directory.starts_with(&self.root)
            && directory != self.root.join("target")
            && directory.is_dir()
            && !is_cargo_target(directory);
        let tracked = can_have_others.then(|| Listing::of_tracked(directory).answer());
        Some(tracked?.first()?.in_directory(directory))
    }

    /// A target directory that a configuration file names must be one for certain.
    fn check_configured_target(&self) -> Result<(), Error> {
        let target = &self.target_directory;
        if target_place::is_allowed(&self.root, target) {
            return Ok(());
        }
        let shown = target.display();
        Err(Error::new(
            ErrorKind::Workspace,
            format!("the target directory `{shown}` may hold other files than cargo's"),
            "a configuration file names it; if that is intended, name it with `--target-dir` or \
             CARGO_TARGET_DIR, or run plain `cargo build` once, which marks it",
        ))
    }

    /// The options of calls of `cargo metadata` that resolve dependencies as the run does.
    fn resolving_options(&self, arguments: &[OsString]) -> Vec<OsString> {
        resolving_options(&self.metadata_options, arguments)
    }

    /// The packages that the options of cargo select.
    fn selected(&self, arguments: &[OsString]) -> impl Iterator<Item = &Package> {
        let selected = values_of(arguments, "--package", "-p");
        let all = arguments.iter().any(|word| word == "--workspace" || word == "--all");
        self.packages.iter().filter(move |package| {
            if selected.is_empty() {
                return all || self.default_members.contains(&package.id);
            }
            selected.iter().any(|spec| {
                let spec = spec.to_string_lossy();
                let name = spec.rsplit('#').next().unwrap_or(&spec);
                let name = name.split(['@', ':']).next().unwrap_or(name);
                // A pattern may select anything.
                name == package.name || name.contains(['*', '?', '['])
            })
        })
    }

    /// Whether a package that `arguments` select has a library with documentation tests.
    pub(crate) fn has_library(&self, arguments: &[OsString]) -> bool {
        let has_library = |package: &Package| {
            package.targets.iter().any(|target| {
                target.doctest && !target.kind.iter().any(|kind| kind == "bin" || kind == "example")
            })
        };
        self.selected(arguments).any(has_library)
    }

    /// The first test target that `arguments` select and that has a harness of its own.
    pub(crate) fn own_harness(&self, arguments: &[OsString]) -> Option<String> {
        self.selected(arguments).find_map(|package| test_harness::own_harness(package, arguments))
    }

    /// The names of the crates of the selected packages.
    pub(crate) fn crate_names(&self, arguments: &[OsString]) -> BTreeSet<String> {
        let targets = self.selected(arguments).flat_map(|package| &package.targets);
        targets.map(|target| target.name.replace('-', "_")).collect()
    }

    /// Names the directories of this program, with keys and tokens: they are not sources.
    pub(crate) fn leave_out(&mut self, own: impl IntoIterator<Item = PathBuf>) {
        self.own.extend(own);
    }

    /// The directories in which nothing is a source: those that cargo builds in, and this
    /// program's own.
    pub(crate) fn without_sources(&self) -> impl Iterator<Item = &Path> {
        self.built().chain(self.own.iter().map(PathBuf::as_path))
    }

    /// Adds what the settings name. Returns the directories that cannot be sent.
    pub(crate) fn include(&mut self, paths: &[String]) -> Vec<PathBuf> {
        self.inputs.include(&self.root, paths)
    }

    /// Adds what another machine does not have.
    pub(crate) fn send_to_server(&mut self) {
        self.inputs.send_to_server();
    }
}

/// Adds to options those of a run that say how dependencies are resolved.
fn resolving_options(options: &[OsString], arguments: &[OsString]) -> Vec<OsString> {
    let given = RESOLVING.iter().filter(|option| has_option(arguments, &[option]));
    options.iter().cloned().chain(given.map(OsString::from)).collect()
}
