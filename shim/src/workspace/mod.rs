//! The workspace as cargo describes it: its root, its target directory, its packages, and
//! the files outside of the root that belong to a build.
//!
//! This module asks `cargo metadata`; it neither scans nor reads sources.

pub(crate) mod cargo_home;
pub(crate) mod collection;
pub(crate) mod conflicts;
pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod git_excludes;
pub(crate) mod git_index;
pub(crate) mod identity;
pub(crate) mod large_files;
pub(crate) mod runs_code;
pub(crate) mod sources;
pub(crate) mod state;
mod target_place;
mod url_password;

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use burst_protocol::path::normalized;
use burst_sync::ignore_rules::is_cargo_target;
use serde::Deserialize;

use self::git_index::Listing;
use crate::cargo_options::{short_values_of, value_of, values_of};
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::terminal::color;

/// The names of crates.io as a source, in cargo's metadata and lock files.
const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

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
    /// Directories of packages outside of the root.
    pub(crate) outside: BTreeSet<PathBuf>,
    /// Single files outside of the root: workspace manifests that packages of
    /// `outside` inherit from, cargo's configuration, the toolchain file.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Directories of this program, which hold no sources wherever they are.
    own: Vec<PathBuf>,
    /// Whether a package, or a patch of the root manifest, names another source than crates.io
    /// and paths: a git repository, or another registry.
    names_other_sources: bool,
    /// The manifests of all packages, those outside of the root included.
    manifests: BTreeSet<PathBuf>,
    /// The options that `cargo metadata` was given, and the directory it ran in.
    metadata_options: Vec<OsString>,
    directory: PathBuf,
    packages: Vec<Package>,
    default_members: HashSet<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    #[serde(default)]
    workspace_default_members: Vec<String>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
    /// Of cargo 1.91 and later.
    build_directory: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
    #[serde(default)]
    doctest: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
    /// Absent for a path.
    source: Option<String>,
}

