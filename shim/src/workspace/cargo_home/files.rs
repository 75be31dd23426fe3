//! The files of packages in cargo's home that are sent.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_sync::root_directory::RootDirectory;
use serde::{Deserialize, Serialize};

use super::places::{Place, index_path};

/// The longest configuration file of git that is read.
const GIT_CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Files of a git repository, beside its objects and references, that make it one.
const REPOSITORY_FILES: [&str; 3] = ["HEAD", "packed-refs", "shallow"];

/// The files below cargo's home that a workspace needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HomeFiles {
    pub(super) files: BTreeSet<RelativePath>,
    /// Directories that have to exist, even if they are empty.
    pub(super) directories: BTreeSet<RelativePath>,
}

/// The files of all places.
pub(super) fn list(home: &Path, places: &BTreeSet<Place>) -> io::Result<HomeFiles> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(directory: &str, archive: &str, name: &str) -> Place {
        let [directory, archive, name] = [directory, archive, name].map(str::to_owned);
        Place::Registry { directory, archive, name }
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
