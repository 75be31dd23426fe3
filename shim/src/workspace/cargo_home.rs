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

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use burst_protocol::{Digest, RelativePath};
use burst_sync::clock::Moment;
use burst_sync::root_directory::RootDirectory;
use burst_sync::stat_cache::{read_record, write_record};
use serde::{Deserialize, Serialize};

use super::Workspace;
use super::error::unreadable;
use super::lock_file::{Locked, locked_in};
use super::metadata::{CRATES_IO, cannot_run, color_as_here, parsed};
use super::sources::Sources;
use super::state::WorkspaceState;
use crate::cargo_options::value_of;
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::terminal::{Terminal, bytes};

/// The directories in which cargo keeps the packages of crates.io begin so.
const CRATES_IO_DIRECTORIES: [&str; 2] = ["index.crates.io-", "github.com-"];

/// Bytes of packages from which on the user is told that they are sent.
const TOLD_BYTES_MIN: u64 = 16 << 20;

/// The digits of a commit's name that cargo uses at least.
const SHORT_COMMIT_MIN: usize = 7;

/// The longest configuration file of git that is read.
const GIT_CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Files of a git repository, beside its objects and references, that make it one.
const REPOSITORY_FILES: [&str; 3] = ["HEAD", "packed-refs", "shallow"];

/// The files below cargo's home that a workspace needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HomeFiles {
    files: BTreeSet<RelativePath>,
    /// Directories that have to exist, even if they are empty.
    directories: BTreeSet<RelativePath>,
}

/// What is remembered between commands.
#[derive(Serialize, Deserialize)]
struct Record {
    key: Digest,
    found: HomeFiles,
}

/// The packages of cargo's metadata.
#[derive(Deserialize)]
struct Resolved {
    packages: Vec<ResolvedPackage>,
}

#[derive(Deserialize)]
struct ResolvedPackage {
    name: String,
    version: String,
    source: Option<String>,
    manifest_path: PathBuf,
}

impl Resolved {
    /// Whether cargo uses a package of the lock file, and nothing in its place.
    fn has(&self, package: &Locked) -> bool {
        let Locked { name, version, .. } = package;
        let mut packages = self.packages.iter().filter(|found| found.source.is_some());
        packages.any(|found| found.name == *name && found.version == *version)
    }
}

/// Where cargo keeps a package that only this machine can download.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Below `registry`: the directory of the registry, the name with and without version.
    Registry { directory: String, archive: String, name: String },
    /// Below `git`: the directory of the repository, and that of the checkout in it.
    Git { directory: String, checkout: String },
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

/// Where cargo keeps the packages that do not come from crates.io itself. A mirror of crates.io
/// is a registry of its own, also if its packages are said to be of crates.io.
fn places(resolved: &Resolved, home: &Path) -> BTreeSet<Place> {
    let place = |package: &ResolvedPackage| {
        let source = package.source.as_deref()?;
        let path = package.manifest_path.strip_prefix(home).ok()?;
        let names: Vec<&str> =
            path.iter().map(|name| name.to_str()).collect::<Option<Vec<&str>>>()?;
        match names.as_slice() {
            ["registry", "src", directory, archive, "Cargo.toml"] => {
                let is_public = CRATES_IO.contains(&source)
                    && CRATES_IO_DIRECTORIES.iter().any(|name| directory.starts_with(name));
                (!is_public).then(|| Place::Registry {
                    directory: (*directory).to_owned(),
                    archive: (*archive).to_owned(),
                    name: package.name.clone(),
                })
            }
            ["git", "checkouts", directory, checkout, ..] => Some(Place::Git {
                directory: (*directory).to_owned(),
                checkout: (*checkout).to_owned(),
            }),
            _ => None,
        }
    };
    resolved.packages.iter().filter_map(place).collect()
}

/// Where cargo keeps the source of a package that it does not use.
fn places_of_unused(home: &Path, package: &Locked) -> Vec<Place> {
    let Some(source) = &package.source else { return Vec::new() };
    if !source.starts_with("git+") {
        return registries_with(home, package);
    }
    let commit = source.rsplit_once('#').map(|(_, commit)| commit);
    commit.map(|commit| checkouts_of(home, commit)).unwrap_or_default()
}

