//! cargo's JSON messages, read along while its standard output is passed on.
//!
//! They name what a tool that has asked for them opens next: programs, also those of tests,
//! dynamic libraries, proc macros among them, and the directories of build scripts. Libraries
//! for rustc (`.rlib`, `.rmeta`) are not collected: only a compiler opens them.
//!
//! A program under `cargo run` can print such lines, too, and without end. So lines and the sum
//! of what they name are capped. cargo's own come first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burst_protocol::message::JsonMessages;
use serde::Deserialize;

/// Bytes of the longest line that is parsed as a message. Longer ones pass unparsed: those of
/// cargo that name files have a few thousand. A parsed line takes up to 20 times the memory.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The largest sum of the costs of all paths that are named: their bytes and [`PATH_COST`] for
/// each. Enough for about 70,000 files.
const NAMED_COST_MAX: usize = 16 << 20;

/// What a path takes in memory beside its bytes.
const PATH_COST: usize = 128;

/// How each message of cargo begins.
const BEGINNING: &[u8] = b"{\"reason\":";

/// What messages have named, as cargo names it: in absolute paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Programs and dynamic libraries.
    pub(super) files: BTreeSet<PathBuf>,
    /// The output directories of build scripts.
    pub(super) directories: BTreeSet<PathBuf>,
    /// The sum of the costs of both.
    cost: usize,
    /// Whether something was left out.
    is_cut: bool,
}

impl Named {
    /// Adds what other messages have named.
    pub(crate) fn extend(&mut self, other: Self) {
        other.files.into_iter().for_each(|path| self.add_file(path));
        other.directories.into_iter().for_each(|path| self.add_directory(path));
    }

    fn add_file(&mut self, path: PathBuf) {
        if self.pays_for(&path, self.files.contains(&path)) {
            self.files.insert(path);
        }
    }

    fn add_directory(&mut self, path: PathBuf) {
        if self.pays_for(&path, self.directories.contains(&path)) {
            self.directories.insert(path);
        }
    }

    /// Whether a path is new and there is room for it, which is taken then.
    fn pays_for(&mut self, path: &Path, is_known: bool) -> bool {
        let cost = self.cost + PATH_COST + path.as_os_str().len();
        let has_room = cost <= NAMED_COST_MAX;
        if !is_known && !has_room && !std::mem::replace(&mut self.is_cut, true) {
            tracing::info!("messages name too many files: the others are not offered");
        }
        let pays = !is_known && has_room;
        if pays {
            self.cost = cost;
        }
        pays
    }
}

/// Reads the messages in a standard output.
#[derive(Debug)]
pub(crate) struct MessageReader {
    mode: JsonMessages,
    line: Vec<u8>,
    /// Whether the rest of a line is skipped, which is too long or no message.
    skips: bool,
    /// What the messages have named.
    pub(crate) named: Named,
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        #[serde(default)]
        filenames: Vec<PathBuf>,
        #[serde(default)]
        executable: Option<PathBuf>,
    },
    BuildScriptExecuted {
        out_dir: PathBuf,
    },
    #[serde(other)]
    Other,
}

impl MessageReader {
    /// For a stream that has messages or not.
    pub(crate) fn new(mode: JsonMessages) -> Self {
        Self { mode, line: Vec::new(), skips: false, named: Named::default() }
    }

    /// Reads a piece of the output.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.mode == JsonMessages::Absent {
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.skips {
                self.line.extend_from_slice(piece);
                let begun = self.line.len().min(BEGINNING.len());
                self.skips =
                    self.line.len() > LINE_BYTES_MAX || !self.line.starts_with(&BEGINNING[..begun]);
            }
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    /// Reads an incomplete last line at the end of the stream.
    pub(crate) fn finish(mut self) -> Named {
        self.end_line();
        self.named
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let skips = std::mem::take(&mut self.skips);
        let message = (!skips).then(|| serde_json::from_slice(&line).ok()).flatten();
        match message {
            Some(Message::CompilerArtifact { filenames, executable }) => {
                let opened = filenames.into_iter().filter(|path| !is_for_rustc(path));
                opened.chain(executable).for_each(|path| self.named.add_file(path));
            }
            Some(Message::BuildScriptExecuted { out_dir }) => {
                self.named.add_directory(out_dir);
            }
            Some(Message::Other) | None => {}
        }
    }
}

