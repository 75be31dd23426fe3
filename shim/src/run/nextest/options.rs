//! The options of `cargo test`, and those that nextest has beside them: what each is to nextest,
//! and which words of a command line belong to it. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::cargo_options::is_valued_by_nextest;

/// What an option of `cargo test` is to nextest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InNextest {
    /// It has the same option.
    Same,
    /// It spells the option like this.
    Renamed(&'static str),
    /// It has another way for the same.
    Otherwise,
    /// It has nothing for it.
    Absent,
    /// It has the option, and cargo has not.
    Alone,
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Never,
    /// In the same word or the next one.
    Always,
    /// Only behind `=`.
    Attached,
}

/// An option.
#[derive(Clone, Copy, Debug)]
struct Known {
    names: &'static [&'static str],
    value: Value,
    repeats: bool,
    in_nextest: InNextest,
}

const fn flag(names: &'static [&'static str], in_nextest: InNextest) -> Known {
    Known { names, value: Value::Never, repeats: false, in_nextest }
}

const fn valued(names: &'static [&'static str], in_nextest: InNextest) -> Known {
    Known { names, value: Value::Always, repeats: false, in_nextest }
}

const fn list(names: &'static [&'static str]) -> Known {
    Known { names, value: Value::Always, repeats: true, in_nextest: InNextest::Same }
}

/// The options of `cargo test`, from `cargo test --help` of Rust 1.95.
static OPTIONS: [Known; 43] = [
    flag(&["--quiet", "-q"], InNextest::Otherwise),
    Known { repeats: true, ..flag(&["--verbose", "-v"], InNextest::Renamed("--cargo-verbose")) },
    valued(&["--message-format"], InNextest::Otherwise),
    valued(&["--jobs", "-j"], InNextest::Renamed("--build-jobs")),
    valued(&["--profile"], InNextest::Renamed("--cargo-profile")),
    flag(&["--doc"], InNextest::Absent),
    flag(&["--no-run"], InNextest::Absent),
    valued(&["--lockfile-path"], InNextest::Absent),
    valued(&["--artifact-dir"], InNextest::Absent),
    flag(&["--build-plan"], InNextest::Absent),
    flag(&["--compile-time-deps"], InNextest::Absent),
    flag(&["--no-fail-fast"], InNextest::Same),
    flag(&["--future-incompat-report"], InNextest::Same),
    valued(&["--color"], InNextest::Same),
    list(&["--config"]),
    list(&["-Z"]),
    list(&["--package", "-p"]),
    flag(&["--workspace"], InNextest::Same),
    list(&["--exclude"]),
    flag(&["--all"], InNextest::Same),
    flag(&["--lib"], InNextest::Same),
    flag(&["--bins"], InNextest::Same),
    list(&["--bin"]),
    flag(&["--examples"], InNextest::Same),
    list(&["--example"]),
    flag(&["--tests"], InNextest::Same),
    list(&["--test"]),
    flag(&["--benches"], InNextest::Same),
    list(&["--bench"]),
    flag(&["--all-targets"], InNextest::Same),
    list(&["--features", "-F"]),
    flag(&["--all-features"], InNextest::Same),
    flag(&["--no-default-features"], InNextest::Same),
    flag(&["--release", "-r"], InNextest::Same),
    list(&["--target"]),
    valued(&["--target-dir"], InNextest::Same),
    flag(&["--unit-graph"], InNextest::Same),
    Known { value: Value::Attached, ..flag(&["--timings"], InNextest::Same) },
    valued(&["--manifest-path"], InNextest::Same),
    flag(&["--ignore-rust-version"], InNextest::Same),
    flag(&["--locked"], InNextest::Same),
    flag(&["--offline"], InNextest::Same),
    flag(&["--frozen"], InNextest::Same),
];

/// The options without a value that nextest alone has, from `cargo nextest run --help` of
/// nextest 0.9.143.
const NEXTEST_FLAGS: [&str; 15] = [
    "--no-pager",
    "--cargo-quiet",
    "--cargo-verbose",
    "--ignore-default-filter",
    "--fail-fast",
    "--ff",
    "--nff",
    "--no-capture",
    "--nocapture",
    "--no-output-indent",
    "--hide-progress-bar",
    "--no-input-handler",
    "--extract-overwrite",
    "--persist-extract-tempdir",
    "--override-version-check",
];

/// A part of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An option.
    Option(Given),
    /// A filter.
    Filter(OsString),
    /// A word that is neither cargo's nor nextest's, or an option without its value.
    Wrong(OsString),
}

/// An option that is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// Its long name, or the only one.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) value: Option<OsString>,
    /// What it is to nextest.
    pub(super) in_nextest: InNextest,
    /// Whether it may be given again.
    pub(super) repeats: bool,
    /// Its words, without other options in them.
    pub(super) words: Vec<OsString>,
}

impl Given {
    /// Its value, as bytes; empty if there is none.
    pub(super) fn value_bytes(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default().as_bytes()
    }
}

