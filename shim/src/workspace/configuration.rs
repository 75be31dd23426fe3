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

/// The names of the configuration in each directory; without an extension, of old versions.
const NAMES: [&str; 2] = [".cargo/config.toml", ".cargo/config"];

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

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
    /// cargo's home.
    home: Option<PathBuf>,
}

/// A source of values.
struct Origin {
    /// The file; none for a value of the command line.
    file: Option<PathBuf>,
    /// The directory that paths are relative to.
    base: PathBuf,
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
        let mut found = Self { home: home.map(Path::to_owned), ..Self::default() };
        for value in values {
            found.add_value(directory, value);
        }
        // Of the root, too: a command names a package from anywhere.
        let above = directory.ancestors().chain(root.ancestors());
        for file in above.flat_map(|directory| NAMES.map(|name| directory.join(name))) {
            found.add_file(file);
        }
        for name in ["config.toml", "config"] {
            if let Some(home) = home {
                found.add_file(home.join(name));
            }
        }
        found
    }

    /// Adds a value of `--config`: a file, or TOML.
    fn add_value(&mut self, directory: &Path, value: &OsStr) {
        let file = directory.join(value);
        if file.is_file() {
            return self.add_file(file);
        }
        let Some(table) = value.to_str().and_then(|text| text.parse::<Table>().ok()) else {
            return;
        };
        let origin = Origin { file: None, base: directory.to_owned() };
        self.add_table(&origin, &table);
    }

    fn add_file(&mut self, file: PathBuf) {
        let file = normalized(&file);
        let is_readable = |found: std::fs::Metadata| found.is_file() && found.len() <= BYTES_MAX;
        if self.files.contains(&file) || !std::fs::metadata(&file).is_ok_and(is_readable) {
            return;
        }
        self.files.insert(file.clone());
        let Ok(text) = std::fs::read_to_string(&file) else { return };
        let Ok(table) = text.parse::<Table>() else { return };
        let base = file.ancestors().nth(2).unwrap_or(&file).to_owned();
        self.add_table(&Origin { file: Some(file), base }, &table);
    }

    fn add_table(&mut self, origin: &Origin, table: &Table) {
        let absolute = |path: &str| normalized(&origin.base.join(path));
        let paths = table.get("paths").and_then(Value::as_array).into_iter().flatten();
        self.overrides.extend(paths.filter_map(Value::as_str).map(absolute));
        self.packages.extend(patched(table).map(absolute));
        let sources = table.get("source").and_then(Value::as_table);
        for source in sources.into_iter().flat_map(Table::values) {
            let replacements = ["directory", "local-registry"];
            let named = replacements.iter().filter_map(|key| source.get(key)?.as_str());
            self.registries.extend(named.map(absolute));
        }
        let Some(file) = &origin.file else { return };
        let directory = file.parent().unwrap_or(file);
        for included in included(table) {
            let included = normalized(&directory.join(included));
            let is_users = self.home.as_ref().is_some_and(|home| file.starts_with(home));
            if is_users || may_include(&origin.base, &included) {
                self.add_file(included);
            }
        }
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

/// The files that a configuration includes, each by name or as a table with a `path`.
fn included(table: &Table) -> impl Iterator<Item = &str> {
    let entries = match table.get("include") {
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(entry) => std::slice::from_ref(entry),
        None => &[],
    };
    entries.iter().filter_map(|entry| entry.as_str().or_else(|| entry.get("path")?.as_str()))
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
