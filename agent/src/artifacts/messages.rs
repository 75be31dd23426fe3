//! cargo's JSON messages, read along while its standard output is passed on.
//!
//! They name what a tool that has asked for them opens next: programs, also those of tests,
//! dynamic libraries, proc macros among them, and the directories of build scripts. Libraries
//! for rustc (`.rlib`, `.rmeta`) are not collected: only a compiler opens them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burst_protocol::message::JsonMessages;
use serde::Deserialize;

/// Bytes of the longest line that is parsed as a message. Longer ones pass unparsed.
const LINE_BYTES_MAX: usize = 32 << 20;

/// How each message of cargo begins.
const BEGINNING: &[u8] = b"{\"reason\":";

/// What messages have named, as cargo names it: in absolute paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Programs and dynamic libraries.
    pub(super) files: BTreeSet<PathBuf>,
    /// The output directories of build scripts.
    pub(super) directories: BTreeSet<PathBuf>,
}

impl Named {
    /// Adds what other messages have named.
    pub(crate) fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.directories.extend(other.directories);
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
                self.named.files.extend(opened.chain(executable));
            }
            Some(Message::BuildScriptExecuted { out_dir }) => {
                self.named.directories.insert(out_dir);
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
            let Named { files, directories } = reader.finish();
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
    fn where_no_messages_were_requested_none_are_read() {
        let mut reader = MessageReader::new(JsonMessages::Absent);
        reader.push(b"{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/a\"]}\n");
        assert_eq!(reader.finish(), Named::default());
    }
}