/// The registries whose entry of a package has been downloaded, but for crates.io.
fn registries_with(home: &Path, package: &Locked) -> Vec<Place> {
    let Locked { name, version, .. } = package;
    let entry = Path::new(".cache").join(index_path(name));
    let indices = home.join("registry/index");
    let is_private =
        |directory: &String| !CRATES_IO_DIRECTORIES.iter().any(|name| directory.starts_with(name));
    let directories = names_in(&indices).into_iter().filter(is_private);
    let directories =
        directories.filter(|directory| indices.join(directory).join(&entry).is_file());
    let archive = format!("{name}-{version}");
    directories
        .map(|directory| Place::Registry {
            directory,
            archive: archive.clone(),
            name: name.clone(),
        })
        .collect()
}

/// The names in a directory.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The checkouts of a commit, whose directories have the beginning of its name.
fn checkouts_of(home: &Path, commit: &str) -> Vec<Place> {
    let checkouts = home.join("git/checkouts");
    let mut found = Vec::new();
    for directory in names_in(&checkouts) {
        for checkout in names_in(&checkouts.join(&directory)) {
            if checkout.len() >= SHORT_COMMIT_MIN && commit.starts_with(&checkout) {
                found.push(Place::Git { directory: directory.clone(), checkout });
            }
        }
    }
    found
}

/// The files of all places.
fn list(home: &Path, places: &BTreeSet<Place>) -> io::Result<HomeFiles> {
    let mut listing = Listing { home, found: HomeFiles::default() };
    let mut repositories = BTreeSet::new();
    for place in places {
        match place {
            Place::Registry { directory, archive, name } => {
                listing.add_file(&format!("registry/cache/{directory}/{archive}.crate"))?;
                let index = format!("registry/index/{directory}");
                listing.add_file(&format!("{index}/config.json"))?;
                listing.add_file(&format!("{index}/.cache/{}", index_path(name)))?;
                repositories.insert(format!("{index}/.git"));
            }
            Place::Git { directory, checkout } => {
                repositories.insert(format!("git/db/{directory}"));
                let checkout = home.join(format!("git/checkouts/{directory}/{checkout}"));
                let databases = submodule_databases(&checkout);
                repositories.extend(databases.iter().map(|name| format!("git/db/{name}")));
            }
        }
    }
    repositories.iter().try_for_each(|repository| listing.add_repository(repository))?;
    Ok(listing.found)
}

/// The entry of a package below the cache of an index, as cargo names it.
fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    let part = |range| name.get(range).unwrap_or_default();
    match name.len() {
        1 | 2 => format!("{}/{name}", name.len()),
        3 => format!("3/{}/{name}", part(0..1)),
        _ => format!("{}/{}/{name}", part(0..2), part(2..4)),
    }
}

/// Collects files that exist, by their paths below cargo's home.
struct Listing<'a> {
    home: &'a Path,
    found: HomeFiles,
}

impl Listing<'_> {
    fn add_file(&mut self, path: &str) -> io::Result<()> {
        if self.home.join(path).is_file() {
            self.found.files.insert(relative(path)?);
        }
        Ok(())
    }

    /// Adds objects and references of a git repository, if there is one.
    fn add_repository(&mut self, repository: &str) -> io::Result<()> {
        if !self.home.join(repository).join("HEAD").is_file() {
            return Ok(());
        }
        for name in REPOSITORY_FILES {
            self.add_file(&format!("{repository}/{name}"))?;
        }
        for name in ["objects", "refs"] {
            let path = format!("{repository}/{name}");
            self.found.directories.insert(relative(&path)?);
            self.add_all(&path)?;
        }
        Ok(())
    }

    fn add_all(&mut self, directory: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(self.home.join(directory))? {
            let entry = entry?;
            let name = entry.file_name();
            // Locks and downloads that have not ended.
            let Some(name) = name.to_str().filter(|name| is_part_of_repository(name)) else {
                continue;
            };
            let path = format!("{directory}/{name}");
            if entry.file_type()?.is_dir() {
                self.add_all(&path)?;
            } else {
                self.add_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Whether a file or directory among objects and references is one of them. `objects/info` may
/// name other repositories of this machine.
fn is_part_of_repository(name: &str) -> bool {
    let is_temporary = name.ends_with(".lock") || name.starts_with("tmp_") || name.contains("_tmp");
    name != "info" && !is_temporary
}

/// The names below `git/db` of the submodules in a checkout, those of submodules included:
/// cargo clones each from there. A repository chooses its files: no link is followed, and
/// nothing outside of the checkout is read.
fn submodule_databases(checkout: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let Ok(root) = RootDirectory::open(checkout) else { return names };
    let read = |path: &str| {
        let text = relative(path).and_then(|path| root.read(&path, GIT_CONFIG_BYTES_MAX));
        String::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    };
    let mut found = vec![String::new()];
    while let Some(directory) = found.pop() {
        for path in values(&read(&format!("{directory}.gitmodules")), "path") {
            let module = format!("{directory}{path}/");
            let config = read(&format!("{module}.git/config"));
            let databases = values(&config, "url")
                .filter_map(|url| Some(url.split_once("/git/db/")?.1))
                .filter(|name| !name.contains('/'));
            names.extend(databases.map(str::to_owned));
            if !config.is_empty() {
                found.push(module);
            }
        }
    }
    names
}

/// The values of a key in a file of git's configuration.
fn values<'a>(text: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"'))
    })
}

