//! Large files that git does not track, which are probably no sources. On the first command
//! of a project they are named, and the user is asked whether to exclude them.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::Node;
use toml_edit::{Array, DocumentMut, Item, TomlError, Value, value};

use crate::atomic_file;
use crate::directories::unusable;
use crate::error::{Error, ErrorKind};
use crate::settings::{Content, PROJECT_FILE, TrustStore};
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
    trust: &TrustStore,
    yes: bool,
) -> Result<bool, Error> {
    let large = large_files(sources);
    if large.is_empty() {
        // git is asked only where that matters.
        return Ok(false);
    }
    let tracked = Listing::of_tracked(workspace).answer().into_iter().collect();
    let large = untracked(large, &tracked);
    if large.is_empty() {
        return Ok(false);
    }
    let total = bytes(large.iter().map(|file| file.size).sum());
    let is_agreed = yes || ask(terminal, &large, &total);
    if is_agreed {
        exclude(workspace, trust, &large)?;
        terminal.say(&format!("excluded {total}; see {PROJECT_FILE}"));
    }
    Ok(is_agreed)
}

/// Whether the user agrees to exclude the files; without a terminal, a warning and no.
fn ask(terminal: &Terminal, large: &[Large], total: &str) -> bool {
    let list = list(large);
    if !can_ask() {
        terminal.warn(&format!(
            "large files that git does not track are sent ({total}):\n{list}\nadd them to \
             `extra_excludes` in {PROJECT_FILE} to exclude them"
        ));
        return false;
    }
    let question = format!(
        "These files are large and not tracked by git ({total}):\n{list}\n\
         Exclude them from now on (`extra_excludes` in {PROJECT_FILE})?"
    );
    terminal.ask(&question, Answer::Yes)
}

/// The files as shown, one a line: the first [`NAMED_MAX`] by name, the number of the others.
fn list(large: &[Large]) -> String {
    let mut lines: Vec<String> = large
        .iter()
        .take(NAMED_MAX)
        .map(|file| format!("  {} ({})", file.path.display(), bytes(file.size)))
        .collect();
    if let more @ 1.. = large.len().saturating_sub(NAMED_MAX) {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

/// The large files of the project, in the order of the tree.
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

/// Those that git does not track, the largest first.
fn untracked(mut large: Vec<Large>, tracked: &HashSet<RelativePath>) -> Vec<Large> {
    large.retain(|file| !tracked.contains(&file.path));
    large.sort_by_key(|file| std::cmp::Reverse(file.size));
    large
}

/// Excludes the files in the project file, which is created with its directory if needed and
/// keeps its mode. If the user trusts it, that goes on: only excludes are added.
fn exclude(workspace: &Path, trust: &TrustStore, large: &[Large]) -> Result<(), Error> {
    const NEW_MODE: u32 = 0o644;
    let path = workspace.join(PROJECT_FILE);
    let before = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|source| unusable("read", &path, &source))?,
    };
    let text = with_excludes(&before, large).map_err(|error| {
        let hint = format!("correct `{}`, or move it away", path.display());
        Error::new(ErrorKind::Settings, format!("`{}` is not valid TOML", path.display()), hint)
            .caused_by(&error)
    })?;
    let mode = std::fs::metadata(&path).map_or(NEW_MODE, |found| found.mode() & 0o777);
    let write = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        atomic_file::write(&path, text.as_bytes(), mode)
    };
    write().map_err(|source| unusable("write", &path, &source))?;
    let content = |text: &str| Content::new(workspace, text.as_bytes());
    trust.carry_over(&content(&before), &content(&text))
}

/// The text of a project file with the files added to `extra_excludes`; the rest is kept.
fn with_excludes(text: &str, large: &[Large]) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let mut patterns: Vec<String> = match document.get("extra_excludes") {
        Some(Item::Value(Value::Array(array))) => {
            array.iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
        }
        Some(Item::Value(Value::String(one))) => vec![one.value().clone()],
        _ => Vec::new(),
    };
    patterns.extend(large.iter().map(|file| pattern(&file.path)));
    document["extra_excludes"] = value(patterns.into_iter().collect::<Array>());
    Ok(document.to_string())
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

    fn large(path: &str, size: u64) -> Large {
        Large { path: RelativePath::new(path.as_bytes()).unwrap(), size }
    }

    #[test]
    fn tracked_files_are_left_out_and_the_largest_come_first() {
        let files = vec![large("a", 20 << 20), large("b", 30 << 20), large("c", 40 << 20)];
        let tracked = HashSet::from([large("c", 0).path, large("d", 0).path]);
        assert_eq!(untracked(files, &tracked), [large("b", 30 << 20), large("a", 20 << 20)]);
    }

    #[test]
    fn eight_files_are_named_and_the_others_counted() {
        let files = |count: usize| vec![large("data/a.bin", 12_000_000); count];
        let line = "  data/a.bin (12 MB)";
        assert_eq!(list(&files(1)), line);
        assert_eq!(list(&files(8)), [line; 8].join("\n"));
        assert_eq!(list(&files(10)), format!("{}\n  and 2 more", [line; 8].join("\n")));
    }

    #[test]
    fn excludes_are_added_and_the_rest_stays() {
        let edit = |text: &str, path: &str| with_excludes(text, &[large(path, 1)]).unwrap();
        assert_eq!(edit("", "data/a.bin"), "extra_excludes = [\"/data/a.bin\"]\n");
        assert_eq!(
            edit("# mine\nvolume_gb = 50 # small\nextra_excludes = ['x']\n", "we[i]rd"),
            "# mine\nvolume_gb = 50 # small\nextra_excludes = [\"x\", '/we\\[i\\]rd']\n"
        );
        assert_eq!(edit("extra_excludes = 'x'\n", "a"), "extra_excludes = [\"x\", \"/a\"]\n");
        assert!(with_excludes("extra_excludes = [", &[large("a", 1)]).is_err());
    }

    #[test]
    fn a_project_file_is_created_and_keeps_its_mode_and_trust() {
        use crate::settings::Standing;
        use std::os::unix::fs::PermissionsExt;
        let workspace = tempfile::tempdir().unwrap();
        let file = workspace.path().join(PROJECT_FILE);
        let mode = || std::fs::metadata(&file).unwrap().mode() & 0o777;
        let trust = TrustStore::new(workspace.path().join("trust"), None);
        let exclude = |path: &str| exclude(workspace.path(), &trust, &[large(path, 1)]);
        let standing = || {
            let content = Content::new(workspace.path(), &std::fs::read(&file).unwrap());
            trust.standing(&content, &[]).unwrap()
        };
        exclude("a").unwrap();
        assert_eq!(standing(), Standing::Unknown);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "extra_excludes = [\"/a\"]\n");
        assert_eq!(mode(), 0o644);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        trust.record(&Content::new(workspace.path(), &std::fs::read(&file).unwrap())).unwrap();
        exclude("b").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "extra_excludes = [\"/a\", \"/b\"]\n");
        assert_eq!((mode(), standing()), (0o600, Standing::Recorded));
        std::fs::write(&file, "a = [").unwrap();
        let error = exclude("c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a = [");
    }
}
