//! The plan of a run: which cargo calls a verb becomes, and which results come back. Pure.
//!
//! Options of ours stand behind the user's, or in the environment, so that cargo's messages
//! about a wrong command line show only what the user typed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use burst_protocol::ByteBuf;
use burst_protocol::message::{Call, Invocation, JsonMessages, Returns};

use super::request::{CargoVerb, RunArguments};
use crate::cargo_options::{before_dashes, has_option, is_option, takes_next, value_of};

/// The variable by which nextest accepts a package without tests, as cargo test does.
const NO_TESTS: (&str, &str) = ("NEXTEST_NO_TESTS", "pass");

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The cargo calls, in order.
    pub(crate) invocations: Vec<Invocation>,
    /// The results to fetch.
    pub(crate) returns: Returns,
    /// Whether cargo or a program that it starts may read standard input.
    pub(crate) sends_input: bool,
    /// Whether the documentation is opened here afterwards.
    pub(crate) opens_docs: bool,
    /// The arguments of `cargo clean`, which is to remove what is here, too.
    pub(crate) cleans: Option<Vec<OsString>>,
    /// Environment variables that the calls need, names and values.
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

/// Plans a run. `has_library`: whether a selected package has a library whose documentation
/// can have tests.
pub(crate) fn plan(run: &RunArguments, has_library: bool) -> Plan {
    let arguments = run.arguments.as_slice();
    let fetches = !run.flags.no_fetch;
    let mut returns = Returns {
        timings: fetches && has_option(run.options(), &["--timings"]),
        ..Returns::default()
    };
    let mut opens_docs = false;
    let invocations = match run.verb {
        CargoVerb::Build | CargoVerb::Rustc if fetches => {
            returns.artifacts = true;
            with_artifacts(run.name(), arguments)
        }
        CargoVerb::Sync => Vec::new(),
        CargoVerb::Test => test_invocations(run, arguments, has_library),
        CargoVerb::Doc => {
            returns.docs = fetches;
            let kept: Vec<OsString> =
                arguments.iter().filter(|word| *word != "--open").cloned().collect();
            opens_docs = fetches && kept.len() < arguments.len();
            vec![single(run.name(), &kept)]
        }
        verb => {
            returns.criterion = fetches && verb == CargoVerb::Bench;
            vec![single(run.name(), arguments)]
        }
    };
    let sends_input = matches!(
        run.verb,
        CargoVerb::Run | CargoVerb::Test | CargoVerb::Bench | CargoVerb::Nextest | CargoVerb::Other
    );
    let environment = match run.verb {
        CargoVerb::Test => vec![NO_TESTS],
        _ => Vec::new(),
    };
    let other = match run.verb {
        CargoVerb::Other => first_word(run.options()).and_then(OsStr::to_str),
        _ => None,
    };
    returns.docs |= fetches && other == Some("rustdoc");
    let cleans = (other == Some("clean")).then(|| run.arguments.clone());
    Plan { invocations, returns, sends_input, opens_docs, cleans, environment }
}

/// The first word that is neither an option nor the value of one.
fn first_word(arguments: &[OsString]) -> Option<&OsStr> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if !word.as_bytes().starts_with(b"-") {
            return Some(word);
        }
        if takes_next(word) {
            words.next();
        }
    }
    None
}

fn call(name: Option<&str>, arguments: &[OsString], json: JsonMessages) -> Call {
    let name = name.map(OsString::from);
    let words = name.into_iter().chain(arguments.iter().cloned());
    let arguments = words.map(|word| ByteBuf::from(word.into_vec())).collect();
    Call { needs: None, arguments, json }
}

fn single(name: Option<&str>, arguments: &[OsString]) -> Invocation {
    invocation(call(name, arguments, JsonMessages::Absent))
}

fn invocation(call: Call) -> Invocation {
    Invocation { alternatives: vec![call], optional: false }
}

