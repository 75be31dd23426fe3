//! Which of nextest and `cargo test` carries out the arguments of `cargo test`, and with which
//! words. Pure.
//!
//! cargo's meaning of an option wins: what nextest spells otherwise is translated. What it
//! lacks makes `cargo test` run, of which the user is told. A command line that cargo refuses
//! goes to `cargo test`, too, so that the error is cargo's. Only an option that nextest alone
//! has decides for nextest, whatever else is given.
//!
//! Translations are variables, or stand behind the user's words, so that no message of nextest
//! shows an option that was not typed.

mod options;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use self::options::{Given, InNextest, Part, parts};
use crate::cargo_options::{before_dashes, behind_dashes};

/// What runs the tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TestRunner {
    /// nextest, and `cargo test` for the documentation tests.
    Nextest(NextestWords),
    /// `cargo test`, with the words that were typed.
    CargoTest {
        /// Why, if the user is to be told.
        reason: Option<String>,
    },
}

/// The arguments of `cargo test`, translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NextestWords {
    /// The arguments of `cargo nextest run`.
    pub(super) arguments: Vec<OsString>,
    /// The variables that nextest reads.
    pub(super) variables: Vec<(&'static str, String)>,
    /// The arguments of `cargo test` for the documentation tests.
    pub(super) documentation: Vec<OsString>,
}

/// Why nextest does not run the tests.
#[derive(Debug)]
enum Unfit {
    /// It lacks this.
    Lacks(String),
    /// The target of this name has a harness of its own.
    OwnHarness(String),
    /// cargo refuses the command line, or runs no tests that nextest knows.
    ForCargo,
}

/// Chooses what runs the tests. `own_harness` is a selected target that has a harness of its own,
/// of which nextest may not be able to list the tests.
pub(super) fn test_runner(arguments: &[OsString], own_harness: Option<&str>) -> TestRunner {
    let parts = parts(before_dashes(arguments));
    let harness = Harness::read(behind_dashes(arguments));
    let is_alone = parts.iter().any(|part| match part {
        Part::Option(given) => is_alone(given),
        _ => false,
    });
    let unfit = match is_alone {
        // nextest reports what is wrong.
        true => names_doc(&parts).then_some(Unfit::ForCargo),
        false => unfit(&parts, &harness)
            .or_else(|| own_harness.map(|target| Unfit::OwnHarness(target.to_owned()))),
    };
    let reason = match unfit {
        None => return TestRunner::Nextest(translated(&parts, &harness)),
        Some(Unfit::Lacks(option)) => Some(format!("nextest does not have `{option}`")),
        Some(Unfit::OwnHarness(target)) => {
            Some(format!("`{target}` has `harness = false`, and nextest may not know its tests"))
        }
        Some(Unfit::ForCargo) => None,
    };
    TestRunner::CargoTest { reason }
}

/// Whether nextest alone has an option, or its value.
fn is_alone(given: &Given) -> bool {
    given.in_nextest == InNextest::Alone
        || given.name == "--message-format" && given.value_bytes().starts_with(b"libtest")
}

fn names_doc(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(part, Part::Option(given) if given.name == "--doc"))
}

/// Why nextest does not fit a command line of `cargo test`; `None` if it does.
fn unfit(parts: &[Part], harness: &Harness) -> Option<Unfit> {
    let mut seen: Vec<&str> = Vec::new();
    let mut has_filter = false;
    for part in parts {
        let given = match part {
            Part::Option(given) => given,
            Part::Filter(_) if !std::mem::replace(&mut has_filter, true) => continue,
            // cargo takes one filter.
            Part::Filter(_) | Part::Wrong(_) => return Some(Unfit::ForCargo),
        };
        if !given.repeats && seen.contains(&given.name) || !has_possible_value(given) {
            return Some(Unfit::ForCargo);
        }
        seen.push(given.name);
        match (given.in_nextest, given.name) {
            (InNextest::Absent, "--doc" | "--no-run") => return Some(Unfit::ForCargo),
            (InNextest::Absent, name) => return Some(Unfit::Lacks(name.to_owned())),
            // To nextest that is another word for `human`.
            (_, "--message-format") if given.value_bytes() == b"short" => {
                return Some(Unfit::Lacks("--message-format short".to_owned()));
            }
            _ => {}
        }
    }
    if ["--release", "--profile"].iter().all(|name| seen.contains(name)) {
        return Some(Unfit::ForCargo);
    }
    harness.lacking.clone().map(Unfit::Lacks)
}

/// Whether cargo accepts a value that nextest would report under another option's name.
fn has_possible_value(given: &Given) -> bool {
    let value = given.value_bytes();
    match given.name {
        "--jobs" => value == b"default" || str::from_utf8(value).is_ok_and(is_positive),
        "--message-format" => value.split(|byte| *byte == b',').all(|format| {
            [
                b"human".as_slice(),
                b"short",
                b"json",
                b"json-diagnostic-short",
                b"json-diagnostic-rendered-ansi",
                b"json-render-diagnostics",
            ]
            .contains(&format)
        }),
        _ => true,
    }
}

fn is_positive(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number > 0)
}