/// Splits the words before `--`.
pub(super) fn parts(words: &[OsString]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = words;
    while let Some((word, more)) = rest.split_first() {
        rest = more;
        let bytes = word.as_bytes();
        match bytes {
            [b'-', b'-', _, ..] => parts.push(long(word, &mut rest)),
            [b'-', _, ..] => short(word, &mut rest, &mut parts),
            _ => parts.push(Part::Filter(word.clone())),
        }
    }
    parts
}

/// An option with a long name.
fn long(word: &OsString, rest: &mut &[OsString]) -> Part {
    let bytes = word.as_bytes();
    let (name, attached) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
        None => (bytes, None),
    };
    let Some(known) = find(name) else { return Part::Wrong(word.clone()) };
    let mut words = vec![word.clone()];
    let value = match (known.value, attached) {
        (Value::Never, Some(_)) => return Part::Wrong(word.clone()),
        (Value::Always, None) => match next_value(rest) {
            Some(value) => {
                words.push(value.clone());
                Some(value)
            }
            None => return Part::Wrong(word.clone()),
        },
        (_, attached) => attached,
    };
    Part::Option(known.given(value, words))
}

/// The options of a word such as `-r`, `-rq` or `-pNAME`.
fn short(word: &OsString, rest: &mut &[OsString], parts: &mut Vec<Part>) {
    let bytes = word.as_bytes();
    for at in 1..bytes.len() {
        let name = [b'-', bytes[at]];
        let Some(known) = find(&name) else {
            parts.push(Part::Wrong(word.clone()));
            return;
        };
        let name = OsStr::from_bytes(&name).to_owned();
        if known.value == Value::Never {
            parts.push(Part::Option(known.given(None, vec![name])));
            continue;
        }
        let attached = &bytes[at + 1..];
        let attached = attached.strip_prefix(b"=").unwrap_or(attached);
        let value = match attached {
            [] => next_value(rest),
            attached => Some(OsStr::from_bytes(attached).to_owned()),
        };
        parts.push(match value {
            Some(value) => Part::Option(known.given(Some(value.clone()), vec![name, value])),
            None => Part::Wrong(word.clone()),
        });
        return;
    }
}

/// Takes the next word, if it can be a value.
fn next_value(rest: &mut &[OsString]) -> Option<OsString> {
    let (value, more) = rest.split_first()?;
    if value.as_bytes().starts_with(b"-") {
        return None;
    }
    *rest = more;
    Some(value.clone())
}

fn find(name: &[u8]) -> Option<Known> {
    let is_named = |known: &&Known| known.names.iter().any(|other| other.as_bytes() == name);
    if let Some(known) = OPTIONS.iter().find(is_named) {
        return Some(*known);
    }
    // The name itself does not matter: nextest takes the words as they are.
    let alone = |value| Known { names: &[""], value, repeats: true, in_nextest: InNextest::Alone };
    if NEXTEST_FLAGS.iter().any(|flag| flag.as_bytes() == name) {
        return Some(alone(Value::Never));
    }
    is_valued_by_nextest(OsStr::from_bytes(name)).then(|| alone(Value::Always))
}

impl Known {
    fn given(self, value: Option<OsString>, words: Vec<OsString>) -> Given {
        let Self { names, repeats, in_nextest, .. } = self;
        Given { name: names[0], value, in_nextest, repeats, words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names, values and words of the parts of a line.
    fn shown(line: &str) -> String {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let shown = |part: Part| match part {
            Part::Option(given) => match given.value {
                Some(value) => format!("{}={}", given.name, value.display()),
                None => given.name.to_owned(),
            },
            Part::Filter(word) => format!("({})", word.display()),
            Part::Wrong(word) => format!("!{}", word.display()),
        };
        parts(&words).into_iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_are_found_in_every_spelling() {
        for (line, expected) in [
            ("-p a -pb -p=c --package=d", "--package=a --package=b --package=c --package=d"),
            ("-rq x", "--release --quiet (x)"),
            ("-rj4", "--release --jobs=4"),
            ("-vv -v", "--verbose --verbose --verbose"),
            ("--timings a --timings=html", "--timings (a) --timings=html"),
            ("--bin --release", "!--bin --release"),
            ("--features", "!--features"),
            ("--release=1 --bogus -x -rx", "!--release=1 !--bogus !-x --release !-rx"),
            ("-E a --retries 2 --ff", "=a =2 "),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn words_are_those_that_were_typed() {
        let words = ["-rpa".into(), "--jobs=2".into(), "-F".into(), "x".into()];
        let words = parts(&words).into_iter().map(|part| match part {
            Part::Option(given) => given.words.join(OsStr::new(" ")),
            other => panic!("{other:?}"),
        });
        assert_eq!(words.collect::<Vec<_>>(), ["-r", "-p a", "--jobs=2", "-F x"]);
    }
}