/// cargo names its artifacts only in JSON messages. If the user has not asked for
/// any, we do, with diagnostics still rendered by cargo itself; if the user has,
/// we read along; if the user wants another format, a second call, which finds
/// everything built, names them.
fn with_artifacts(name: Option<&str>, arguments: &[OsString]) -> Vec<Invocation> {
    match value_of(arguments, "--message-format") {
        // An option of ours would stand in cargo's error.
        None if is_refused(arguments) => vec![single(name, arguments)],
        None => {
            let with = with_options(arguments, &["--message-format=json-render-diagnostics"]);
            vec![invocation(call(name, &with, JsonMessages::Hidden))]
        }
        Some(format) if format.as_bytes().starts_with(b"json") => {
            vec![invocation(call(name, arguments, JsonMessages::Shown))]
        }
        Some(_) => {
            let rest = without_option(arguments, "--message-format");
            let again = with_options(&rest, &["--message-format=json", "-q"]);
            vec![single(name, arguments), invocation(call(name, &again, JsonMessages::Hidden))]
        }
    }
}

/// Whether cargo will refuse the arguments in a message that lists all options: the value of
/// the last one is missing, or two exclude each other.
fn is_refused(arguments: &[OsString]) -> bool {
    before_dashes(arguments).last().is_some_and(|word| takes_next(word))
        || has_option(arguments, &["--release", "-r"]) && has_option(arguments, &["--profile"])
}

/// The arguments with options of ours behind the user's.
fn with_options(arguments: &[OsString], options: &[&str]) -> Vec<OsString> {
    let (before, rest) = arguments.split_at(before_dashes(arguments).len());
    let options = options.iter().map(OsString::from);
    before.iter().cloned().chain(options).chain(rest.iter().cloned()).collect()
}

fn without_option(arguments: &[OsString], name: &str) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == name {
            words.next();
        } else if !is_option(word, name) {
            kept.push(word.clone());
        }
    }
    kept
}

fn test_invocations(
    run: &RunArguments,
    arguments: &[OsString],
    has_library: bool,
) -> Vec<Invocation> {
    // cargo test has no flag for this but to name all other targets.
    let without_docs = run.flags.no_doctests && !names_targets(arguments) && !is_refused(arguments);
    let targets: &[&str] = if without_docs { &["--all-targets"] } else { &[] };
    let plain = call(run.name(), &with_options(arguments, targets), JsonMessages::Absent);
    let is_for_cargo = has_option(arguments, &["--doc", "--no-run"]);
    let nextest_fits = nextest_knows(arguments) && !is_refused(arguments);
    if run.flags.cargo_test || is_for_cargo || !nextest_fits {
        return vec![invocation(plain)];
    }
    let translated = nextest_arguments(arguments);
    let mut nextest = call(CargoVerb::Nextest.name(), &translated, JsonMessages::Absent);
    nextest.needs = Some("nextest".into());
    nextest.arguments.insert(1, ByteBuf::from(b"run"));
    let docs = has_library && !run.flags.no_doctests && !names_targets(arguments);
    let mut invocations = vec![Invocation { alternatives: vec![nextest, plain], optional: false }];
    if docs {
        let mut doc = call(run.name(), &doc_arguments(arguments), JsonMessages::Absent);
        // Without nextest the first call was cargo test, documentation included:
        // an invocation that no alternative fits is left out if it may be.
        doc.needs = Some("nextest".into());
        invocations.push(Invocation { alternatives: vec![doc], optional: true });
    }
    invocations
}

/// Whether targets are named that leave no room for documentation tests.
fn names_targets(arguments: &[OsString]) -> bool {
    const NAMES: [&str; 11] = [
        "--test",
        "--tests",
        "--bin",
        "--bins",
        "--example",
        "--examples",
        "--bench",
        "--benches",
        "--lib",
        "--all-targets",
        "--no-run",
    ];
    has_option(arguments, &NAMES)
}

/// The words behind the first `--`.
fn behind_dashes(arguments: &[OsString]) -> &[OsString] {
    arguments.get(before_dashes(arguments).len() + 1..).unwrap_or_default()
}

/// Whether nextest accepts the arguments behind `--`: names of tests, and a few options of
/// the standard test harness. From nextest's "cargo test compatibility".
fn nextest_knows(arguments: &[OsString]) -> bool {
    const KNOWN: [&[u8]; 5] =
        [b"--ignored", b"--include-ignored", b"--exact", b"--nocapture", b"--no-capture"];
    let mut words = behind_dashes(arguments).iter().map(|word| word.as_bytes());
    while let Some(word) = words.next() {
        if word == b"--skip" {
            words.next();
        } else if word.starts_with(b"-") && !word.starts_with(b"--skip=") && !KNOWN.contains(&word)
        {
            return false;
        }
    }
    true
}