/// The arguments of the test harness, which stand behind `--`.
#[derive(Debug, Default)]
struct Harness {
    /// As they were typed.
    typed: Vec<OsString>,
    /// Those that nextest has.
    kept: Vec<OsString>,
    /// The variables for others.
    variables: Vec<(&'static str, String)>,
    is_exact: bool,
    is_quiet: bool,
    /// The first one that nextest has nothing for.
    lacking: Option<String>,
}

impl Harness {
    fn read(words: &[OsString]) -> Self {
        const KEPT: [&str; 4] = ["--ignored", "--include-ignored", "--nocapture", "--no-capture"];
        let mut read = Self { typed: words.to_vec(), ..Self::default() };
        let mut skips = false;
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let text = word.to_string_lossy();
            let (name, attached) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text.as_ref(), None),
            };
            match name {
                "--test-threads" => {
                    let value = attached.or_else(|| Some(rest.next()?.to_str()?.to_owned()));
                    match value.filter(|value| is_positive(value)) {
                        Some(value) => read.variables.push(("NEXTEST_TEST_THREADS", value)),
                        None => read.lack(&text),
                    }
                    continue;
                }
                "--show-output" => {
                    read.variables.push(("NEXTEST_SUCCESS_OUTPUT", "immediate".to_owned()));
                    continue;
                }
                "-q" | "--quiet" => {
                    read.is_quiet = true;
                    continue;
                }
                "--exact" => read.is_exact = true,
                "--skip" => skips = true,
                name if name.starts_with('-') && !KEPT.contains(&name) => read.lack(&text),
                _ => {}
            }
            read.kept.push(word.clone());
            if text == "--skip" {
                read.kept.extend(rest.next().cloned());
            }
        }
        if skips && read.is_exact {
            // nextest skips nothing then.
            read.lack("--skip with --exact");
        }
        read
    }

    fn lack(&mut self, option: &str) {
        self.lacking.get_or_insert_with(|| option.to_owned());
    }
}

/// The words for nextest and for the documentation tests.
fn translated(parts: &[Part], harness: &Harness) -> NextestWords {
    let mut words = NextestWords { variables: harness.variables.clone(), ..Default::default() };
    let (mut renamed, mut filters) = (Vec::new(), Vec::new());
    let mut is_quiet = harness.is_quiet;
    for part in parts {
        match part {
            Part::Option(given) => {
                is_quiet |= given.name == "--quiet";
                match in_nextest(given) {
                    Some(other) => renamed.extend(other),
                    None => words.arguments.extend(given.words.iter().cloned()),
                }
                words.documentation.extend(in_cargo_test(given));
            }
            Part::Filter(word) => {
                if !harness.is_exact {
                    words.arguments.push(word.clone());
                }
                filters.push(word.clone());
            }
            Part::Wrong(word) => words.arguments.push(word.clone()),
        }
    }
    if is_quiet {
        words.variables.push(("NEXTEST_STATUS_LEVEL", "fail".to_owned()));
        words.variables.push(("NEXTEST_SHOW_PROGRESS", "none".to_owned()));
    }
    words.arguments.append(&mut renamed);
    // To nextest, `--exact` concerns only the filters behind the dashes.
    let moved = if harness.is_exact { filters.as_slice() } else { &[] };
    push_behind_dashes(&mut words.arguments, moved, &harness.kept);
    words.documentation.push("--doc".into());
    // cargo test takes one filter among its options, and any number behind them.
    push_behind_dashes(&mut words.documentation, &filters, &harness.typed);
    words
}

fn push_behind_dashes(words: &mut Vec<OsString>, filters: &[OsString], others: &[OsString]) {
    if !filters.is_empty() || !others.is_empty() {
        words.push("--".into());
        words.extend(filters.iter().chain(others).cloned());
    }
}

/// An option in nextest's spelling; `None` if that is the one that was typed.
fn in_nextest(given: &Given) -> Option<Vec<OsString>> {
    if is_alone(given) {
        return None;
    }
    let value = given.value.as_deref();
    match (given.in_nextest, given.name) {
        (InNextest::Renamed(name), _) => Some(option(name, value)),
        (_, "--quiet") => Some(vec!["--cargo-quiet".into()]),
        (_, "--message-format") => Some(option("--cargo-message-format", value)),
        _ => None,
    }
}

/// An option in the spelling of `cargo test`, which has fewer than nextest.
fn in_cargo_test(given: &Given) -> Vec<OsString> {
    let first = given.words.first().map(|word| word.as_bytes()).unwrap_or_default();
    let name = first.split(|byte| *byte == b'=').next().unwrap_or_default();
    match name {
        b"--cargo-profile" => option("--profile", given.value.as_deref()),
        b"--cargo-message-format" => option("--message-format", given.value.as_deref()),
        b"--build-jobs" => option("--jobs", given.value.as_deref()),
        b"--cargo-quiet" => vec!["--quiet".into()],
        b"--cargo-verbose" => vec!["--verbose".into()],
        _ if is_alone(given) => Vec::new(),
        _ => given.words.clone(),
    }
}

fn option(name: &str, value: Option<&OsStr>) -> Vec<OsString> {
    let value = value.map(OsStr::to_owned);
    std::iter::once(OsString::from(name)).chain(value).collect()
}

#[cfg(test)]
mod tests;
