use super::*;

/// Why `cargo test` runs, or the words and variables of nextest and the words of the
/// documentation tests.
fn chosen(line: &str) -> [String; 3] {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let joined = |words: &[OsString]| words.join(OsStr::new(" ")).into_string().unwrap();
    match test_runner(&words, None) {
        TestRunner::CargoTest { reason } => {
            let lacking = reason.map(|reason| {
                let lacking = reason.strip_prefix("nextest does not have `").unwrap();
                lacking.strip_suffix('`').unwrap().to_owned()
            });
            ["cargo test".into(), lacking.unwrap_or_default(), String::new()]
        }
        TestRunner::Nextest(words) => {
            let set = |(name, value): &(&str, String)| format!("{name}={value}");
            let variables: Vec<_> = words.variables.iter().map(set).collect();
            [joined(&words.arguments), variables.join(" "), joined(&words.documentation)]
        }
    }
}

#[test]
fn options_of_cargo_test_are_translated() {
    const QUIET: &str = "NEXTEST_STATUS_LEVEL=fail NEXTEST_SHOW_PROGRESS=none";
    for (line, nextest, variables, documentation) in [
        ("", "", "", "--doc"),
        ("-r -p a --lib foo", "-r -p a --lib foo", "", "-r -p a --lib --doc -- foo"),
        ("-q foo", "foo --cargo-quiet", QUIET, "-q --doc -- foo"),
        ("-rq", "-r --cargo-quiet", QUIET, "-r -q --doc"),
        ("-vv", "--cargo-verbose --cargo-verbose", "", "-v -v --doc"),
        ("--profile=x foo", "foo --cargo-profile x", "", "--profile=x --doc -- foo"),
        ("-j4 foo", "foo --build-jobs 4", "", "-j 4 --doc -- foo"),
        (
            "--message-format=json,json-diagnostic-short",
            "--cargo-message-format json,json-diagnostic-short",
            "",
            "--message-format=json,json-diagnostic-short --doc",
        ),
        (
            "--no-fail-fast --timings",
            "--no-fail-fast --timings",
            "",
            "--no-fail-fast --timings --doc",
        ),
    ] {
        assert_eq!(chosen(line), [nextest, variables, documentation], "{line}");
    }
}

#[test]
fn arguments_of_the_test_harness_are_translated() {
    for (line, nextest, variables, documentation) in [
        ("a -- --ignored", "a -- --ignored", "", "--doc -- a --ignored"),
        ("-- b --skip --x", "-- b --skip --x", "", "--doc -- b --skip --x"),
        ("-- --skip=x", "-- --skip=x", "", "--doc -- --skip=x"),
        ("a -- b --exact", "-- a b --exact", "", "--doc -- a b --exact"),
        ("-- --nocapture", "-- --nocapture", "", "--doc -- --nocapture"),
        ("-- --test-threads=1", "", "NEXTEST_TEST_THREADS=1", "--doc -- --test-threads=1"),
        ("-- --test-threads 2 a", "-- a", "NEXTEST_TEST_THREADS=2", "--doc -- --test-threads 2 a"),
        ("-- --show-output", "", "NEXTEST_SUCCESS_OUTPUT=immediate", "--doc -- --show-output"),
        ("-- -q", "", "NEXTEST_STATUS_LEVEL=fail NEXTEST_SHOW_PROGRESS=none", "--doc -- -q"),
    ] {
        assert_eq!(chosen(line), [nextest, variables, documentation], "{line}");
    }
}

#[test]
fn cargo_test_runs_where_nextest_lacks_something() {
    for (line, lacking) in [
        ("-- --list", "--list"),
        ("-- --format=json", "--format=json"),
        ("-- --skip a --exact", "--skip with --exact"),
        ("-- --test-threads=0", "--test-threads=0"),
        ("-- --test-threads", "--test-threads"),
        ("-- -- a", "--"),
        ("--message-format short", "--message-format short"),
        ("--lockfile-path x/Cargo.lock", "--lockfile-path"),
    ] {
        assert_eq!(chosen(line), ["cargo test", lacking, ""], "{line}");
    }
}

#[test]
fn what_cargo_refuses_or_does_alone_is_cargos() {
    for line in [
        "--doc",
        "--no-run",
        "--bogus",
        "--releas -- --list",
        "--release --release",
        "-r --profile x",
        "--features",
        "--bin",
        "--bin --release",
        "-j 0",
        "-j x",
        "-j -1",
        "--message-format bogus",
        "--message-format=",
        "-E x --doc",
        "one two",
    ] {
        assert_eq!(chosen(line), ["cargo test", "", ""], "{line}");
    }
}

#[test]
fn an_option_of_nextest_alone_decides_for_it() {
    for (line, nextest, documentation) in [
        ("-E x -q --bogus", "-E x --bogus --cargo-quiet", "-q --doc"),
        ("--retries=2 -- --list", "--retries=2 -- --list", "--doc -- --list"),
        (
            "--cargo-profile x --build-jobs=2",
            "--cargo-profile x --build-jobs=2",
            "--profile x --jobs 2 --doc",
        ),
        ("--ff --no-run", "--ff --no-run", "--no-run --doc"),
        ("--message-format libtest-json", "--message-format libtest-json", "--doc"),
        ("-P ci --profile x", "-P ci --cargo-profile x", "--profile x --doc"),
    ] {
        let [found, _, found_documentation] = chosen(line);
        assert_eq!(
            [found.as_str(), found_documentation.as_str()],
            [nextest, documentation],
            "{line}"
        );
    }
}

#[test]
fn a_harness_of_its_own_has_cargo_test_run_unless_nextest_is_meant() {
    let runner = |line: &str| {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match test_runner(&words, Some("own")) {
            TestRunner::CargoTest { reason } => reason.unwrap_or_default(),
            TestRunner::Nextest(_) => "nextest".to_owned(),
        }
    };
    let own = "`own` has `harness = false`, and nextest may not know its tests";
    assert_eq!(runner("-p a"), own);
    assert_eq!(runner("-- --list"), "nextest does not have `--list`");
    assert_eq!(runner("--doc"), "");
    assert_eq!(runner("-E all()"), "nextest");
}
