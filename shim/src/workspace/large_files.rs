//! Large files that git does not track, which are probably no sources. On the first command
//! of a project they are named, and the user is asked whether to exclude them.

use std::collections::HashSet;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::Node;

use crate::atomic_file;
use crate::directories::unusable;
use crate::error::Error;
use crate::settings::PROJECT_FILE;
use crate::terminal::{Answer, Terminal, bytes, can_ask};
use crate::workspace::git_index::Listing;
use crate::workspace::sources::Sources;

/// Files from this size on, in bytes, are asked about.
const LARGE_BYTES: u64 = 10 << 20;

/// The number of files that are named; the others are counted.
const NAMED_MAX: usize = 8;

/// A large file, relative to the workspace root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Large {
    path: RelativePath,
    size: u64,
}

/// Asks about large untracked files. Returns whether excludes were written, so that the
/// tree has to be scanned again.
pub(crate) fn suggest(
    terminal: &Terminal,
    sources: &Sources,
    workspace: &Path,
    yes: bool,
) -> Result<bool, Error> {
    let mut large = large_files(sources);
    if large.is_empty() {
        return Ok(false);
    }
    let tracked: HashSet<RelativePath> =
        Listing::of_tracked(workspace).answer().into_iter().collect();
    large.retain(|file| !tracked.contains(&file.path));
    if large.is_empty() {
        return Ok(false);
    }
    large.sort_by_key(|file| std::cmp::Reverse(file.size));
    let total = bytes(large.iter().map(|file| file.size).sum());
    let named: Vec<String> = large
        .iter()
        .take(NAMED_MAX)
        .map(|file| format!("  {} ({})", file.path.display(), bytes(file.size)))
        .collect();
    let more = match large.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    let list = format!("{}{more}", named.join("\n"));
    let agreed = yes || {
        if !can_ask() {
            terminal.warn(&format!(
                "large files that git does not track are sent ({total}):\n{list}\nadd them to \
                 `extra_excludes` in {PROJECT_FILE} to exclude them"
            ));
            return Ok(false);
        }
        terminal.ask(
            &format!(
                "These files are large and not tracked by git ({total}):\n{list}\n\
                 Exclude them from now on (`extra_excludes` in {PROJECT_FILE})?"
            ),
            Answer::Yes,
        )
    };
    if agreed {
        add_excludes(workspace, &large)?;
        terminal.say(&format!("excluded {total}; see {PROJECT_FILE}"));
    }
    Ok(agreed)
}

fn large_files(sources: &Sources) -> Vec<Large> {
    let mut large = Vec::new();
    sources.tree.visit(&mut |path, node| {
        if let (Node::File(file), Some(below)) = (node, path.below(&sources.project))
            && file.size >= LARGE_BYTES
        {
            large.push(Large { path: below, size: file.size });
        }
    });
    large
}

/// Adds patterns to the project file; the rest of it is kept.
fn add_excludes(workspace: &Path, large: &[Large]) -> Result<(), Error> {
    let path = workspace.join(PROJECT_FILE);
    let failed = |source| unusable("write", &path, &source);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.map_err(failed)?,
    };
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error| failed(std::io::Error::other(format!("{error}"))))?;
    let mut patterns: Vec<String> = match document.get("extra_excludes") {
        Some(toml_edit::Item::Value(toml_edit::Value::Array(array))) => {
            array.iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
        }
        Some(toml_edit::Item::Value(toml_edit::Value::String(one))) => vec![one.value().clone()],
        _ => Vec::new(),
    };
    patterns.extend(large.iter().map(|file| pattern(&file.path)));
    document["extra_excludes"] =
        toml_edit::value(patterns.into_iter().collect::<toml_edit::Array>());
    let write = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        atomic_file::write(&path, document.to_string().as_bytes(), 0o644)
    };
    write().map_err(failed)
}

/// A pattern that matches exactly this path.
fn pattern(path: &RelativePath) -> String {
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    let mut pattern = String::from("/");
    for character in text.chars() {
        match character {
            '*' | '?' | '[' | ']' | '\\' | '!' | '#' => pattern.extend(['\\', character]),
            // Not UTF-8: any one character in its place.
            '\u{fffd}' => pattern.push('?'),
            other => pattern.push(other),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_are_added_and_the_rest_stays() {
        let workspace = tempfile::tempdir().unwrap();
        let file = workspace.path().join(PROJECT_FILE);
        let large =
            |path: &str| vec![Large { path: RelativePath::new(path.as_bytes()).unwrap(), size: 1 }];
        add_excludes(workspace.path(), &large("data/a.bin")).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "extra_excludes = [\"/data/a.bin\"]\n");
        std::fs::write(&file, "# mine\nvolume_gb = 50 # small\nextra_excludes = ['x']\n").unwrap();
        add_excludes(workspace.path(), &large("we[i]rd")).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# mine\nvolume_gb = 50 # small\n"), "{text}");
        assert!(
            text.contains("\"x\"") && text.contains("we\\\\[i\\\\]rd")
                || text.contains("'/we\\[i\\]rd'"),
            "{text}"
        );
    }
}
