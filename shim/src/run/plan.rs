//! The plan of a run: which cargo calls a verb becomes, and which results come back. Pure.
//!
//! Options of ours stand behind the user's, or in the environment, so that cargo's messages
//! about a wrong command line show only what the user typed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use burst_protocol::ByteBuf;
use burst_protocol::message::{Call, Invocation, JsonMessages, Returns};

use super::request::{CargoVerb, RunArguments};
use crate::cargo_options::takes_next;

/// The variable by which nextest accepts a package without tests, as cargo test does.
const NO_TESTS: (&str, &str) = ("NEXTEST_NO_TESTS", "pass");

/// The plan of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The cargo calls, in order.
    pub(crate) invocations: Vec<Invocation>,
    /// The results to fetch.
    pub(crate) returns: Returns,
    /// Whether cargo or a program that it starts may read standard input.
    pub(crate) sends_input: bool,
    /// Whether the documentation is opened here afterwards.
    pub(crate) opens_docs: bool,
    /// Environment variables that the calls need, names and values.
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

/// Plans a run. `has_library`: whether a selected package has a library whose documentation
/// can have tests.
pub(crate) fn plan(run: &RunArguments, has_library: bool) -> Plan {
    let arguments: Vec<Vec<u8>> =
        run.arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
    let fetches = !run.flags.no_fetch;
    let mut returns =
        Returns { timings: fetches && run.options().iter().any(is_timings), ..Returns::default() };
    let mut opens_docs = false;
    let invocations = match run.verb {
        CargoVerb::Build | CargoVerb::Rustc if fetches => {
            returns.artifacts = true;
            with_artifacts(run.verb, &arguments)
        }
        CargoVerb::Sync => Vec::new(),
        CargoVerb::Test => test_invocations(run, &arguments, has_library),
        CargoVerb::Doc => {
            returns.docs = fetches;
            let kept: Vec<Vec<u8>> =
                arguments.iter().filter(|word| *word != b"--open").cloned().collect();
            opens_docs = fetches && kept.len() < arguments.len();
            vec![single(run.verb, &kept)]
        }
        verb => {
            returns.criterion = fetches && verb == CargoVerb::Bench;
            vec![single(verb, &arguments)]
        }
    };
    let sends_input = matches!(
        run.verb,
        CargoVerb::Run | CargoVerb::Test | CargoVerb::Bench | CargoVerb::Nextest | CargoVerb::Other
    );
    let environment = match run.verb {
        // nextest warns about it where nothing is run.
        CargoVerb::Test if !run.options().iter().any(|option| option == "--no-run") => {
            vec![NO_TESTS]
        }
        _ => Vec::new(),
    };
    Plan { invocations, returns, sends_input, opens_docs, environment }
}

/// Whether an option asks for the reports of `--timings`.
fn is_timings(option: &OsString) -> bool {
    option == "--timings" || option.as_bytes().starts_with(b"--timings=")
}

/// The words before the first `--`, which are cargo's.
fn cargos(arguments: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    arguments.iter().map(Vec::as_slice).take_while(|word| *word != b"--")
}

fn call(verb: CargoVerb, arguments: &[Vec<u8>], json: JsonMessages) -> Call {
    let verb = verb.name().map(|name| name.as_bytes().to_vec());
    let words = verb.into_iter().chain(arguments.iter().cloned());
    Call { needs: None, arguments: words.map(ByteBuf::from).collect(), json }
}

fn single(verb: CargoVerb, arguments: &[Vec<u8>]) -> Invocation {
    invocation(call(verb, arguments, JsonMessages::Absent))
}

fn invocation(call: Call) -> Invocation {
    Invocation { alternatives: vec![call], optional: false }
}