/// Whether only a compiler opens a file.
fn is_for_rustc(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "rlib" || end == "rmeta")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_tools_open() {
        let output = br#"hello
{"reason":"compiler-artifact","target":{"kind":["bin"]},"filenames":["/t/debug/app"],"executable":"/t/debug/app","fresh":true}
{"reason":"compiler-artifact","filenames":["/t/debug/deps/t-0123456789abcdef"],"executable":"/t/debug/deps/t-0123456789abcdef"}
{"reason":"compiler-artifact","filenames":["/t/debug/libx.rlib","/t/debug/deps/libm-1.so","/t/debug/deps/libx.rmeta"],"executable":null}
{"reason":"build-script-executed","package_id":"x","out_dir":"/t/debug/build/x-1/out"}
{"reason":"build-finished","success":true}
 {"reason":"compiler-artifact","filenames":["/no"]}
{"not": ours}
{"reason":"compiler-artifact","filenames":["/t/last"]}"#;
        // In pieces of every size.
        for size in [1, 7, output.len()] {
            let mut reader = MessageReader::new(JsonMessages::Shown);
            output.chunks(size).for_each(|piece| reader.push(piece));
            let Named { files, directories, .. } = reader.finish();
            let shown = |paths: &BTreeSet<PathBuf>| {
                paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
            };
            let expected = [
                "/t/debug/app",
                "/t/debug/deps/libm-1.so",
                "/t/debug/deps/t-0123456789abcdef",
                "/t/last",
            ];
            assert_eq!(shown(&files), expected);
            assert_eq!(shown(&directories), ["/t/debug/build/x-1/out"]);
        }
    }

    #[test]
    fn a_program_that_names_files_without_end_fills_no_memory() {
        let paths_max = NAMED_COST_MAX / (PATH_COST + 1024);
        let path = |number: usize| PathBuf::from(format!("/{number:-<1023}"));
        let mut reader = MessageReader::new(JsonMessages::Shown);
        for number in 0..paths_max {
            reader.named.add_file(path(number));
            // What is known costs nothing.
            reader.named.add_file(path(number));
        }
        assert_eq!((reader.named.files.len(), reader.named.is_cut), (paths_max, false));
        for (reason, name) in
            [("compiler-artifact", "executable"), ("build-script-executed", "out_dir")]
        {
            let path = path(paths_max);
            let line = format!("{{\"reason\":\"{reason}\",\"{name}\":\"{}\"}}\n", path.display());
            reader.push(line.as_bytes());
        }
        let named = reader.finish();
        let sizes = (named.files.len(), named.directories.len(), named.is_cut);
        assert_eq!(sizes, (paths_max, 0, true));
        let mut all = Named::default();
        all.add_file(path(paths_max));
        all.extend(named);
        assert_eq!((all.files.len(), all.is_cut), (paths_max, true));
        assert!(all.files.contains(&path(paths_max)));
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept() {
        let mut reader = MessageReader::new(JsonMessages::Shown);
        reader.push(b"{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/a\"");
        for _ in 0..=LINE_BYTES_MAX / 1024 {
            reader.push(&[b' '; 1024]);
        }
        assert!(reader.line.len() <= LINE_BYTES_MAX + 1024);
        reader.push(b"]}\n{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/b\"]}\n");
        assert_eq!(reader.finish().files, [PathBuf::from("/t/b")].into());
    }

    #[test]
    fn where_no_messages_were_requested_none_are_read() {
        let mut reader = MessageReader::new(JsonMessages::Absent);
        reader.push(b"{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/a\"]}\n");
        assert_eq!(reader.finish(), Named::default());
    }
}
