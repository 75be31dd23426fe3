//! What a server needs of cargo's home here: the packages that only this machine can download,
//! because they come from git repositories and private registries, whose credentials stay here.
//!
//! cargo says which packages these are and where it keeps them. `cargo metadata` resolves the
//! dependencies as the run would, writes `Cargo.lock` and downloads what is missing. It is asked
//! only where a manifest, a configuration or an option names another source than crates.io, and
//! its answer is remembered until one of these or the lock file changes.
//!
//! Of a registry the archives of the packages are sent, their entries of the index, and
//! `config.json`; of an index that is a git repository, and of each git dependency, objects and
//! references. With these cargo asks no network for locked packages. Invariant: nothing else of
//! cargo's home is sent: no `credentials.toml`, no `config` or `FETCH_HEAD` of a repository, in
//! which URLs have passwords. Vendored packages are no part of it, nor is what crates.io has.

mod files;
mod places;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use burst_protocol::{Digest, RelativePath};
use burst_sync::clock::Moment;
use burst_sync::stat_cache::{read_record, write_record};
use serde::{Deserialize, Serialize};

use self::files::{HomeFiles, list};
use self::places::{Resolved, places, places_of_unused};
use super::Workspace;
use super::error::unreadable;
use super::lock_file::locked_in;
use super::metadata::{cannot_run, color_as_here, parsed};
use super::sources::Sources;
use super::state::WorkspaceState;
use crate::cargo_options::value_of;
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::terminal::{Terminal, bytes};

/// Bytes of packages from which on the user is told that they are sent.
const TOLD_BYTES_MIN: u64 = 16 << 20;

/// What is remembered between commands.
#[derive(Serialize, Deserialize)]
struct Record {
    key: Digest,
    found: HomeFiles,
}

/// Adds what is remembered to the sources. Returns whether it is complete and up to date;
/// otherwise cargo is to be [asked](ask), and the workspace to be scanned again.
pub(crate) fn add_remembered(
    workspace: &Workspace,
    sources: &mut Sources,
    state: &mut WorkspaceState,
    options: &[OsString],
    now: Moment,
) -> Result<bool, Error> {
    if !may_need(workspace, sources, options) {
        return Ok(true);
    }
    let key = key(workspace, sources, options);
    match read_record::<Record>(&record_path(state)) {
        Some(record) if record.key == key => add_to(sources, &record.found, state, now),
        _ => Ok(false),
    }
}

/// Adds what cargo has said to the sources, which were scanned since, and remembers it.
pub(crate) fn add(
    workspace: &Workspace,
    sources: &mut Sources,
    state: &mut WorkspaceState,
    options: &[OsString],
    found: HomeFiles,
    now: Moment,
) -> Result<(), Error> {
    // A file that has gone in this moment is one that the server's cargo reports.
    add_to(sources, &found, state, now)?;
    let record = Record { key: key(workspace, sources, options), found };
    write_record(&record_path(state), &record).map_err(unreadable)
}

/// Has cargo resolve the dependencies and download what is missing, and asks it where it keeps
/// them. What cargo has to say, it says to the user.
pub(crate) fn ask(
    workspace: &Workspace,
    options: &[OsString],
    terminal: &Terminal,
) -> Result<HomeFiles, Error> {
    let Some(home) = environment::cargo_home() else { return Ok(HomeFiles::default()) };
    let resolved = resolve(workspace, options, terminal)?;
    let mut places = places(&resolved, &home);
    // cargo also reads the sources of unused patches and of packages that `paths` replaces.
    let unused = locked_in(&workspace.root).into_iter().filter(|package| !resolved.has(package));
    places.extend(unused.flat_map(|package| places_of_unused(&home, &package)));
    let found = list(&home, &places).map_err(|source| {
        Error::new(
            ErrorKind::Workspace,
            format!("cannot read the packages in `{}`", home.display()),
            "make them readable, or run `cargo fetch`, which downloads what is missing",
        )
        .caused_by(&source)
    })?;
    let size: u64 = found.files.iter().map(|path| size_of(&path.in_directory(&home))).sum();
    let told = format!(
        "{} of packages that only this machine can download are sent where the server lacks them",
        bytes(size)
    );
    match size {
        0 => {}
        TOLD_BYTES_MIN.. => terminal.say(&told),
        _ => terminal.detail(&told),
    }
    Ok(found)
}

/// Whether anything names another source than crates.io.
fn may_need(workspace: &Workspace, sources: &Sources, options: &[OsString]) -> bool {
    // It may also be the path of a file.
    let has_configuration = value_of(options, "--config").is_some();
    workspace.inputs.names_other_sources || sources.configures_sources || has_configuration
}

/// A digest of all that cargo's answer depends on.
fn key(workspace: &Workspace, sources: &Sources, options: &[OsString]) -> Digest {
    let mut text = Vec::new();
    let mut add = |part: &[u8]| {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    };
    add(environment::cargo_home().unwrap_or_default().as_os_str().as_bytes());
    add(environment::toolchain().unwrap_or_default().as_bytes());
    workspace.resolving_options(options).iter().for_each(|option| add(option.as_bytes()));
    for (name, value) in environment::all().filter(|(name, _)| names_index(name)) {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    let root = &workspace.root;
    let above = workspace.directory.ancestors().take_while(|at| at.starts_with(root));
    let configurations = above
        .flat_map(|at| [".cargo/config.toml", ".cargo/config"].map(|name| at.join(name)))
        .chain(workspace.inputs.files.iter().cloned());
    let own = [root.join("Cargo.lock"), root.join("Cargo.toml")];
    for path in
        own.into_iter().chain(workspace.inputs.manifests.iter().cloned()).chain(configurations)
    {
        let place = RelativePath::below_root(path.as_os_str().as_bytes()).ok();
        if let Some(file) = place.and_then(|place| sources.tree.file(&place)) {
            add(path.as_os_str().as_bytes());
            add(file.digest.to_hex().as_bytes());
        }
    }
    Digest::of(&text)
}

/// Whether a variable names the index of a registry.
fn names_index(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"CARGO_REGISTRIES_") && name.ends_with(b"_INDEX")
}

fn record_path(state: &WorkspaceState) -> PathBuf {
    state.directory().join("cargo-home")
}

fn add_to(
    sources: &mut Sources,
    found: &HomeFiles,
    state: &mut WorkspaceState,
    now: Moment,
) -> Result<bool, Error> {
    let Some(home) = environment::cargo_home() else { return Ok(true) };
    let HomeFiles { files, directories } = found;
    sources.add_cargo_home(&home, files, directories, state, now).map_err(unreadable)
}

fn resolve(
    workspace: &Workspace,
    options: &[OsString],
    terminal: &Terminal,
) -> Result<Resolved, Error> {
    let mut command = environment::cargo_command();
    command
        .args(["metadata", "--all-features", "--format-version", "1"])
        .args(workspace.resolving_options(options))
        .current_dir(&workspace.directory)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit());
    color_as_here(&mut command, value_of(options, "--color").as_ref());
    // cargo may ask for a password, and shows progress of its own.
    terminal.quiet();
    let output = command.output().map_err(|source| cannot_run(command.get_program(), &source))?;
    if !output.status.success() {
        let code = output.status.code().and_then(|code| u8::try_from(code).ok());
        return Err(Error::cargo("", code.unwrap_or(101).max(1)));
    }
    parsed(&output.stdout)
}

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