/// cargo names its artifacts only in JSON messages. If the user has not asked for
/// any, we do, with diagnostics still rendered by cargo itself; if the user has,
/// we read along; if the user wants another format, a second call, which finds
/// everything built, names them.
fn with_artifacts(verb: CargoVerb, arguments: &[Vec<u8>]) -> Vec<Invocation> {
    let format = option(arguments, b"--message-format");
    match format {
        // An option of ours would stand in cargo's error.
        None if is_refused(arguments) => vec![single(verb, arguments)],
        None => {
            let ask = [b"--message-format=json-render-diagnostics".as_slice()];
            let with = with_options(arguments, &ask);
            vec![invocation(call(verb, &with, JsonMessages::Hidden))]
        }
        Some(format) if format.starts_with(b"json") => {
            vec![invocation(call(verb, arguments, JsonMessages::Shown))]
        }
        Some(_) => {
            let ask = [b"--message-format=json".as_slice(), b"-q"];
            let again = with_options(&without_option(arguments, b"--message-format"), &ask);
            vec![single(verb, arguments), invocation(call(verb, &again, JsonMessages::Hidden))]
        }
    }
}

/// Whether cargo will refuse the arguments in a message that lists all options: the value of
/// the last one is missing, or two exclude each other.
fn is_refused(arguments: &[Vec<u8>]) -> bool {
    let has = |names: [&[u8]; 2]| {
        cargos(arguments).any(|word| {
            names.contains(&word)
                || names
                    .iter()
                    .any(|name| word.strip_prefix(*name).is_some_and(|rest| rest.starts_with(b"=")))
        })
    };
    let last = cargos(arguments).last();
    last.is_some_and(|word| takes_next(OsStr::from_bytes(word)))
        || has([b"--release", b"-r"]) && has([b"--profile", b"--profile"])
}

/// The arguments with options of ours behind the user's.
fn with_options(arguments: &[Vec<u8>], options: &[&[u8]]) -> Vec<Vec<u8>> {
    let end = arguments.iter().position(|word| word == b"--").unwrap_or(arguments.len());
    let (before, rest) = arguments.split_at(end);
    let options = options.iter().map(|option| option.to_vec());
    before.iter().cloned().chain(options).chain(rest.iter().cloned()).collect()
}

fn option(arguments: &[Vec<u8>], name: &[u8]) -> Option<Vec<u8>> {
    let mut words = cargos(arguments);
    while let Some(word) = words.next() {
        if word == name {
            return words.next().map(<[u8]>::to_vec);
        }
        if let Some(value) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")) {
            return Some(value.to_vec());
        }
    }
    None
}

fn without_option(arguments: &[Vec<u8>], name: &[u8]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == name {
            words.next();
        } else if !word.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"=")) {
            kept.push(word.clone());
        }
    }
    kept
}

fn test_invocations(
    run: &RunArguments,
    arguments: &[Vec<u8>],
    has_library: bool,
) -> Vec<Invocation> {
    let plain = call(CargoVerb::Test, arguments, JsonMessages::Absent);
    let wants_docs_alone = cargos(arguments).any(|word| word == b"--doc");
    let nextest_fits = nextest_knows(arguments) && !is_refused(arguments);
    if run.flags.cargo_test || wants_docs_alone || !nextest_fits {
        let mut plain = plain;
        if run.flags.no_doctests && !names_targets(arguments) {
            // cargo test has no flag for this but to name all other targets.
            plain.arguments.insert(1, ByteBuf::from(b"--all-targets"));
        }
        return vec![invocation(plain)];
    }
    let translated = nextest_arguments(arguments);
    let mut nextest = call(CargoVerb::Nextest, &translated, JsonMessages::Absent);
    nextest.needs = Some("nextest".into());
    nextest.arguments.insert(1, ByteBuf::from(b"run"));
    let docs = has_library && !run.flags.no_doctests && !names_targets(arguments);
    let mut fallback = plain;
    if run.flags.no_doctests && !names_targets(arguments) {
        fallback.arguments.insert(1, ByteBuf::from(b"--all-targets"));
    }
    let mut invocations =
        vec![Invocation { alternatives: vec![nextest, fallback], optional: false }];
    if docs {
        let mut doc = call(CargoVerb::Test, &doc_arguments(arguments), JsonMessages::Absent);
        // Without nextest the first call was cargo test, documentation included:
        // an invocation that no alternative fits is left out if it may be.
        doc.needs = Some("nextest".into());
        invocations.push(Invocation { alternatives: vec![doc], optional: true });
    }
    invocations
}

/// Whether targets are named that leave no room for documentation tests.
fn names_targets(arguments: &[Vec<u8>]) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"--test",
        b"--tests",
        b"--bin",
        b"--bins",
        b"--example",
        b"--examples",
        b"--bench",
        b"--benches",
        b"--lib",
        b"--all-targets",
        b"--no-run",
    ];
    cargos(arguments).any(|word| {
        NAMES.iter().any(|name| {
            word.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
        })
    })
}

