//! The files of the target directory that a run offers to its client.
//!
//! cargo names its artifacts in JSON messages on standard output, which [`JsonLines`]
//! separates from the rest of the stream. The final ones are offered: programs, examples,
//! dynamic and static libraries, each with its `.d` file. The directories `criterion`,
//! `cargo-timings` and `doc` are offered as a whole if the request asks for them.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::RelativePath;
use burst_protocol::message::{Artifact, JsonMessages, Returns};
use burst_protocol::path::normalized;
use burst_protocol::tree::Node;
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::{AllBut, add_paths, scan};
use burst_sync::stat_cache::StatCache;
use burst_sync::tally::Tally;
use serde::Deserialize;

use crate::error::AgentError;

/// Bytes of the longest line that is parsed as a message. Longer ones pass unparsed.
const LINE_BYTES_MAX: usize = 32 << 20;

/// Separates cargo's messages from the rest of its standard output.
#[derive(Debug)]
pub(crate) struct JsonLines {
    mode: JsonMessages,
    line: Vec<u8>,
    /// The final artifacts that messages have named.
    pub(crate) named: BTreeSet<PathBuf>,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

impl JsonLines {
    /// For a stream whose messages are treated in this way.
    pub(crate) const fn new(mode: JsonMessages) -> Self {
        Self { mode, line: Vec::new(), named: BTreeSet::new() }
    }

    /// Processes output of cargo; returns the part that the client shows.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.mode == JsonMessages::Absent {
            return bytes;
        }
        let mut shown = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() > LINE_BYTES_MAX {
                self.end_line(&mut shown);
            } else if self.mode == JsonMessages::Hidden
                && !b"{\"reason\":".starts_with(&self.line[..self.line.len().min(10)])
            {
                // No message begins like this, so the line need not be complete.
                shown.append(&mut self.line);
            }
        }
        if self.mode == JsonMessages::Shown {
            return bytes;
        }
        shown
    }

    /// Processes an incomplete last line at the end of the stream.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        if !self.line.is_empty() {
            self.end_line(&mut shown);
        }
        if self.mode == JsonMessages::Shown { Vec::new() } else { shown }
    }

    fn end_line(&mut self, shown: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        let message = line
            .starts_with(b"{\"reason\":")
            .then(|| serde_json::from_slice::<Message>(&line).ok())
            .flatten();
        match message {
            Some(message) => self.note(message),
            None => shown.extend(line),
        }
    }

    fn note(&mut self, message: Message) {
        if message.reason != "compiler-artifact" {
            return;
        }
        const FINAL: [&str; 5] = ["bin", "example", "cdylib", "staticlib", "dylib"];
        let kinds = message.target.map(|target| target.kind).unwrap_or_default();
        if kinds.iter().any(|kind| FINAL.contains(&kind.as_str())) {
            self.named.extend(message.filenames.into_iter().filter(|path| is_final(path)));
        }
    }
}

/// Whether a named file lies where cargo puts final artifacts, outside of `deps/` and, in the
/// layout by unit, of `build/PACKAGE/HASH/out/`, and is of a kind that users run or link.
fn is_final(path: &Path) -> bool {
    let is_named = |level: usize, expected: &str| {
        let name = path.ancestors().nth(level).and_then(Path::file_name);
        name.is_some_and(|name| name == expected)
    };
    let hidden = is_named(1, "deps") || is_named(1, "out") && is_named(4, "build");
    let inner = path.extension().is_some_and(|end| end == "rlib" || end == "rmeta");
    !hidden && !inner
}

/// The files that are offered of a target directory: the `named` ones, whose paths begin
/// with `seen_at`, where cargo saw the directory, and those of the requested directories.
pub(crate) fn collect(
    target: &Path,
    seen_at: &Path,
    named: &BTreeSet<PathBuf>,
    returns: Returns,
    cache: &mut StatCache,
) -> Result<Vec<Artifact>, AgentError> {
    let handle = open_target(target, seen_at)?;
    let now = Moment::coarse_now();
    let mut tree = burst_protocol::tree::Directory::new();
    if returns.artifacts {
        let paths: BTreeSet<RelativePath> = named
            .iter()
            // cargo writes the target directory as the user named it.
            .map(|path| normalized(path))
            .filter_map(|path| Some(path.strip_prefix(seen_at).ok()?.to_owned()))
            .flat_map(|path| [path.with_extension("d"), path])
            .filter_map(|path| RelativePath::new(path.as_os_str().as_bytes()).ok())
            .collect();
        add_paths(&handle, None, &paths, cache, now, &mut tree)?;
    }
    let mut artifacts = Vec::new();
    tree.visit(&mut |path, node| {
        if let Node::File(file) = node {
            artifacts.push(Artifact { path: path.clone(), file: *file });
        }
    });
    let directories = [
        (returns.criterion, "criterion"),
        (returns.timings, "cargo-timings"),
        (returns.docs, "doc"),
    ];
    for (wanted, name) in directories {
        if wanted {
            add_directories(&handle, name, cache, now, &mut artifacts)?;
        }
    }
    Ok(artifacts)
}