/// The arguments of cargo test in nextest's spelling.
fn nextest_arguments(arguments: &[OsString]) -> Vec<OsString> {
    const SPELLINGS: [(&[u8], &[u8]); 4] = [
        (b"-q", b"--cargo-quiet"),
        (b"--quiet", b"--cargo-quiet"),
        (b"--profile", b"--cargo-profile"),
        (b"--message-format", b"--cargo-message-format"),
    ];
    // Behind the others, so that nextest's usage texts do not show them.
    let mut renamed = Vec::new();
    let mut translated = Vec::new();
    let mut words = before_dashes(arguments).iter();
    while let Some(word) = words.next() {
        let (name, value) = split_value(word);
        let next = if takes_next(word) { words.next() } else { None };
        let value = value.or_else(|| next.map(|next| next.as_bytes()));
        let spelling = SPELLINGS
            .iter()
            .find(|(from, _)| *from == name && !is_libtest_format(name, value))
            .map(|(_, spelling)| *spelling);
        let rest = &word.as_bytes()[name.len()..];
        let into = if spelling.is_some() { &mut renamed } else { &mut translated };
        into.push(OsString::from_vec([spelling.unwrap_or(name), rest].concat()));
        into.extend(next.cloned());
    }
    translated.append(&mut renamed);
    translated.extend_from_slice(&arguments[translated.len()..]);
    translated
}

/// Whether this is `--message-format` with a format that nextest alone has.
fn is_libtest_format(name: &[u8], value: Option<&[u8]>) -> bool {
    name == b"--message-format" && value.is_some_and(|value| value.starts_with(b"libtest"))
}

/// `--NAME=VALUE` as name and value.
fn split_value(word: &OsStr) -> (&[u8], Option<&[u8]>) {
    let word = word.as_bytes();
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) if word.starts_with(b"--") => (&word[..at], Some(&word[at + 1..])),
        _ => (word, None),
    }
}

