//! The plan of a run: which cargo calls a verb becomes, and which results come back. Pure.
//!
//! Options of ours stand behind the user's, or in the environment, so that cargo's messages
//! about a wrong command line show only what the user typed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use burst_protocol::message::{Call, Invocation, JsonMessages, Returns, WholeTarget};
use burst_protocol::{ByteBuf, FileName};

use super::nextest::{TestRunner, test_runner};
use super::opened_page::NO_BROWSER;
use super::request::{CargoVerb, RunArguments};
use super::result_directories::profile_directory;
use crate::cargo_options::{before_dashes, first_word, has_option, takes_next, value_of};
use crate::settings::Fetch;

/// The variable by which nextest accepts a package without tests, as cargo test does.
const NO_TESTS: (&str, &str) = ("NEXTEST_NO_TESTS", "pass");

/// nextest's exit code where tests have failed, and nothing else has.
const TESTS_FAILED: i32 = 100;

/// Verbs of cargo that are not in our table and start no program of the user.
const READ_NOTHING: [&str; 3] = ["clean", "fix", "rustdoc"];

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The cargo calls, in order.
    pub(crate) invocations: Vec<Invocation>,
    /// The results to fetch.
    pub(crate) returns: Returns,
    /// Whether the user's program or a plugin may read standard input. Tests read none, so a
    /// script that reads its own text from there keeps it.
    pub(crate) sends_input: bool,
    /// Whether cargo starts programs that may use the terminal: the user's, tests, a pager.
    pub(crate) has_programs: bool,
    /// Whether the user is told of ports on which a program listens.
    pub(crate) reports_ports: bool,
    /// The directory of the profile, below the target directory.
    pub(crate) profile: OsString,
    /// Whether the documentation is opened here afterwards.
    pub(crate) opens_docs: bool,
    /// The crates of the selected packages.
    pub(crate) documented: BTreeSet<String>,
    /// The arguments of `cargo clean`, which is to remove what is here, too.
    pub(crate) cleans: Option<Vec<OsString>>,
    /// Environment variables that the calls need, names and values.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// What the user is told of it.
    pub(crate) note: Option<String>,
}

/// Plans a run. `has_library`: whether a selected package has a library whose documentation
/// can have tests. `own_harness`: a selected test target with a harness of its own. `fetch`: what
/// is to be fetched, `by_default` if the command line does not say.
pub(crate) fn plan(
    run: &RunArguments,
    has_library: bool,
    own_harness: Option<&str>,
    fetch: Option<Fetch>,
    by_default: Fetch,
) -> Plan {
    let arguments = run.arguments.as_slice();
    let json = messages_of(run);
    let is_named = fetch.is_some();
    let fetch = fetch.unwrap_or(by_default);
    let mut opens_docs = false;
    let (mut environment, mut note) = (Vec::new(), None);
    let invocations = match run.verb {
        CargoVerb::Sync => Vec::new(),
        CargoVerb::Test => {
            let tests = test_plan(run, arguments, has_library, own_harness);
            (environment, note) = (tests.environment, tests.note);
            tests.invocations
        }
        _ if documents(run) => {
            let kept: Vec<OsString> =
                arguments.iter().filter(|word| *word != "--open").cloned().collect();
            let opens = has_option(run.options(), &["--open"]);
            opens_docs = opens && fetch != Fetch::None;
            let arguments = if opens && !opens_docs { &kept } else { arguments };
            vec![invocation(call(run.name(), arguments, json))]
        }
        _ => vec![invocation(call(run.name(), arguments, json))],
    };
    if opens_docs {
        environment.push((NO_BROWSER.0, NO_BROWSER.1.to_owned()));
    }
    let other = other_verb(run);
    let cleans = (other == Some("clean")).then(|| run.arguments.clone());
    let sends_input = match run.verb {
        CargoVerb::Run => true,
        CargoVerb::Other => !other.is_some_and(|verb| READ_NOTHING.contains(&verb)),
        _ => false,
    };
    let has_programs =
        sends_input || matches!(run.verb, CargoVerb::Test | CargoVerb::Bench | CargoVerb::Nextest);
    let reports_ports = run.verb == CargoVerb::Run;
    let returns = match fetch {
        Fetch::None => Returns::default(),
        // A sync brings nothing unless it is told so.
        Fetch::All if run.verb == CargoVerb::Sync && !is_named => Returns::default(),
        Fetch::All if cleans.is_none() => {
            Returns { whole: Some(WholeTarget::default()), ..Returns::default() }
        }
        Fetch::All | Fetch::Artifacts => returns(run, json),
    };
    let profile = profile_directory(run);
    let documented = BTreeSet::new();
    Plan {
        documented,
        invocations,
        returns,
        profile,
        sends_input,
        has_programs,
        reports_ports,
        opens_docs,
        cleans,
        environment,
        note,
    }
}