fn relative(path: &str) -> io::Result<RelativePath> {
    RelativePath::new(path.as_bytes()).map_err(io::Error::other)
}

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, source: Option<&str>, manifest: &str) -> ResolvedPackage {
        let (name, source) = (name.to_owned(), source.map(str::to_owned));
        ResolvedPackage { name, version: "1.0.0".into(), source, manifest_path: manifest.into() }
    }

    fn registry(directory: &str, archive: &str, name: &str) -> Place {
        let [directory, archive, name] = [directory, archive, name].map(str::to_owned);
        Place::Registry { directory, archive, name }
    }

    #[test]
    fn packages_of_crates_io_are_left_out_but_not_those_of_a_mirror() {
        let packages = vec![
            package("app", None, "/work/app/Cargo.toml"),
            package(
                "a",
                Some(CRATES_IO[0]),
                "/h/registry/src/index.crates.io-1949/a-1.0.0/Cargo.toml",
            ),
            package("b", Some(CRATES_IO[0]), "/h/registry/src/github.com-1ecc/b-1.0.0/Cargo.toml"),
            package("c", Some(CRATES_IO[0]), "/h/registry/src/mirror-8aad/c-1.0.0+x/Cargo.toml"),
            package("d", Some("sparse+https://d/"), "/h/registry/src/d-8aad/d-2.0.0/Cargo.toml"),
            package("e", Some("git+https://e"), "/h/git/checkouts/e-5eef/8e0a/sub/e/Cargo.toml"),
            package("f", Some("git+https://e"), "/h/git/checkouts/e-5eef/8e0a/Cargo.toml"),
            package("g", Some(CRATES_IO[0]), "/work/vendor/g/Cargo.toml"),
            package("h", Some("sparse+https://d/"), "/else/registry/src/d-8/h-1.0.0/Cargo.toml"),
        ];
        let found = places(&Resolved { packages }, Path::new("/h"));
        let git = Place::Git { directory: "e-5eef".into(), checkout: "8e0a".into() };
        let expected =
            [registry("mirror-8aad", "c-1.0.0+x", "c"), registry("d-8aad", "d-2.0.0", "d"), git];
        assert_eq!(found, expected.into());
    }

    #[test]
    fn entries_of_an_index_are_named_as_cargo_names_them() {
        for (name, path) in [
            ("a", "1/a"),
            ("ab", "2/ab"),
            ("Abc", "3/a/abc"),
            ("abcd", "ab/cd/abcd"),
            ("Serde_JSON", "se/rd/serde_json"),
        ] {
            assert_eq!(index_path(name), path);
        }
    }

    #[test]
    fn sources_of_packages_that_are_not_used_are_found() {
        let locked = |name: &str, version: &str, source: Option<&str>| {
            let (name, version) = (name.into(), version.into());
            Locked { name, version, source: source.map(Into::into) }
        };
        let a = locked("a", "1.0.0", Some("git+https://a#11"));
        let used = |source| Resolved { packages: vec![package("a", source, "/a/Cargo.toml")] };
        assert!(used(Some("git+https://a#11")).has(&a) && !used(None).has(&a));
        assert!(!used(Some("git+https://a#11")).has(&locked("a", "1.1.0", None)));
        let home = tempfile::tempdir().unwrap();
        for name in ["b-1/8e0aaec", "b-1/8e0aaed", "c-2/8e"] {
            std::fs::create_dir_all(home.path().join("git/checkouts").join(name)).unwrap();
        }
        let indices = ["p-1/.cache/pa/ck/pack", "q-2/.cache/pa/ck/other"];
        create(home.path(), &indices.map(|path| format!("registry/index/{path}")));
        create(home.path(), &["registry/index/index.crates.io-1/.cache/pa/ck/pack"]);
        let found = |package| places_of_unused(home.path(), &package);
        let b = locked("b", "1.0.0", Some("git+https://b?branch=x#8e0aaec9f6f4"));
        let git = Place::Git { directory: "b-1".into(), checkout: "8e0aaec".into() };
        assert_eq!((found(a), found(b)), (vec![], vec![git]));
        let of_registry = locked("pack", "2.0.0", Some("sparse+https://p/"));
        assert_eq!(found(of_registry), [registry("p-1", "pack-2.0.0", "pack")]);
        assert_eq!(found(locked("pack", "2.0.0", None)), []);
    }

    /// Creates files with their own path as content.
    fn create(home: &Path, files: &[impl AsRef<str>]) {
        for file in files.iter().map(AsRef::as_ref) {
            write(home, file, file);
        }
    }

    fn write(home: &Path, file: &str, text: &str) {
        std::fs::create_dir_all(home.join(file).parent().unwrap()).unwrap();
        std::fs::write(home.join(file), text).unwrap();
    }

    fn listed(home: &Path, places: impl Into<BTreeSet<Place>>) -> (Vec<String>, Vec<String>) {
        let HomeFiles { files, directories } = list(home, &places.into()).unwrap();
        let shown = |paths: &BTreeSet<RelativePath>| {
            paths.iter().map(|path| path.display().to_string()).collect()
        };
        (shown(&files), shown(&directories))
    }

    #[test]
    fn of_a_registry_only_the_packages_are_listed() {
        let home = tempfile::tempdir().unwrap();
        create(
            home.path(),
            &[
                "credentials.toml",
                "registry/cache/r-1/secret-1.0.0.crate",
                "registry/cache/r-1/secret-2.0.0.crate",
                "registry/index/r-1/config.json",
                "registry/index/r-1/.cache/se/cr/secret",
                "registry/index/r-1/.cache/ot/he/other",
                "registry/src/r-1/secret-1.0.0/Cargo.toml",
            ],
        );
        let packages =
            [registry("r-1", "secret-1.0.0", "secret"), registry("r-1", "gone-1.0.0", "gone")];
        let expected = [
            "registry/cache/r-1/secret-1.0.0.crate",
            "registry/index/r-1/.cache/se/cr/secret",
            "registry/index/r-1/config.json",
        ];
        assert_eq!(listed(home.path(), packages), (expected.map(String::from).into(), vec![]));
    }

    #[test]
    fn of_a_repository_objects_and_references_are_listed_and_those_of_its_submodules() {
        let home = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for database in ["inner-2", "lib-1", "sub-3"] {
            let wanted = ["HEAD", "objects/pack/pack-1.pack", "packed-refs", "refs/heads/main"];
            expected.extend(wanted.map(|name| format!("git/db/{database}/{name}")));
            let left = [
                "FETCH_HEAD",
                "config",
                "hooks/update",
                "objects/info/alternates",
                "objects/pack/tmp_pack_1",
                "refs/heads/main.lock",
            ];
            let all = wanted.iter().chain(&left);
            let all: Vec<String> = all.map(|name| format!("git/db/{database}/{name}")).collect();
            create(home.path(), &all);
        }
        create(home.path(), &["git/db/stranger-4/HEAD"]);
        let checkout = "git/checkouts/lib-1/8e0a";
        let config = |name: &str| format!("[remote \"origin\"]\n\turl = file:///h/git/db/{name}\n");
        write(home.path(), &format!("{checkout}/sub/.git/config"), &config("sub-3"));
        write(home.path(), &format!("{checkout}/sub/in/.git/config"), &config("inner-2"));
        write(home.path(), &format!("{checkout}/sub/.gitmodules"), "[submodule]\n  path = in\n");
        // What a repository says does not lead out of its checkout.
        write(home.path(), "git/checkouts/other/.git/config", &config("stranger-4"));
        std::os::unix::fs::symlink("../../other", home.path().join(checkout).join("link")).unwrap();
        let modules = "[submodule \"sub\"]\n\tpath = sub\n\turl = ../sub\n[submodule \"out\"]\n\
                       \tpath = ../../other\n[submodule \"link\"]\n\tpath = link\n";
        write(home.path(), &format!("{checkout}/.gitmodules"), modules);
        let place = Place::Git { directory: "lib-1".into(), checkout: "8e0a".into() };
        let (files, directories) = listed(home.path(), [place]);
        assert_eq!(files, expected);
        let all = ["inner-2", "lib-1", "sub-3"]
            .map(|name| ["objects", "refs"].map(|directory| format!("git/db/{name}/{directory}")));
        assert_eq!(directories, all.concat());
    }
}