/// The arguments of `cargo test --doc` that belong to those of nextest: its options in its
/// spelling, and the filters.
fn doc_arguments(arguments: &[OsString]) -> Vec<OsString> {
    const ALONE: [&[u8]; 13] = [
        b"--release",
        b"-r",
        b"--all-features",
        b"--no-default-features",
        b"--workspace",
        b"--all",
        b"--locked",
        b"--offline",
        b"--frozen",
        b"--quiet",
        b"-q",
        b"--verbose",
        b"-v",
    ];
    const VALUED: [&[u8]; 15] = [
        b"-p",
        b"--package",
        b"--exclude",
        b"-F",
        b"--features",
        b"--target",
        b"--target-dir",
        b"--manifest-path",
        b"--config",
        b"--color",
        b"--cargo-profile",
        b"--profile",
        b"--message-format",
        b"--lockfile-path",
        b"-Z",
    ];
    let renamed = |name: &[u8]| match name {
        b"--cargo-profile" => OsString::from("--profile"),
        other => OsStr::from_bytes(other).to_owned(),
    };
    let mut kept = Vec::new();
    let mut filters = Vec::new();
    let mut words = before_dashes(arguments).iter();
    while let Some(word) = words.next() {
        let (name, value) = split_value(word);
        if ALONE.contains(&name) {
            kept.push(word.clone());
        } else if VALUED.contains(&name) {
            let next = || words.next().map(|next| next.as_bytes());
            let value = value.or_else(next).unwrap_or_default();
            if !is_libtest_format(name, Some(value)) {
                kept.extend([renamed(name), OsStr::from_bytes(value).to_owned()]);
            }
        } else if [b"-p".as_slice(), b"-F", b"-Z"].iter().any(|short| name.starts_with(short)) {
            kept.push(word.clone());
        } else if takes_next(word) {
            words.next();
        } else if !name.starts_with(b"-") {
            filters.push(word.clone());
        }
    }
    kept.push("--doc".into());
    // cargo test takes one filter among its options, and any number behind them.
    filters.extend_from_slice(behind_dashes(arguments));
    if !filters.is_empty() {
        kept.push("--".into());
        kept.append(&mut filters);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::request::Flags;

    fn calls(line: &str, has_library: bool) -> Vec<Vec<String>> {
        let mut words = line.split_whitespace();
        let verb = match words.next() {
            Some("build") => CargoVerb::Build,
            Some("check") => CargoVerb::Check,
            Some("test") => CargoVerb::Test,
            other => panic!("{other:?}"),
        };
        let mut flags = Flags::default();
        let mut arguments = Vec::new();
        for word in words {
            match word {
                "--no-fetch" => flags.no_fetch = true,
                "--no-doctests" => flags.no_doctests = true,
                "--cargo-test" => flags.cargo_test = true,
                other => arguments.push(OsString::from(other)),
            }
        }
        let options = arguments.len();
        let run = RunArguments { verb, alias: None, arguments, options, flags };
        let text = |call: &Call| {
            let words: Vec<_> =
                call.arguments.iter().map(|word| String::from_utf8_lossy(word)).collect();
            words.join(" ")
        };
        let invocations = plan(&run, has_library).invocations;
        invocations
            .iter()
            .map(|invocation| invocation.alternatives.iter().map(text).collect())
            .collect()
    }

    #[test]
    fn builds_name_their_artifacts() {
        let hidden = "build --release --message-format=json-render-diagnostics";
        assert_eq!(calls("build --release", true), [[hidden]]);
        assert_eq!(
            calls("build -- x", true),
            [["build --message-format=json-render-diagnostics -- x"]]
        );
        // cargo refuses these, in a message without an option of ours.
        for line in ["build -j", "build --release --profile x"] {
            assert_eq!(calls(line, true), [[line]]);
        }
        assert_eq!(calls("build --message-format json", true), [["build --message-format json"]]);
        assert_eq!(
            calls("build --message-format=short -p a", true),
            [["build --message-format=short -p a"], ["build -p a --message-format=json -q"]]
        );
        assert_eq!(calls("build --no-fetch", true), [["build"]]);
        assert_eq!(calls("check -p a", true), [["check -p a"]]);
    }

    #[test]
    fn tests_are_nextest_and_documentation() {
        assert_eq!(
            calls("test --release -p a -E expr() --cargo-profile x foo", true),
            [
                vec![
                    "nextest run --release -p a -E expr() --cargo-profile x foo",
                    "test --release -p a -E expr() --cargo-profile x foo"
                ],
                vec!["test --release -p a --profile x --doc -- foo"]
            ]
        );
        assert_eq!(
            calls("test -q --profile x --message-format=short -j 4 foo -- --skip y", true),
            [
                vec![
                    "nextest run -j 4 foo --cargo-quiet --cargo-profile x \
                     --cargo-message-format=short -- --skip y",
                    "test -q --profile x --message-format=short -j 4 foo -- --skip y"
                ],
                vec!["test -q --profile x --message-format short --doc -- foo --skip y"]
            ]
        );
        assert_eq!(
            calls("test --message-format libtest-json", false)[0][0],
            "nextest run --message-format libtest-json"
        );
        // The first is an option of the test harness alone; cargo test reports the others.
        for line in [
            "test -- --test-threads=1",
            "test x -- --test",
            "test -r --profile x",
            "test --features",
        ] {
            assert_eq!(calls(line, true), [[line]]);
        }
        for line in ["test --test x", "test --bins", "test --no-doctests", "test --bench=b"] {
            assert_eq!(calls(line, true).len(), 1, "{line}");
        }
        assert_eq!(calls("test", false).len(), 1);
        assert_eq!(calls("test --cargo-test", true), [["test"]]);
        // Nothing is run, so that nextest is not needed.
        assert_eq!(calls("test --no-run", true), [["test --no-run"]]);
        assert_eq!(
            calls("test --cargo-test --no-doctests -p a -- x", true),
            [["test -p a --all-targets -- x"]]
        );
        assert_eq!(calls("test --doc", true), [["test --doc"]]);
        assert_eq!(calls("test x -- y", true).len(), 2);
    }
}
