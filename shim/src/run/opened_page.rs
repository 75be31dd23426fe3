//! `doc --open`: which page is opened, and by which browser. cargo there decides about the page and
//! says so in its output; the browser is the one that cargo would take here.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::cargo_config::{base_of, first, split_words, words_of};
use crate::environment;

/// The variable that has cargo there open nothing: `true` takes the page and ends.
pub(super) const NO_BROWSER: (&str, &str) = ("CARGO_DOC_BROWSER", "true");

/// Bytes of the longest line that is looked at.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Reads the line in which cargo says what it opens.
#[derive(Debug, Default)]
pub(super) struct OpeningLine {
    line: Vec<u8>,
    page: Option<PathBuf>,
}

impl OpeningLine {
    /// Reads a piece of cargo's output.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.line.len() + piece.len() <= LINE_BYTES_MAX {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                let line = without_escapes(&std::mem::take(&mut self.line));
                if let Some(page) = line.trim_ascii().strip_prefix(b"Opening /") {
                    let page = [b"/", page].concat();
                    self.page = Some(OsString::from_vec(page).into());
                }
            }
        }
    }

    /// The page that cargo has named last, if it is one of the documentation below `target` and
    /// `exists`; where cargo was quiet, the first one of these crates.
    pub(super) fn page(
        &self,
        target: &Path,
        crates: &BTreeSet<String>,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Option<PathBuf> {
        let page_of = |name: &String| target.join("doc").join(name).join("index.html");
        match &self.page {
            Some(named) => {
                Some(named).filter(|page| is_page(page, target) && exists(page)).cloned()
            }
            None => crates.iter().map(page_of).find(|page| exists(page)),
        }
    }
}

/// Whether a path is `doc/CRATE/index.html` or `PLATFORM/doc/CRATE/index.html` below `target`.
fn is_page(path: &Path, target: &Path) -> bool {
    let Ok(below) = path.strip_prefix(target) else { return false };
    let names: Vec<&OsStr> = below.iter().collect();
    if names.contains(&OsStr::new("..")) {
        return false;
    }
    match names.as_slice() {
        [doc, _, index] | [_, doc, _, index] => *doc == "doc" && *index == "index.html",
        _ => false,
    }
}

/// A line without the sequences that colour it or make links of it.
fn without_escapes(line: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != 0x1b {
            kept.push(byte);
            continue;
        }
        match bytes.next() {
            // Up to the letter that ends it.
            Some(b'[') => {
                bytes.find(|byte| (0x40..=0x7e).contains(byte));
            }
            // Up to BEL, or to ESC and a backslash.
            Some(b']') if bytes.find(|byte| matches!(byte, 0x07 | 0x1b)) == Some(0x1b) => {
                bytes.next();
            }
            _ => {}
        }
    }
    kept
}

/// The browser of cargo's configuration, else the one of `BROWSER`, with its arguments; none if
/// the desktop's is to be taken.
pub(super) fn browser(directory: &Path) -> Option<Vec<OsString>> {
    let of_variable = environment::text(NO_BROWSER.0).map(|text| split_words(&text));
    let look = |table: &toml::Table, file: &Path| {
        let words = words_of(table.get("doc")?.get("browser")?)?;
        Some(resolved(words, file))
    };
    let configured =
        of_variable.or_else(|| first(Some(directory), environment::cargo_home(), &look));
    let configured = configured.filter(|words| !words.is_empty());
    configured
        .map(|words| words.into_iter().map(OsString::from).collect())
        .or_else(|| Some(vec![environment::browser()?]))
}

/// A program with directories in its name is relative to the directory that has `.cargo`.
fn resolved(mut words: Vec<String>, file: &Path) -> Vec<String> {
    if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
        *program = base_of(file).join(&*program).to_string_lossy().into_owned();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(output: &[u8], size: usize) -> Option<PathBuf> {
        let mut line = OpeningLine::default();
        output.chunks(size).for_each(|piece| line.push(piece));
        let crates = BTreeSet::from(["none".into(), "own".into(), "zz".into()]);
        let exists = |path: &Path| !path.to_str().unwrap().contains("none");
        line.page(Path::new("/t"), &crates, &exists)
    }

    #[test]
    fn the_page_is_the_one_that_cargo_names() {
        for (output, expected) in [
            ("     Opening /t/doc/zz/index.html\n", Some("/t/doc/zz/index.html")),
            (
                "\x1b[1m\x1b[92m     Opening\x1b[0m \x1b]8;;file:///t\x1b\\/t/doc/zz/index.html\x1b]8;;\x1b\\\n",
                Some("/t/doc/zz/index.html"),
            ),
            ("\x1b[K     Opening /t/doc/aa/index.html\r\n", Some("/t/doc/aa/index.html")),
            ("     Opening /t/x86/doc/aa/index.html\n", Some("/t/x86/doc/aa/index.html")),
            // No pages, or none that are here.
            ("     Opening /etc/passwd\n", None),
            ("     Opening /t/../doc/x/index.html\n", None),
            ("     Opening /t/doc/../index.html\n", None),
            ("     Opening /t/doc/none/index.html\n", None),
            // cargo was quiet.
            ("", Some("/t/doc/own/index.html")),
            (" Documenting own v0.1.0\n", Some("/t/doc/own/index.html")),
        ] {
            for size in [1, 1000] {
                assert_eq!(page(output.as_bytes(), size), expected.map(PathBuf::from), "{output}");
            }
        }
    }

    #[test]
    fn a_browser_with_a_directory_is_relative_to_its_file() {
        let file = Path::new("/w/.cargo/config.toml");
        let words = |text: &str| resolved(split_words(text), file).join(" ");
        assert_eq!(words("tools/show -n"), "/w/tools/show -n");
        assert_eq!(words("/bin/show"), "/bin/show");
        assert_eq!(words("firefox"), "firefox");
    }
}
