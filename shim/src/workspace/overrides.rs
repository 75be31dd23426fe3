//! The packages that `paths` of cargo's configuration has cargo use in place of others.
//!
//! cargo reads all packages below such a directory and uses those that have the name of a
//! dependency. A repository names the directory, and `..` has everything beside it. So only what
//! cargo uses is sent: the packages that it names itself when it is asked to resolve the
//! dependencies, and one that `paths` names itself, as a path dependency could. What the lock file
//! says does not count, since the repository has written it.
//!
//! A directory with too many entries is an error.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::manifest;
use super::metadata::{color_as_here, paths_of_packages, run_cargo};
use crate::environment;
use crate::error::{Error, ErrorKind};

/// The manifest of a package.
const MANIFEST: &str = "Cargo.toml";

/// How many entries of directories are looked at in search of packages.
const ENTRIES_MAX: usize = 200_000;

/// How cargo resolves dependencies.
#[derive(Clone, Copy)]
pub(super) struct Resolving<'a> {
    /// Where it runs, so that it reads the same configuration.
    pub(super) directory: &'a Path,
    /// The root of the workspace.
    pub(super) root: &'a Path,
    pub(super) options: &'a [OsString],
}

/// The directories of the packages that cargo uses of those below the directories of `paths`.
pub(super) fn find(
    paths: &BTreeSet<PathBuf>,
    resolving: Resolving<'_>,
) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut left = ENTRIES_MAX;
    for path in paths {
        found.extend(packages_below(path, &mut left).ok_or_else(|| too_many(path))?);
    }
    let (named, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|directory| paths.contains(directory));
    let used = match others.is_empty() {
        true => HashSet::new(),
        false => used(resolving)?,
    };
    let is_used = |directory: &PathBuf| directory.canonicalize().is_ok_and(|at| used.contains(&at));
    Ok(named.into_iter().chain(others.into_iter().filter(is_used)).collect())
}

/// The directories of all packages that cargo uses, with links followed.
fn used(resolving: Resolving<'_>) -> Result<HashSet<PathBuf>, Error> {
    let mut command = environment::cargo_command();
    command
        .args(["metadata", "--all-features", "--format-version", "1", "--manifest-path"])
        .arg(resolving.root.join(MANIFEST))
        .args(resolving.options)
        .current_dir(resolving.directory);
    color_as_here(&mut command, None);
    let packages = paths_of_packages(&run_cargo(&mut command)?)?;
    Ok(packages.iter().filter_map(|package| package.canonicalize().ok()).collect())
}

fn too_many(path: &Path) -> Error {
    Error::new(
        ErrorKind::Workspace,
        format!("there are more than {ENTRIES_MAX} files below `{}`", path.display()),
        "let `paths` in cargo's configuration name the directories of the packages",
    )
    .cause("`paths` has cargo look for packages everywhere below it")
}

/// The directories of the packages that cargo finds below a directory, in their order; none if it
/// has more entries than are left to look at.
fn packages_below(directory: &Path, left: &mut usize) -> Option<Vec<PathBuf>> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(at) = directories.pop() {
        let is_of_package = at.join(MANIFEST).exists();
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            *left = left.checked_sub(1)?;
            let (name, path) = (entry.file_name(), entry.path());
            let is_left_out =
                name.as_bytes().starts_with(b".") || (name == "target" && is_of_package);
            let is_directory = || entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_left_out && is_directory() && !path.join(".git").exists() {
                directories.push(path);
            }
        }
        if is_package(&at) {
            found.push(at);
        }
    }
    found.sort_unstable();
    Some(found)
}

fn is_package(directory: &Path) -> bool {
    let manifest = manifest::table(&directory.join(MANIFEST));
    manifest.is_some_and(|manifest| manifest.contains_key("package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_where_cargo_finds_them() {
        let disk = tempfile::tempdir().unwrap();
        let package = |path: &str, name: &str| {
            let directory = disk.path().join(path);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(MANIFEST), format!("package.name = '{name}'")).unwrap();
        };
        package("one", "one");
        package("one/in/deep", "deep");
        package("one/target/package/x", "built");
        package("target/two", "two");
        package(".hidden", "hidden");
        package("submodule", "submodule");
        package("virtual", "virtual");
        std::fs::create_dir(disk.path().join("submodule/.git")).unwrap();
        std::fs::write(disk.path().join("virtual").join(MANIFEST), "[workspace]").unwrap();
        std::os::unix::fs::symlink("one", disk.path().join("link")).unwrap();
        std::fs::create_dir(disk.path().join("pipe")).unwrap();
        let pipe = disk.path().join("pipe").join(MANIFEST);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, pipe, kind, rustix::fs::Mode::RUSR, 0).unwrap();
        let below = |path: &str, mut left: usize| {
            let found = packages_below(&disk.path().join(path), &mut left)?;
            let shown = |path: PathBuf| path.strip_prefix(disk.path()).unwrap().to_owned();
            Some(found.into_iter().map(shown).collect::<Vec<_>>())
        };
        let expected = ["one", "one/in/deep", "target/two"].map(PathBuf::from);
        assert_eq!(below("", 100).unwrap(), expected);
        assert_eq!(below("submodule", 100).unwrap(), [Path::new("submodule")]);
        assert_eq!(below("none", 100).unwrap(), [""; 0].map(PathBuf::from));
        // One entry after the other is looked at.
        assert_eq!((below("one", 4), below("one", 5).map(|found| found.len())), (None, Some(2)));
    }
}
