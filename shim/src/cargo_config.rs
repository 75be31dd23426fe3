//! cargo's configuration files, as far as single keys of them have to be known here.
//!
//! They are read in cargo's order: `.cargo/config.toml` from a directory upwards, then the one in
//! cargo's home; a file's `include`s after it. Files that cannot be read are left to cargo, which
//! reports them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Finds the first file in which `look` finds something. It gets the file's content and the file.
pub(crate) fn first<T>(
    directory: Option<&Path>,
    cargo_home: Option<PathBuf>,
    look: &dyn Fn(&toml::Table, &Path) -> Option<T>,
) -> Option<T> {
    let above = directory.into_iter().flat_map(Path::ancestors);
    let levels = above.map(|directory| directory.join(".cargo"));
    let mut read = BTreeSet::new();
    levels.chain(cargo_home).find_map(|level| of_level(&level, look, &mut read))
}

/// Looks in one directory of configuration: `config` comes before `config.toml`.
fn of_level<T>(
    level: &Path,
    look: &dyn Fn(&toml::Table, &Path) -> Option<T>,
    read: &mut BTreeSet<PathBuf>,
) -> Option<T> {
    let mut files = ["config", "config.toml"].iter().map(|file| level.join(file));
    files.find(|file| file.is_file()).and_then(|file| of_file(&file, look, read))
}

fn of_file<T>(
    file: &Path,
    look: &dyn Fn(&toml::Table, &Path) -> Option<T>,
    read: &mut BTreeSet<PathBuf>,
) -> Option<T> {
    if !read.insert(file.to_owned()) {
        return None;
    }
    let table: toml::Table = std::fs::read_to_string(file).ok()?.parse().ok()?;
    look(&table, file).or_else(|| {
        let directory = file.parent()?;
        let includes = match table.get("include")? {
            toml::Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        // The last include has the highest priority.
        includes.iter().rev().find_map(|include| {
            let path = include.as_str().or_else(|| include.get("path")?.as_str())?;
            of_file(&directory.join(path), look, read)
        })
    })
}

/// The words of a value that is a text or a list of words.
pub(crate) fn words_of(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(split_words(text)),
        toml::Value::Array(words) => {
            words.iter().map(|word| word.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

/// cargo splits such a text at white space and knows no quotes.
pub(crate) fn split_words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
