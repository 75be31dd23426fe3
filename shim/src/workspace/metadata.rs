//! Calls of `cargo metadata`, and what it says of packages.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use burst_protocol::path::normalized;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::terminal::color;

/// The names of crates.io as a source, in cargo's metadata and lock files.
pub(super) const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// The answer.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    #[serde(default)]
    pub(super) workspace_default_members: Vec<String>,
    pub(super) workspace_members: Vec<String>,
    pub(super) workspace_root: PathBuf,
    pub(super) target_directory: PathBuf,
    /// Of cargo 1.91 and later.
    pub(super) build_directory: Option<PathBuf>,
}

/// A package of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) manifest_path: PathBuf,
    readme: Option<PathBuf>,
    license_file: Option<PathBuf>,
    pub(super) targets: Vec<Target>,
    pub(super) dependencies: Vec<Dependency>,
}

/// What cargo builds of a package.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) kind: Vec<String>,
    pub(super) src_path: PathBuf,
    #[serde(default)]
    pub(super) doctest: bool,
    /// Whether `cargo test` builds it as a test by itself.
    #[serde(default)]
    pub(super) test: bool,
}

/// A dependency, as the manifest names it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) path: Option<PathBuf>,
    /// Absent for a path.
    source: Option<String>,
}

impl Package {
    /// The directory of the manifest.
    pub(super) fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// Its single files that cargo or its sources read.
    pub(super) fn documents(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let named = [self.readme.as_ref(), self.license_file.as_ref()];
        named.into_iter().flatten().map(|file| normalized(&self.directory().join(file)))
    }

    /// Whether a dependency comes from a git repository, or from another registry than crates.io.
    pub(super) fn names_other_sources(&self) -> bool {
        let mut sources = self.dependencies.iter().filter_map(|one| one.source.as_deref());
        sources.any(|source| !CRATES_IO.contains(&source))
    }

    /// The directories of its path dependencies.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.dependencies.iter().filter_map(|dependency| dependency.path.clone())
    }
}

/// Has cargo colour its errors as it would without us, with the value of `--color` that the user
/// has named: its standard error is a pipe here. What cargo's configuration says still counts.
pub(super) fn color_as_here(command: &mut Command, named: Option<&OsString>) {
    if let Some(named) = named {
        command.arg("--color").arg(named);
    }
    if color::on_stderr() {
        command.env("CLICOLOR_FORCE", "1");
    }
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

/// Runs a call of [`environment::cargo_command`] and returns what it writes to standard output.
/// Errors of cargo are reported in its own words.
pub(crate) fn run_cargo(command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command.output().map_err(|source| cannot_run(command.get_program(), &source))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::cargo(words, code.unwrap_or(101).max(1)))
}

/// Asks cargo about the workspace of a directory or manifest, without its dependencies.
pub(super) fn metadata(
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
    color_as_here(command.args(options), color);
    parsed(&run_cargo(&mut command)?)
}

/// The directories of all packages of an answer of `cargo metadata`.
pub(super) fn paths_of_packages(answer: &[u8]) -> Result<Vec<PathBuf>, Error> {
    /// The part of the answer that is needed.
    #[derive(Deserialize)]
    struct Answer {
        packages: Vec<OfPackage>,
    }
    #[derive(Deserialize)]
    struct OfPackage {
        manifest_path: PathBuf,
    }
    let Answer { packages } = parsed(answer)?;
    let directory = |package: OfPackage| Some(package.manifest_path.parent()?.to_owned());
    Ok(packages.into_iter().filter_map(directory).collect())
}

/// Reads an answer of `cargo metadata`.
pub(super) fn parsed<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(answer).map_err(|error| {
        Error::new(
            ErrorKind::Workspace,
            "cannot understand the output of `cargo metadata`",
            "check that CARGO, if it is set, names a cargo of Rust 1.95 or later",
        )
        .caused_by(&error)
    })
}
