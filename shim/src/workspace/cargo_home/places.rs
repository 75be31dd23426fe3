//! Where cargo keeps packages in its home, by what `cargo metadata` and the lock file say of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::workspace::lock_file::Locked;
use crate::workspace::metadata::CRATES_IO;

/// The directories in which cargo keeps the packages of crates.io begin so.
const CRATES_IO_DIRECTORIES: [&str; 2] = ["index.crates.io-", "github.com-"];

/// The digits of a commit's name that cargo uses at least.
const SHORT_COMMIT_MIN: usize = 7;

/// The packages of cargo's metadata.
#[derive(Deserialize)]
pub(super) struct Resolved {
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
    pub(super) fn has(&self, package: &Locked) -> bool {
        let Locked { name, version, .. } = package;
        let mut packages = self.packages.iter().filter(|found| found.source.is_some());
        packages.any(|found| found.name == *name && found.version == *version)
    }
}

/// Where cargo keeps a package that only this machine can download.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Below `registry`: the directory of the registry, the name with and without version.
    Registry { directory: String, archive: String, name: String },
    /// Below `git`: the directory of the repository, and that of the checkout in it.
    Git { directory: String, checkout: String },
}

/// Where cargo keeps the packages that do not come from crates.io itself. A mirror of crates.io
/// is a registry of its own, also if its packages are said to be of crates.io.
pub(super) fn places(resolved: &Resolved, home: &Path) -> BTreeSet<Place> {
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
pub(super) fn places_of_unused(home: &Path, package: &Locked) -> Vec<Place> {
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

/// The entry of a package below the cache of an index, as cargo names it.
pub(super) fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    let part = |range| name.get(range).unwrap_or_default();
    match name.len() {
        1 | 2 => format!("{}/{name}", name.len()),
        3 => format!("3/{}/{name}", part(0..1)),
        _ => format!("{}/{}/{name}", part(0..2), part(2..4)),
    }
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
            package("app", None, "/src/app/Cargo.toml"),
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
            package("g", Some(CRATES_IO[0]), "/src/vendor/g/Cargo.toml"),
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
}