impl Workspace {
    /// Asks cargo. `arguments` are those of the run: `--manifest-path`, `--config`, `-Z` and
    /// `--target-dir` count. Errors of cargo are reported in its own words.
    pub(crate) fn find(directory: &Path, arguments: &[OsString]) -> Result<Self, Error> {
        let manifest = value_of(arguments, "--manifest-path");
        let mut options = Vec::new();
        for config in values_of(arguments, "--config", "--config") {
            options.extend(["--config".into(), config]);
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
        let mut workspace = Self {
            target_directory,
            build_directory,
            target_by_variable,
            outside: BTreeSet::new(),
            files: BTreeSet::new(),
            own: Vec::new(),
            names_other_sources: metadata.packages.iter().any(Package::names_other_sources),
            manifests: metadata.packages.iter().map(|one| one.manifest_path.clone()).collect(),
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
        workspace.find_outside(&options)?;
        workspace.find_files();
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

    /// Whether a package that `arguments` select has a library with documentation tests.
    pub(crate) fn has_library(&self, arguments: &[OsString]) -> bool {
        let selected = values_of(arguments, "--package", "-p");
        let all = arguments.iter().any(|word| word == "--workspace" || word == "--all");
        let is_selected = |package: &Package| {
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
        };
        let has_library = |package: &Package| {
            package.targets.iter().any(|target| {
                target.doctest && !target.kind.iter().any(|kind| kind == "bin" || kind == "example")
            })
        };
        self.packages.iter().filter(|package| is_selected(package)).any(has_library)
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

    /// Adds the configuration in cargo's home, which another machine does not have.
    pub(crate) fn add_configuration_of_home(&mut self) {
        let names = ["config.toml", "config"];
        let Some(home) = environment::cargo_home() else { return };
        let found = names.iter().map(|name| home.join(name)).find(|file| file.is_file());
        self.files.extend(found);
    }

    /// Finds path dependencies outside of the root, transitively.
    fn find_outside(&mut self, options: &[OsString]) -> Result<(), Error> {
        let mut found: Vec<PathBuf> = self.packages.iter().flat_map(Package::paths).collect();
        let patches = patches(&self.root);
        self.names_other_sources |= patches.iter().any(is_of_other_source);
        found.extend(patches.iter().filter_map(|patch| Some(self.root.join(path_of(patch)?))));
        let mut seen = HashSet::new();
        while let Some(directory) = found.pop() {
            let directory = normalized(&directory);
            if directory.starts_with(&self.root) || !seen.insert(directory.clone()) {
                continue;
            }
            let manifest = directory.join("Cargo.toml");
            if !manifest.is_file() {
                continue;
            }
            // The remote cargo reports a manifest that cannot be read.
            if let Ok(other) = metadata(&directory, Some(manifest.clone().into()), options, None) {
                if other.workspace_root != directory {
                    self.files.insert(other.workspace_root.join("Cargo.toml"));
                }
                let own = other.packages.iter().filter(|package| package.manifest_path == manifest);
                for package in own {
                    self.names_other_sources |= package.names_other_sources();
                    found.extend(package.paths());
                }
            }
            self.manifests.insert(manifest);
            self.outside.insert(directory);
        }
        let all = self.outside.clone();
        self.outside
            .retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
        Ok(())
    }

    /// Finds the configuration and toolchain files above the root, which cargo and rustup
    /// search for.
    fn find_files(&mut self) {
        let cargo_home = environment::cargo_home();
        for directory in self.root.ancestors().skip(1) {
            for name in
                [".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"]
            {
                let file = directory.join(name);
                let is_cargo_homes =
                    cargo_home.as_ref().is_some_and(|home| file.parent() == Some(home));
                if file.is_file() && !is_cargo_homes {
                    self.files.insert(file);
                }
            }
        }
        let outside = &self.outside;
        self.files.retain(|file| !outside.iter().any(|root| file.starts_with(root)));
    }
}

impl Package {
    fn names_other_sources(&self) -> bool {
        let mut sources = self.dependencies.iter().filter_map(|one| one.source.as_deref());
        sources.any(|source| !CRATES_IO.contains(&source))
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.dependencies.iter().filter_map(|dependency| dependency.path.clone())
    }
}

/// The entries of `[patch]` and `[replace]` in a root manifest.
fn patches(root: &Path) -> Vec<toml::Value> {
    let Ok(text) = std::fs::read_to_string(root.join("Cargo.toml")) else { return Vec::new() };
    let Ok(manifest) = text.parse::<toml::Table>() else { return Vec::new() };
    let patches = manifest.get("patch").and_then(toml::Value::as_table);
    let sources = patches.into_iter().flat_map(toml::Table::values);
    let replaced = manifest.get("replace").into_iter();
    let tables = sources.chain(replaced).filter_map(toml::Value::as_table);
    tables.flat_map(toml::Table::values).cloned().collect()
}

fn path_of(patch: &toml::Value) -> Option<&str> {
    patch.get("path")?.as_str()
}

/// Whether a patch comes from a git repository or a named registry.
fn is_of_other_source(patch: &toml::Value) -> bool {
    ["git", "registry", "registry-index"].iter().any(|key| patch.get(key).is_some())
}

/// The options by which cargo colours its errors as it would without us: its standard error
/// is a pipe here.
fn color_arguments(named: Option<&OsString>) -> Vec<OsString> {
    // cargo follows that by itself, and reports a wrong one.
    let is_set = environment::text("CARGO_TERM_COLOR").is_some_and(|value| value != "auto");
    let color = match named {
        Some(color) if color != "auto" => color.clone(),
        None if is_set || !color::on_stderr() => return Vec::new(),
        _ if color::on_stderr() => "always".into(),
        _ => "never".into(),
    };
    vec!["--color".into(), color]
}

/// The error of a cargo that does not start.
pub(crate) fn cannot_run(program: &OsStr, source: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Workspace,
        format!("cannot run `{}`", program.display()),
        "install Rust from https://rustup.rs, or set CARGO to the path of cargo",
    )
    .caused_by(source)
}

/// Runs a call of [`environment::cargo_command`] and returns what it writes to standard output. Errors
/// of cargo are reported in its own words.
pub(crate) fn run_cargo(command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command.output().map_err(|source| cannot_run(command.get_program(), &source))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::cargo(words, code.unwrap_or(101).max(1)))
}

fn metadata(
    directory: &Path,
    manifest: Option<OsString>,
    options: &[OsString],
    color: Option<&OsString>,
) -> Result<Metadata, Error> {
    let mut command = environment::cargo_command();
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(directory);
    if let Some(manifest) = manifest {
        command.arg("--manifest-path").arg(manifest);
    }
    command.args(options).args(color_arguments(color));
    let output = run_cargo(&mut command)?;
    serde_json::from_slice(&output).map_err(|error| {
        Error::new(
            ErrorKind::Workspace,
            "cannot understand the output of `cargo metadata`",
            "check that CARGO, if it is set, names a cargo of Rust 1.95 or later",
        )
        .caused_by(&error)
    })
}
