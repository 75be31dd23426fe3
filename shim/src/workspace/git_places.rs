//! The repositories of git that a workspace and its packages lie in: a package can be a submodule,
//! or lie elsewhere, and others lie in what is sent. Only files are looked at.

use std::collections::HashSet;
use std::path::Path;

use burst_sync::git_directory::Repository;

/// What git finds in one directory.
#[derive(Debug)]
pub(super) enum Nested {
    /// A repository.
    Repository(Repository),
    /// A `.git` with which it fails.
    Unusable,
    /// Nothing, so that it looks further above.
    None,
}

/// What git finds in a directory.
pub(super) fn nested(directory: &Path) -> Nested {
    let git = directory.join(".git");
    if git.symlink_metadata().is_err() {
        return Nested::None;
    }
    match Repository::at(directory) {
        Some(repository) => Nested::Repository(repository),
        None if git.is_file() => Nested::Unusable,
        None => Nested::None,
    }
}

/// The root, and for each further repository a package in it.
pub(super) fn with_repositories<'a>(
    root: &'a Path,
    packages: impl Iterator<Item = &'a Path>,
) -> Vec<&'a Path> {
    let mut seen: HashSet<&Path> = root.ancestors().collect();
    let mut found = vec![root];
    for package in packages {
        let mut has_repository = false;
        // Those above have been looked at with another package.
        for directory in package.ancestors().take_while(|directory| !seen.contains(directory)) {
            has_repository |= directory.join(".git").exists();
        }
        seen.extend(package.ancestors());
        if has_repository {
            found.push(package);
        }
    }
    found
}

/// The repository around a directory, and the top of its working tree on the way to
/// the directory.
pub(super) fn around(directory: &Path) -> Option<(Repository, &Path)> {
    let repository = Repository::around(directory)?;
    // git follows links in the path of the directory, cargo does not.
    let real = directory.canonicalize().unwrap_or_default();
    let depth = real.strip_prefix(&repository.work_tree).map_or(0, |path| path.iter().count());
    let top = directory.ancestors().nth(depth)?;
    Some((repository, top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_package_of_each_repository_is_found() {
        let disk = tempfile::tempdir().unwrap();
        let at = |path: &str| disk.path().join(path);
        let packages = ["w/app", "w/sub/a", "w/sub/b", "w/sub", "beside/c", "beside/d", "none"];
        for directory in [".git", "w/sub/.git", "beside/.git"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        let packages = packages.map(at);
        let root = at("w");
        let found = with_repositories(&root, packages.iter().map(AsRef::as_ref));
        assert_eq!(found, [at("w"), at("w/sub/a"), at("beside/c")]);
    }
}
