//! What must hold at the end of a world, whatever has happened in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::journal::Entry;
use super::program::{ARTIFACT, SHARED, artifact_of, sources};

/// The ending of the other version of a file.
const BESIDE: &str = ".from-burst";

/// Content and mode of each file below a directory, of which these parts are left out.
fn files(root: &Path, without: &[&str]) -> BTreeMap<String, (Vec<u8>, u32)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if without.contains(&name.as_str()) {
                continue;
            }
            let status = path.symlink_metadata().unwrap();
            if status.is_dir() {
                directories.push(path);
            } else {
                let mode = status.permissions().mode() & 0o777;
                found.insert(name, (fs::read(&path).unwrap(), mode));
            }
        }
    }
    found
}

/// Checks the workspace against the agent's copy of it and against the journal, after a command
/// that has succeeded undisturbed. `printed` is standard output.
///
/// # Panics
///
/// If something does not hold.
pub(super) fn check(workspace: &Path, copy: &Path, entries: &[Entry], printed: &str) {
    let (here, there) = (files(workspace, &["target"]), files(copy, &["target"]));
    let names = |files: &BTreeMap<String, (Vec<u8>, u32)>| {
        files.keys().filter(|name| !name.contains(BESIDE)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&here), names(&there), "files here and there");
    for name in names(&here) {
        assert!(here[&name] == there[&name], "`{name}` differs here and there");
    }
    let temporary = |name: &&String| name.split('/').any(|part| part.starts_with(".burst-"));
    assert_eq!(here.keys().find(temporary), None, "a temporary file is left");
    let built = fs::read(workspace.join("target").join(ARTIFACT)).unwrap();
    assert!(built == artifact_of(&sources(workspace)), "the artifact is not of these sources");
    check_edits(&here, entries);
    check_results(&here, entries);
    check_commands(entries, printed);
}

/// The last edit of each source file is there, and runs have only appended to the shared one.
fn check_edits(here: &BTreeMap<String, (Vec<u8>, u32)>, entries: &[Entry]) {
    let mut last = BTreeMap::new();
    for entry in entries {
        if let Entry::Edited { path, content, .. } = entry {
            last.insert(path, content.as_ref());
        }
    }
    for (path, content) in last {
        let found = here.get(path).map(|(bytes, _)| bytes.as_slice());
        let kept = match content {
            Some(content) if path == SHARED => {
                found.is_some_and(|found| found.starts_with(content.as_bytes()))
            }
            content => found == content.map(String::as_bytes),
        };
        assert!(kept, "an edit of `{path}` is lost");
    }
}

/// What a program has written is there, unless the user has replaced it since the command ended
/// well: a version that meets an edit is put beside it.
fn check_results(here: &BTreeMap<String, (Vec<u8>, u32)>, entries: &[Entry]) {
    for (index, entry) in entries.iter().enumerate() {
        let Entry::Left { command, path, content } = entry else { continue };
        let is_done = |entry: &Entry| match entry {
            Entry::Done { command: other, ended } => other == command && ended.is_ok(),
            _ => false,
        };
        let done = entries.iter().position(is_done).unwrap_or(entries.len());
        // What is removed was here.
        let is_removal = |entry: &Entry| matches!(entry, Entry::Edited { path: other, content: None, .. } if other == path);
        let is_edit =
            |entry: &Entry| matches!(entry, Entry::Edited { path: other, .. } if other == path);
        if entries[index..].iter().any(is_removal) || entries[done.max(index)..].iter().any(is_edit)
        {
            continue;
        }
        let versions = here.iter().filter(|(name, _)| name.starts_with(path.as_str()));
        let found = versions
            .filter(|(_, (bytes, _))| String::from_utf8_lossy(bytes).contains(content.as_str()));
        assert!(found.count() > 0, "what {command} has written to `{path}` is lost");
    }
}

/// Each program has run once at most, with sources that were here meanwhile, and each command
/// has ended as its program did, with all of its output.
fn check_commands(entries: &[Entry], printed: &str) {
    let mut ended: BTreeMap<u32, (i32, u32)> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Started { command, sources } => {
                let is_same = |entry: &Entry| matches!(entry, Entry::Started { command: other, .. } if other == command);
                assert_eq!(
                    entries.iter().filter(|entry| is_same(entry)).count(),
                    1,
                    "{command} has run twice"
                );
                let began = Entry::Began { command: *command };
                let began = entries.iter().position(|entry| *entry == began).unwrap();
                let edited = |entry: &Entry| match entry {
                    Entry::Edited { sources, .. } => Some(sources.clone()),
                    _ => None,
                };
                let before = entries[..began].iter().rev().find_map(edited);
                let meanwhile = entries[began..index].iter().filter_map(edited);
                let mut possible = before.into_iter().chain(meanwhile);
                assert!(
                    possible.any(|state| state == *sources),
                    "{command} ran with sources that were not here"
                );
            }
            Entry::Exited { command, code, lines } => {
                let last = ended.insert(*command, (*code, *lines));
                assert_eq!(last, None, "{command} has exited twice");
            }
            Entry::Done { command, ended: Ok(code) } => {
                let (exited, lines) = ended.get(command).copied().unwrap();
                assert_eq!(exited, *code, "the exit code of {command}");
                if is_alone(*command, &entries[..index]) {
                    check_output(*command, lines, printed);
                }
            }
            _ => {}
        }
    }
}

/// Whether no other command was active while this one, which ends behind these entries, was.
/// The output of two can be torn.
fn is_alone(command: u32, before: &[Entry]) -> bool {
    let mut active = 0;
    let mut began = false;
    for entry in before {
        match entry {
            Entry::Began { command: other } => {
                began |= *other == command;
                active += 1;
            }
            Entry::Done { .. } => active -= 1,
            _ => {}
        }
        if began && active != 1 {
            return false;
        }
    }
    true
}

/// So many lines were printed, each once, in order.
fn check_output(command: u32, lines: u32, printed: &str) {
    let token = |line: u32| format!("<{command}:{line}>");
    let places: Vec<Vec<usize>> = (0..=lines)
        .map(|line| printed.match_indices(&token(line)).map(|(place, _)| place).collect())
        .collect();
    let mut counts: Vec<usize> = vec![1; places.len() - 1];
    counts.push(0);
    assert_eq!(places.iter().map(Vec::len).collect::<Vec<_>>(), counts, "output of {command}");
    assert!(places.concat().is_sorted(), "the order of the output of {command}");
}