/// Whether a run builds documentation.
fn documents(run: &RunArguments) -> bool {
    run.verb == CargoVerb::Doc || other_verb(run) == Some("rustdoc")
}

/// The verb of [`CargoVerb::Other`].
fn other_verb(run: &RunArguments) -> Option<&str> {
    match run.verb {
        CargoVerb::Other => first_word(run.options()).and_then(OsStr::to_str),
        _ => None,
    }
}

/// The results that a run brings. Cargo's own verbs that only check leave nothing for users; a
/// plugin may.
fn returns(run: &RunArguments, json: JsonMessages) -> Returns {
    use CargoVerb::{Bench, Build, Nextest, Other, Run, Rustc, Test};
    let (verb, other) = (run.verb, other_verb(run));
    let builds = matches!(verb, Bench | Build | Nextest | Run | Rustc | Test)
        || verb == Other && !other.is_some_and(|verb| READ_NOTHING.contains(&verb));
    let profile = builds.then(|| profile_directory(run));
    Returns {
        profile: profile.and_then(|name| FileName::new(name.as_bytes()).ok()),
        named: json == JsonMessages::Shown,
        criterion: verb == Bench,
        timings: has_option(run.options(), &["--timings"]),
        docs: documents(run),
        tests: matches!(verb, Bench | Nextest | Test),
        whole: None,
        paths: Vec::new(),
    }
}

/// Whether the user has requested JSON messages of cargo. nextest has another option for them.
fn messages_of(run: &RunArguments) -> JsonMessages {
    let option = match run.verb {
        CargoVerb::Nextest => "--cargo-message-format",
        _ => "--message-format",
    };
    match value_of(run.options(), option) {
        Some(format) if format.as_bytes().starts_with(b"json") => JsonMessages::Shown,
        _ => JsonMessages::Absent,
    }
}

fn call(name: Option<&str>, arguments: &[OsString], json: JsonMessages) -> Call {
    let name = name.map(OsString::from);
    let words = name.into_iter().chain(arguments.iter().cloned());
    let arguments = words.map(|word| ByteBuf::from(word.into_vec())).collect();
    Call { needs: None, arguments, json }
}

