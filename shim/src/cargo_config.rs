//! cargo's configuration files: which there are, in which order, and what they include.
//!
//! They are read in cargo's order: `.cargo/config.toml` from a directory upwards, then the one in
//! cargo's home; a file's `include`s after it. Where there is a `config` beside a `config.toml`,
//! only that counts. Files that cannot be read are left to cargo, which reports them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burst_protocol::path::normalized;
use burst_sync::regular_file::{self, Links};
use toml::{Table, Value};

/// The names of the configuration in each directory, the one that counts first.
const NAMES: [&str; 2] = ["config", "config.toml"];

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Looks at a file and its content; stops the search if it returns something.
type Look<'a, T> = &'a mut dyn FnMut(&Path, &Table) -> Option<T>;

/// Finds the first file in which `look` finds something. It gets the file's content and the file.
pub(crate) fn first<T>(
    directory: Option<&Path>,
    cargo_home: Option<PathBuf>,
    look: &dyn Fn(&Table, &Path) -> Option<T>,
) -> Option<T> {
    let levels = directory.into_iter().flat_map(levels_above).chain(cargo_home);
    let mut files = Files::new(&|_, _| true);
    levels.into_iter().find_map(|level| files.level(&level, &mut |file, table| look(table, file)))
}

/// The directories of configuration of a directory and of those above it.
pub(crate) fn levels_above(directory: &Path) -> impl Iterator<Item = PathBuf> {
    directory.ancestors().map(|directory| directory.join(".cargo"))
}

/// Reads files, each once.
pub(crate) struct Files<'a> {
    found: BTreeSet<PathBuf>,
    /// Whether a file may include another one.
    may_include: &'a dyn Fn(&Path, &Path) -> bool,
}

impl<'a> Files<'a> {
    /// `may_include`: whether a file may include another one.
    pub(crate) fn new(may_include: &'a dyn Fn(&Path, &Path) -> bool) -> Self {
        Self { found: BTreeSet::new(), may_include }
    }

    /// The files that were found, also those that are no TOML or do not count.
    pub(crate) fn found(self) -> BTreeSet<PathBuf> {
        self.found
    }

    /// Looks in one directory of configuration, which is a `.cargo` or cargo's home.
    pub(crate) fn level<T>(&mut self, level: &Path, look: Look<'_, T>) -> Option<T> {
        let mut files = NAMES.iter().map(|file| level.join(file)).filter(|file| file.is_file());
        let found = files.next().and_then(|file| self.file(&file, look));
        self.found.extend(files.map(|file| normalized(&file)));
        found
    }

    /// Looks in a file, then in those that it includes.
    pub(crate) fn file<T>(&mut self, file: &Path, look: Look<'_, T>) -> Option<T> {
        let file = normalized(file);
        if self.found.contains(&file) {
            return None;
        }
        let text = regular_file::read(&file, BYTES_MAX, Links::Followed).ok()?;
        self.found.insert(file.clone());
        let table: Table = str::from_utf8(&text).ok()?.parse().ok()?;
        look(&file, &table).or_else(|| {
            let directory = file.parent()?;
            let included: Vec<PathBuf> =
                included(&table).map(|path| normalized(&directory.join(path))).collect();
            let mut included =
                included.iter().filter(|included| (self.may_include)(&file, included));
            // The last include has the highest priority.
            included.by_ref().rev().find_map(|included| self.file(included, look))
        })
    }
}

/// The directory that the paths in a file are relative to: the one that has its `.cargo`.
pub(crate) fn base_of(file: &Path) -> &Path {
    file.ancestors().nth(2).unwrap_or(file)
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

/// The words of a value that is a text or a list of words.
pub(crate) fn words_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(split_words(text)),
        Value::Array(words) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// cargo splits such a text at white space and knows no quotes.
pub(crate) fn split_words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_cargos_order_and_each_once() {
        let disk = tempfile::tempdir().unwrap();
        let at = |path: &str| disk.path().join(path);
        for (path, text) in [
            ("a/.cargo/config.toml", "include = ['one.toml', { path = 'two.toml' }]"),
            ("a/.cargo/one.toml", "include = 'config.toml'"),
            ("a/.cargo/two.toml", "include = '../refused.toml'"),
            ("a/refused.toml", ""),
            (".cargo/config", ""),
            (".cargo/config.toml", ""),
            ("home/config.toml", "not toml"),
        ] {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), text).unwrap();
        }
        let mut files = Files::new(&|_, included| !included.ends_with("refused.toml"));
        let mut read = Vec::new();
        for level in levels_above(&at("a")).take(2).chain([at("home")]) {
            let looked = files.level(&level, &mut |file, _| {
                read.push(file.strip_prefix(disk.path()).unwrap().to_owned());
                None::<()>
            });
            assert_eq!(looked, None);
        }
        let shown = |files: &[&str]| files.iter().map(PathBuf::from).collect::<Vec<_>>();
        let expected =
            ["a/.cargo/config.toml", "a/.cargo/two.toml", "a/.cargo/one.toml", ".cargo/config"];
        assert_eq!(read, shown(&expected));
        // Those that do not count are there all the same.
        let all: BTreeSet<PathBuf> = expected
            .iter()
            .chain(&[".cargo/config.toml", "home/config.toml"])
            .map(|file| at(file))
            .collect();
        assert_eq!(files.found(), all);
    }
}