/// The words behind the first `--`.
fn behind_dashes(arguments: &[Vec<u8>]) -> &[Vec<u8>] {
    let dashes = arguments.iter().position(|word| word == b"--");
    dashes.map_or(&[], |at| &arguments[at + 1..])
}

/// Whether nextest accepts the arguments behind `--`: names of tests, and a few options of
/// the standard test harness. From nextest's "cargo test compatibility".
fn nextest_knows(arguments: &[Vec<u8>]) -> bool {
    const KNOWN: [&[u8]; 5] =
        [b"--ignored", b"--include-ignored", b"--exact", b"--nocapture", b"--no-capture"];
    let mut words = behind_dashes(arguments).iter();
    while let Some(word) = words.next() {
        if word == b"--skip" {
            words.next();
        } else if word.starts_with(b"-")
            && !word.starts_with(b"--skip=")
            && !KNOWN.contains(&word.as_slice())
        {
            return false;
        }
    }
    true
}

/// The arguments of cargo test in nextest's spelling.
fn nextest_arguments(arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    const SPELLINGS: [(&[u8], &[u8]); 4] = [
        (b"-q", b"--cargo-quiet"),
        (b"--quiet", b"--cargo-quiet"),
        (b"--profile", b"--cargo-profile"),
        (b"--message-format", b"--cargo-message-format"),
    ];
    let mut translated = Vec::new();
    let mut words = cargos(arguments);
    while let Some(word) = words.next() {
        let (name, value) = split_value(word);
        let next = if takes_next(OsStr::from_bytes(word)) { words.next() } else { None };
        let spelling = SPELLINGS
            .iter()
            .find(|(from, _)| *from == name && !is_libtest_format(name, value.or(next)))
            .map(|(_, spelling)| *spelling);
        translated.push([spelling.unwrap_or(name), &word[name.len()..]].concat());
        translated.extend(next.map(<[u8]>::to_vec));
    }
    translated.extend_from_slice(&arguments[translated.len()..]);
    translated
}

/// Whether this is `--message-format` with a format that nextest alone has.
fn is_libtest_format(name: &[u8], value: Option<&[u8]>) -> bool {
    name == b"--message-format" && value.is_some_and(|value| value.starts_with(b"libtest"))
}

/// `--NAME=VALUE` as name and value.
fn split_value(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) if word.starts_with(b"--") => (&word[..at], Some(&word[at + 1..])),
        _ => (word, None),
    }
}

/// The arguments of `cargo test --doc` that belong to those of nextest: its options in its
/// spelling, and the filters.
fn doc_arguments(arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
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
        b"--cargo-profile" => b"--profile".to_vec(),
        other => other.to_vec(),
    };
    let mut kept = Vec::new();
    let mut filters = Vec::new();
    let mut words = cargos(arguments);
    while let Some(word) = words.next() {
        let (name, value) = split_value(word);
        if ALONE.contains(&name) {
            kept.push(word.to_vec());
        } else if VALUED.contains(&name) {
            let value = value.or_else(|| words.next()).unwrap_or_default();
            if !is_libtest_format(name, Some(value)) {
                kept.extend([renamed(name), value.to_vec()]);
            }
        } else if [b"-p".as_slice(), b"-F", b"-Z"].iter().any(|short| word.starts_with(short)) {
            kept.push(word.to_vec());
        } else if takes_next(OsStr::from_bytes(word)) {
            words.next();
        } else if !word.starts_with(b"-") {
            filters.push(word.to_vec());
        }
    }
    kept.push(b"--doc".to_vec());
    // cargo test takes one filter among its options, and any number behind them.
    filters.extend_from_slice(behind_dashes(arguments));
    if !filters.is_empty() {
        kept.push(b"--".to_vec());
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
        let run = RunArguments { verb, arguments, options, flags };
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
                    "nextest run --cargo-quiet --cargo-profile x --cargo-message-format=short \
                     -j 4 foo -- --skip y",
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
        assert_eq!(calls("test --doc", true), [["test --doc"]]);
        assert_eq!(calls("test x -- y", true).len(), 2);
    }
}
