//! Whether cargo's configuration has packages come from where only this machine can download
//! them. Pure.

use toml::{Table, Value};

use super::configuration::patches;

/// The keys of a source that is a directory on this machine, and part of the workspace.
const LOCAL: [&str; 2] = ["directory", "local-registry"];

/// The keys of a patch that comes from a git repository or a named registry.
const OTHER_SOURCES: [&str; 3] = ["git", "registry", "registry-index"];

/// Whether the text of a configuration replaces a source by one that it does not define as a
/// directory, or patches a package from a git repository or a registry.
pub(super) fn configures_sources(text: &[u8]) -> bool {
    let has = |word: &[u8]| text.windows(word.len()).any(|found| found == word);
    if !has(b"replace-with") && !has(b"patch") {
        return false;
    }
    // cargo reads no other text either.
    let Ok(configuration) = String::from_utf8_lossy(text).parse::<Table>() else { return false };
    let sources = configuration.get("source").and_then(Value::as_table);
    let is_local = |name: &str| {
        let source = sources.and_then(|sources| sources.get(name));
        source.is_some_and(|source| LOCAL.iter().any(|key| source.get(key).is_some()))
    };
    let mut replacements = sources.into_iter().flat_map(Table::values).filter_map(|source| {
        let name = source.get("replace-with")?;
        Some(name.as_str().unwrap_or_default())
    });
    replacements.any(|name| !is_local(name)) || patches(&configuration).any(is_of_other_source)
}

/// Whether a patch comes from a git repository or a named registry.
pub(super) fn is_of_other_source(patch: &Value) -> bool {
    OTHER_SOURCES.iter().any(|key| patch.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_patches_from_elsewhere_count_and_directories_do_not() {
        for (text, expected) in [
            ("[source.crates-io]\nreplace-with = 'mirror'\n", true),
            (
                "[source.crates-io]\nreplace-with = 'm'\n[source.m]\nregistry = 'sparse+https://m/'\n",
                true,
            ),
            (
                "[source.crates-io]\nreplace-with = 'v'\n[source.'git+https://a']\ngit = 'https://a'\n\
                 replace-with = 'v'\n[source.v]\ndirectory = 'vendor'\n",
                false,
            ),
            ("[source.crates-io]\nreplace-with = 'l'\n[source.l]\nlocal-registry = 'l'\n", false),
            ("[patch.crates-io]\na = { git = 'https://a' }\n", true),
            ("[patch.crates-io]\na = { version = '1', registry = 'r' }\n", true),
            ("[patch.crates-io]\na = { path = 'a' }\n", false),
            ("[registries.r]\nindex = 'sparse+https://r/'\n", false),
            ("# replace-with\n[build]\njobs = 2\n", false),
            ("[source\nreplace-with = 'mirror'\n", false),
        ] {
            assert_eq!(configures_sources(text.as_bytes()), expected, "{text}");
        }
    }
}