/// Opens a target directory, which is seen at another path. Builds write to it, and may have
/// put links anywhere below it and in its place: none is followed.
pub(crate) fn open_target(target: &Path, seen_at: &Path) -> Result<RootDirectory, AgentError> {
    let unusable = |source| SyncError::Root { path: seen_at.to_owned(), source };
    let name = target.file_name().map(|name| RelativePath::new(name.as_bytes()));
    let (Some(parent), Some(Ok(name))) = (target.parent(), name) else {
        return Err(unusable(std::io::ErrorKind::InvalidInput.into()).into());
    };
    let opened = RootDirectory::open(parent)?.subdirectory_as(&name, seen_at);
    Ok(opened.map_err(unusable)?)
}

/// Adds the files below `NAME/` and, for cross builds, below `TRIPLE/NAME/`.
fn add_directories(
    target: &RootDirectory,
    name: &str,
    cache: &mut StatCache,
    now: Moment,
    artifacts: &mut Vec<Artifact>,
) -> Result<(), AgentError> {
    let Ok(name) = RelativePath::new(name.as_bytes()) else { return Ok(()) };
    let triples = target
        .directories()
        .map_err(|source| SyncError::Root { path: target.absolute(&name), source })?;
    let below = triples.iter().filter_map(|triple| triple.join_path(&name).ok());
    for place in std::iter::once(name.clone()).chain(below) {
        // There is none, or a link in its place.
        let Ok(directory) = target.subdirectory(&place) else { continue };
        let found =
            scan(&directory, Some(&place), &AllBut::default(), cache, now, &Tally::default())?;
        found.tree.visit(&mut |path, node| {
            if let (Node::File(file), Ok(path)) = (node, place.join_path(path)) {
                artifacts.push(Artifact { path, file: *file });
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIN: &[u8] = br#"{"reason":"compiler-artifact","target":{"kind":["bin"]},"filenames":["/t/debug/app"],"executable":"/t/debug/app","fresh":true}
"#;
    const LIB: &[u8] = br#"{"reason":"compiler-artifact","target":{"kind":["lib","cdylib"]},"filenames":["/t/debug/libx.rlib","/t/debug/libx.so","/t/debug/deps/libx.rmeta"]}
"#;

    #[test]
    fn only_final_artifacts_are_named() {
        for path in ["/t/debug/app", "/t/out/app", "/t/debug/examples/show", "/t/debug/libx.so"] {
            assert!(is_final(Path::new(path)), "{path}");
        }
        for path in [
            "/t/debug/deps/app-0123456789abcdef",
            "/t/debug/build/app/0123456789abcdef/out/app-0123456789abcdef",
            "/t/debug/libx.rlib",
        ] {
            assert!(!is_final(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn messages_are_removed_and_other_output_stays() {
        let mut lines = JsonLines::new(JsonMessages::Hidden);
        let mut all = b"hello\n".to_vec();
        all.extend(BIN);
        all.extend(b"{\"not\": ours}\n");
        all.extend(LIB);
        all.extend(b"tail");
        let mut shown = Vec::new();
        for byte in all {
            shown.extend(lines.push(vec![byte]));
        }
        shown.extend(lines.finish());
        assert_eq!(String::from_utf8(shown).unwrap(), "hello\n{\"not\": ours}\ntail");
        let named: Vec<_> = lines.named.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(named, ["/t/debug/app", "/t/debug/libx.so"]);
    }

    #[test]
    fn requested_messages_are_shown() {
        let mut lines = JsonLines::new(JsonMessages::Shown);
        assert_eq!(lines.push(BIN.to_vec()), BIN);
        assert_eq!(lines.named.len(), 1);
    }

    #[test]
    fn nothing_behind_a_link_is_listed() {
        let disk = tempfile::tempdir().unwrap();
        let path = |name: &str| disk.path().join(name);
        for name in ["other/criterion", "target/triple/criterion", "target/debug"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        for file in ["other/criterion/secret", "target/triple/criterion/mine"] {
            std::fs::write(path(file), "x").unwrap();
        }
        std::os::unix::fs::symlink(path("other/criterion"), path("target/criterion")).unwrap();
        std::os::unix::fs::symlink(path("other"), path("target/linked")).unwrap();
        std::os::unix::fs::symlink(path("other/criterion/secret"), path("target/debug/app"))
            .unwrap();
        std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
        let returns = Returns { artifacts: true, criterion: true, ..Returns::default() };
        let named = BTreeSet::from([PathBuf::from("/t/debug/app")]);
        let list = |target: &str| {
            let cache = &mut StatCache::default();
            collect(&path(target), Path::new("/t"), &named, returns, cache)
        };
        let found: Vec<_> = list("target").unwrap();
        let found: Vec<_> = found.iter().map(|artifact| artifact.path.as_bytes()).collect();
        assert_eq!(found, [b"triple/criterion/mine"]);
        assert!(list("link").is_err());
    }
}
