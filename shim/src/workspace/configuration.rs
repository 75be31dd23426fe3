//! cargo's configuration: its files, and what they name that cargo reads.
//!
//! cargo reads `.cargo/config.toml` of the working directory and of those above it, that of its
//! home, `--config`, and the files that these include. This module finds the files and the paths
//! in them; their values are cargo's business. A file that is no TOML names nothing here: cargo
//! reports it.
//!
//! Configuration comes from a repository, unless it is in cargo's home. So it includes no file from
//! outside of the directory that has its `.cargo`, but one of another `.cargo`, and what it names
//! elsewhere is sent only as far as it looks like packages or a registry (see
//! [`super::sources`]).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use burst_protocol::path::normalized;
use toml::{Table, Value};

use crate::cargo_config::{Files, base_of, levels_above};

/// What the configuration consists of and names. All paths are absolute.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    /// The files that cargo reads, those of cargo's home included.
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories of packages and of directories with packages: `paths`.
    pub(super) overrides: BTreeSet<PathBuf>,
    /// Directories of packages: the paths of `[patch]`.
    pub(super) packages: BTreeSet<PathBuf>,
    /// Replacements of registries: `directory` and `local-registry` of `[source]`.
    pub(super) registries: BTreeSet<PathBuf>,
}

impl Configuration {
    /// Reads the configuration of a cargo that runs in `directory` for the workspace at `root`,
    /// with the values of `--config` and with its home.
    pub(super) fn read(
        directory: &Path,
        root: &Path,
        values: &[OsString],
        home: Option<&Path>,
    ) -> Self {
        let mut found = Self::default();
        let may_include = |file: &Path, included: &Path| {
            let is_users = home.is_some_and(|home| file.starts_with(home));
            is_users || may_include(base_of(file), included)
        };
        let mut files = Files::new(&may_include);
        for value in values {
            let file = directory.join(value);
            if file.is_file() {
                files.file(&file, &mut |file, table| found.add(base_of(file), table));
            } else if let Some(Ok(table)) = value.to_str().map(str::parse::<Table>) {
                found.add(directory, &table);
            }
        }
        // Of the root, too: a command names a package from anywhere.
        let levels = levels_above(directory).chain(levels_above(root));
        for level in levels.chain(home.map(Path::to_owned)) {
            files.level(&level, &mut |file, table| found.add(base_of(file), table));
        }
        found.files = files.found();
        found
    }

    /// Adds what a file or a value names, whose paths are relative to `base`.
    fn add(&mut self, base: &Path, table: &Table) -> Option<()> {
        let absolute = |path: &str| normalized(&base.join(path));
        let paths = table.get("paths").and_then(Value::as_array).into_iter().flatten();
        self.overrides.extend(paths.filter_map(Value::as_str).map(absolute));
        self.packages.extend(patched(table).map(absolute));
        let sources = table.get("source").and_then(Value::as_table);
        for source in sources.into_iter().flat_map(Table::values) {
            let replacements = ["directory", "local-registry"];
            let named = replacements.iter().filter_map(|key| source.get(key)?.as_str());
            self.registries.extend(named.map(absolute));
        }
        None
    }
}

/// The entries of `[patch]` and `[replace]`, in a configuration or a manifest.
pub(super) fn patches(table: &Table) -> impl Iterator<Item = &Value> {
    let patches = table.get("patch").and_then(Value::as_table);
    let sources = patches.into_iter().flat_map(Table::values);
    let tables = sources.chain(table.get("replace")).filter_map(Value::as_table);
    tables.flat_map(Table::values)
}

/// The paths that these entries name.
pub(super) fn patched(table: &Table) -> impl Iterator<Item = &str> {
    patches(table).filter_map(|entry| entry.get("path")?.as_str())
}

/// Whether a file is taken that a configuration of a repository includes: cargo reads only
/// `*.toml`.
fn may_include(base: &Path, included: &Path) -> bool {
    let is_toml = included.extension() == Some(OsStr::new("toml"));
    let is_cargos = included.parent().is_some_and(|parent| parent.ends_with(".cargo"));
    is_toml && !included.ends_with("credentials.toml") && (included.starts_with(base) || is_cargos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files.
    fn disk(files: &[(&str, &str)]) -> tempfile::TempDir {
        let disk = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = disk.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        disk
    }

    fn below(disk: &Path, paths: &BTreeSet<PathBuf>) -> Vec<String> {
        let shown =
            |path: &PathBuf| path.strip_prefix(disk).ok().map(|path| path.display().to_string());
        paths.iter().filter_map(shown).collect()
    }

    #[test]
    fn every_file_that_cargo_reads_is_found() {
        let disk = disk(&[
            (".cargo/config.toml", "paths = ['over']\n"),
            ("w/.cargo/config.toml", "include = ['more.toml', { path = 'none.toml' }]\n"),
            ("w/.cargo/more.toml", "include = 'config.toml'\n[patch.x]\na = { path = '../a' }\n"),
            (
                "w/member/.cargo/config",
                "[source.crates-io]\nreplace-with = 'v'\n\
                                        [source.v]\ndirectory = 'vendor'\n",
            ),
            ("w/cli/extra.toml", "[source.l]\nlocal-registry = '/registry'\n"),
            ("home/config.toml", "include = ['own.toml']\n"),
            ("home/own.toml", "not toml"),
        ]);
        let at = |path: &str| disk.path().join(path);
        let values = ["cli/extra.toml", "patch.y.b.path = '../b'", "net.retry = 3"];
        let values = values.map(OsString::from);
        let found = Configuration::read(&at("w"), &at("w"), &values, Some(&at("home")));
        let files = [
            ".cargo/config.toml",
            "home/config.toml",
            "home/own.toml",
            "w/.cargo/config.toml",
            "w/.cargo/more.toml",
            "w/cli/extra.toml",
        ];
        assert_eq!(below(disk.path(), &found.files), files);
        assert_eq!(below(disk.path(), &found.packages), ["a", "b"]);
        assert_eq!(below(disk.path(), &found.overrides), ["over"]);
        assert_eq!(found.registries, BTreeSet::from(["/registry".into()]));
        let found = Configuration::read(&at("w/member"), &at("w"), &[], None);
        assert_eq!(below(disk.path(), &found.registries), ["w/member/vendor"]);
    }

    #[test]
    fn a_repository_includes_no_private_files_of_the_user() {
        let base = Path::new("/home/me/work");
        for (included, expected) in [
            ("/home/me/work/shared.toml", true),
            ("/home/me/.cargo/shared.toml", true),
            ("/home/me/.config/x/secret.toml", false),
            ("/home/me/.cargo/credentials.toml", false),
            ("/home/me/work/.env", false),
        ] {
            assert_eq!(may_include(base, Path::new(included)), expected, "{included}");
        }
        // Also where the workspace is only a part of the repository.
        let disk = disk(&[
            ("repository/.cargo/config.toml", "include = ['../../secret.toml', 'own.toml']\n"),
            ("repository/.cargo/own.toml", ""),
            ("secret.toml", "token = 1\n"),
            ("home/config.toml", "include = ['../dotfiles.toml']\n"),
            ("dotfiles.toml", ""),
        ]);
        let at = |path: &str| disk.path().join(path);
        let workspace = at("repository/app");
        let found = Configuration::read(&workspace, &workspace, &[], Some(&at("home")));
        assert_eq!(
            below(disk.path(), &found.files),
            [
                "dotfiles.toml",
                "home/config.toml",
                "repository/.cargo/config.toml",
                "repository/.cargo/own.toml"
            ]
        );
    }
}