fn invocation(call: Call) -> Invocation {
    Invocation { alternatives: vec![call], optional: false, runs_after: None }
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

/// How the tests run: the calls, the variables for nextest, and a note for the user.
struct TestPlan {
    invocations: Vec<Invocation>,
    environment: Vec<(&'static str, String)>,
    note: Option<String>,
}

fn test_plan(
    run: &RunArguments,
    arguments: &[OsString],
    has_library: bool,
    own_harness: Option<&str>,
) -> TestPlan {
    // cargo test has no flag for this but to name all other targets.
    let without_docs = run.flags.no_doctests && !names_targets(arguments) && !is_refused(arguments);
    let targets: &[&str] = if without_docs { &["--all-targets"] } else { &[] };
    let plain = call(run.name(), &with_options(arguments, targets), messages_of(run));
    let by_cargo_test = |plain, note| TestPlan {
        invocations: vec![invocation(plain)],
        environment: Vec::new(),
        note,
    };
    let words = match test_runner(arguments, own_harness) {
        _ if run.flags.cargo_test => return by_cargo_test(plain, None),
        TestRunner::CargoTest { reason } => {
            let note = reason.map(|reason| format!("`cargo test` runs the tests, since {reason}"));
            return by_cargo_test(plain, note);
        }
        TestRunner::Nextest(words) => words,
    };
    let mut nextest = call(CargoVerb::Nextest.name(), &words.arguments, JsonMessages::Absent);
    nextest.needs = Some("nextest".into());
    nextest.arguments.insert(1, ByteBuf::from(b"run"));
    let mut tests = invocation(nextest);
    tests.alternatives.push(plain);
    let mut invocations = vec![tests];
    if has_library && !run.flags.no_doctests && !names_targets(arguments) {
        let mut doc = call(run.name(), &words.documentation, JsonMessages::Absent);
        // Without nextest the first call was cargo test, documentation included:
        // an invocation that no alternative fits is left out if it may be.
        doc.needs = Some("nextest".into());
        let goes_on = has_option(before_dashes(arguments), &["--no-fail-fast"]);
        let runs_after = goes_on.then_some(TESTS_FAILED);
        invocations.push(Invocation { alternatives: vec![doc], optional: true, runs_after });
    }
    let mut environment = vec![(NO_TESTS.0, NO_TESTS.1.to_owned())];
    environment.extend(words.variables);
    TestPlan { invocations, environment, note: None }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::request::Flags;

    fn planned(line: &str, has_library: bool) -> Plan {
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
                "--no-fetch" => flags.fetch = Some(Fetch::None),
                "--fetch=all" => flags.fetch = Some(Fetch::All),
                "--no-doctests" => flags.no_doctests = true,
                "--cargo-test" => flags.cargo_test = true,
                other => arguments.push(OsString::from(other)),
            }
        }
        let options = arguments.len();
        let fetch = flags.fetch;
        let run = RunArguments { verb, alias: None, arguments, options, flags };
        plan(&run, has_library, None, fetch, Fetch::Artifacts)
    }

    fn calls(line: &str, has_library: bool) -> Vec<Vec<String>> {
        let text = |call: &Call| {
            let words: Vec<_> =
                call.arguments.iter().map(|word| String::from_utf8_lossy(word)).collect();
            words.join(" ")
        };
        let invocations = planned(line, has_library).invocations;
        invocations
            .iter()
            .map(|invocation| invocation.alternatives.iter().map(text).collect())
            .collect()
    }

    #[test]
    fn a_build_is_one_call_as_it_was_typed() {
        for line in ["build --release", "build -- x", "build -j", "build --message-format=short"] {
            assert_eq!(calls(line, true), [[line]]);
        }
    }

    #[test]
    fn results_are_those_of_the_profile_and_those_that_messages_name() {
        let returns = |line: &str| planned(line, true).returns;
        let profile = |name: &str| Some(FileName::new(name.as_bytes()).unwrap());
        for (line, expected) in [
            ("build", profile("debug")),
            ("build -r", profile("release")),
            ("test --profile lean", profile("lean")),
            ("check", None),
            ("build --no-fetch", None),
            // No directory that a user can mean.
            ("build --profile ../x", None),
        ] {
            assert_eq!(returns(line).profile, expected, "{line}");
        }
        for (line, json) in [
            ("check --message-format=json", true),
            ("test --no-run --message-format json-render-diagnostics", true),
            ("check --message-format=short", false),
            ("build -- --message-format=json", false),
        ] {
            let plan = planned(line, true);
            let is_read = plan.invocations[0].alternatives[0].json == JsonMessages::Shown;
            assert_eq!((plan.returns.named, is_read), (json, json), "{line}");
        }
        let whole = Returns { whole: Some(WholeTarget::default()), ..Returns::default() };
        assert_eq!(returns("check --fetch=all"), whole);
        assert!(returns("test").tests && !returns("build").tests);
        assert_eq!(returns("test --no-fetch --message-format=json"), Returns::default());
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
        for line in ["test -- --list", "test x -- --test", "test -r --profile x"] {
            assert_eq!(calls(line, true), [[line]]);
        }
        for line in ["test --test x", "test --bins", "test --no-doctests", "test --bench=b"] {
            assert_eq!(calls(line, true).len(), 1, "{line}");
        }
        assert_eq!(calls("test", false).len(), 1);
        assert_eq!(calls("test --cargo-test -- --list", true), [["test -- --list"]]);
        assert_eq!(
            calls("test --cargo-test --no-doctests -p a -- x", true),
            [["test -p a --all-targets -- x"]]
        );
        assert_eq!(calls("test x -- y", true).len(), 2);
    }

    #[test]
    fn the_user_is_told_why_cargo_test_runs() {
        for (line, expected) in [
            (
                "test -- --list",
                Some("`cargo test` runs the tests, since nextest does not have `--list`"),
            ),
            ("test --cargo-test -- --list", None),
            ("test --bogus", None),
            ("test", None),
        ] {
            assert_eq!(planned(line, true).note.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn nextest_accepts_packages_without_tests() {
        let environment = planned("test -- --test-threads=1", true).environment;
        let expected = [("NEXTEST_NO_TESTS", "pass"), ("NEXTEST_TEST_THREADS", "1")];
        assert_eq!(environment, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(planned("test --cargo-test", true).environment, []);
    }
}
