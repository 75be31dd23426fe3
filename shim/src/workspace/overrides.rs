//! The packages that `paths` of cargo's configuration has cargo use in place of others.
//!
//! cargo reads all packages below such a directory and uses those that have the name of a
//! dependency. A repository names the directory, and `..` has everything beside it. So only what
//! cargo uses is sent: the packages that the lock file names, and one that `paths` names itself,
//! as a path dependency could. Where the lock file does not have what the manifests depend on,
//! cargo is asked to resolve it first.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::lock_file::locked_in;
use super::metadata::{Package, run_cargo};
use crate::environment;

/// The manifest of a package.
const MANIFEST: &str = "Cargo.toml";

/// How cargo resolves dependencies.
#[derive(Clone, Copy)]
pub(super) struct Resolving<'a> {
    /// Where it runs, so that it reads the same configuration.
    pub(super) directory: &'a Path,
    /// The root of the workspace.
    pub(super) root: &'a Path,
    pub(super) options: &'a [OsString],
    /// The members of the workspace.
    pub(super) members: &'a [Package],
}

/// A package below a directory of `paths`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    name: String,
    directory: PathBuf,
}

/// The directories of the packages that cargo uses of those below the directories of `paths`.
pub(super) fn find(paths: &BTreeSet<PathBuf>, resolving: Resolving<'_>) -> Vec<PathBuf> {
    let found: Vec<Found> = paths.iter().flat_map(|path| packages_below(path)).collect();
    let (named, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|package| paths.contains(&package.directory));
    let used = match others.is_empty() {
        true => HashSet::new(),
        false => dependencies(resolving),
    };
    let used = others.into_iter().filter(|package| used.contains(&package.name));
    named.into_iter().chain(used).map(|package| package.directory).collect()
}

/// The names of all packages that the workspace depends on.
fn dependencies(resolving: Resolving<'_>) -> HashSet<String> {
    let lock = || {
        let packages = locked_in(resolving.root).into_iter();
        packages.map(|package| package.name).collect::<HashSet<_>>()
    };
    let direct = resolving.members.iter().flat_map(|member| &member.dependencies);
    let direct: HashSet<String> = direct.map(|dependency| dependency.name.clone()).collect();
    let names = lock();
    if direct.is_subset(&names) {
        return names;
    }
    let mut command = environment::cargo_command();
    command
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(resolving.root.join(MANIFEST))
        .args(resolving.options)
        .current_dir(resolving.directory);
    // What it cannot resolve, the agent's cargo reports.
    drop(run_cargo(&mut command));
    lock().union(&direct).cloned().collect()
}

/// The packages that cargo finds below a directory, in the order of their paths.
fn packages_below(directory: &Path) -> Vec<Found> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(at) = directories.pop() {
        if let Some(name) = name_of(&at) {
            found.push(Found { name, directory: at.clone() });
        }
        let is_of_package = at.join(MANIFEST).exists();
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let is_left_out = name.as_bytes().starts_with(b".")
                || (name == "target" && is_of_package)
                || path.join(".git").exists();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_left_out {
                directories.push(path);
            }
        }
    }
    found.sort_unstable_by(|one, other| one.directory.cmp(&other.directory));
    found
}

/// The name of the package in a directory.
fn name_of(directory: &Path) -> Option<String> {
    let manifest: toml::Table =
        std::fs::read_to_string(directory.join(MANIFEST)).ok()?.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
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
        let found = packages_below(disk.path());
        let found: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(found, ["one", "deep", "two"]);
        assert_eq!(packages_below(&disk.path().join("submodule"))[0].name, "submodule");
        assert_eq!(packages_below(&disk.path().join("none")), []);
    }
}
