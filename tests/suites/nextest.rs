//! `test` by way of nextest: it accepts what `cargo test` accepts, and means the same.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use burst_tests::{Ended, Project, Sandbox, assert_lines, assert_progress, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command_line::cargo;
use crate::sandbox;

const LIBRARY: &str = "\
/// ```
/// assert_eq!(kit::two(), 2);
/// ```
pub fn two() -> u32 {
    2
}

/// ```ignore
/// compile_error!();
/// ```
pub fn twofold() {}

#[test]
fn two_is_two() {
    println!(\"from the test\");
    assert_eq!(two(), 2);
}

#[test]
fn two_is() {}

#[test]
#[ignore]
fn slow() {}
";

fn kit(sandbox: &Sandbox) -> Project<'_> {
    let manifest = "[package]\nname = 'kit'\nversion = '0.1.0'\nedition = '2021'\n";
    sandbox.project("kit", &[("Cargo.toml", manifest), ("src/lib.rs", LIBRARY)])
}

/// The tests that nextest says it runs, and those that rustdoc says it runs, with results.
fn tests_of(ended: &Ended) -> (Vec<&str>, Vec<&str>) {
    let by_nextest = |line: &&str| line.trim_start().starts_with("PASS ");
    let by_rustdoc = |line: &&str| line.starts_with("test src/lib.rs - ");
    let mut units: Vec<&str> = ended
        .stderr
        .lines()
        .filter(by_nextest)
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    units.sort_unstable();
    let docs = ended.stdout.lines().filter(by_rustdoc);
    let mut docs: Vec<&str> =
        docs.map(|line| line.trim_start_matches("test src/lib.rs - ")).collect();
    docs.sort_unstable();
    (units, docs)
}

#[test]
fn filters_and_their_options_select_unit_and_documentation_tests() {
    if burst_tests::lacks(&["cargo-nextest"]) {
        return;
    }
    let sandbox = sandbox();
    let project = kit(&sandbox);
    for (arguments, units, docs) in [
        (
            "test",
            ["two_is", "two_is_two"].as_slice(),
            ["two (line 1) ... ok", "twofold (line 8) ... ignored"].as_slice(),
        ),
        ("test two_is_two", &["two_is_two"], &[]),
        ("test two_is -- --exact", &["two_is"], &[]),
        ("test -- two_is --exact", &["two_is"], &[]),
        ("test twofold", &[], &["twofold (line 8) ... ignored"]),
        ("test -- --ignored", &["slow"], &[]),
        ("test -- --skip two_is --skip fold", &[], &["two (line 1) ... ok"]),
        ("test -j 2 -- --test-threads=1 two_is_two", &["two_is_two"], &[]),
    ] {
        let ended = project.burst(arguments);
        let (found_units, mut found_docs) = tests_of(&ended);
        if arguments.contains("--ignored") {
            // rustdoc compiles what is ignored, which fails here as it does with cargo.
            assert_eq!(ended.code, Some(101), "{ended:#?}");
            found_docs.clear();
        } else {
            assert_eq!(ended.code, Some(0), "{ended:#?}");
        }
        assert_eq!((found_units, found_docs), (units.to_vec(), docs.to_vec()), "{arguments}");
    }
}

#[test]
fn quiet_tests_and_shown_output_are_nextests() {
    if burst_tests::lacks(&["cargo-nextest"]) {
        return;
    }
    let sandbox = sandbox();
    let project = kit(&sandbox);
    let ended = project.ok("test -q --lib");
    assert_progress(
        &ended,
        "────────────\n Nextest run ID [..] with nextest profile: default\n    \
         Starting 2 tests across 1 binary (1 test skipped)\n────────────\n     \
         Summary [[..]] 2 tests run: 2 passed, 1 skipped\n",
    );
    let shown = |arguments| project.ok(arguments).stderr.contains("    from the test\n");
    assert!(!shown("test --lib"));
    assert!(shown("test --lib -- --show-output"));
}

#[test]
fn what_nextest_lacks_is_done_by_cargo_test() {
    if burst_tests::lacks(&["cargo-nextest"]) {
        return;
    }
    let sandbox = sandbox();
    let project = kit(&sandbox);
    project.ok("test --no-run");
    for (arguments, lacking) in [
        ("test --lib -- --list", "--list"),
        ("test --lib --message-format short -- two_is_two", "--message-format short"),
    ] {
        let (found, expected) = (project.ok(arguments), cargo(&project, arguments));
        let timeless = |text: &str| {
            text.lines()
                .map(|line| line.split("finished in").next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(timeless(&found.stdout), timeless(&expected.stdout), "{arguments}");
        assert_lines(
            &found.stderr,
            &format!(
                "burst: `cargo test` runs the tests, since nextest does not have `{lacking}`\n    \
                 Finished `test` profile [unoptimized + debuginfo] target(s) in [..]\n     \
                 Running unittests src/lib.rs (target/debug/deps/kit-[..])\nburst: on this \
                 machine, [..]\n"
            ),
        );
    }
}

/// With an option that nextest alone has, a wrong one is nextest's error.
#[test]
fn wrong_options_beside_those_of_nextest_are_its_own() {
    if burst_tests::lacks(&["cargo-nextest"]) {
        return;
    }
    let sandbox = sandbox();
    let project = kit(&sandbox);
    let found = project.burst("-q test -q --retries 1 --releas");
    let expected = cargo(&project, "nextest run --retries 1 --releas");
    assert_eq!((found.code, found.stderr), (expected.code, expected.stderr));
}

/// A program that says which nextest it is.
fn write_nextest(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let program = directory.join("cargo-nextest");
    fs::write(&program, "#!/bin/sh\necho \"nextest of this shell: $*\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nextest_is_the_one_that_cargo_would_find_here() {
    let sandbox = sandbox();
    let project = kit(&sandbox);
    let tools = sandbox.path().join("tools");
    write_nextest(&tools);
    // The agent is started by a shell without these tools.
    project.ok("check -q");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let found = ended(project.command("test -q --lib one").env("PATH", path).output().unwrap());
    assert_eq!(found.stdout, "nextest of this shell: nextest run --lib one --cargo-quiet\n");
}

#[test]
fn cargo_test_runs_where_cargo_would_find_no_nextest() {
    let sandbox = sandbox();
    let project = kit(&sandbox);
    let tools = sandbox.path().join("tools");
    write_nextest(&tools);
    let usual = std::env::var("PATH").unwrap();
    let has_nextest = |directory: &Path| directory.join("cargo-nextest").exists();
    let cargo_home = std::env::var("CARGO_HOME")
        .map(Into::into)
        .unwrap_or_else(|_| Path::new(&std::env::var("HOME").unwrap()).join(".cargo"));
    if has_nextest(&cargo_home.join("bin")) {
        burst_tests::skip("nextest is in the home of cargo, where cargo always finds it");
        return;
    }
    let without = std::env::split_paths(&usual).filter(|directory| !has_nextest(directory));
    let without = std::env::join_paths(without).unwrap();
    // The agent is started by a shell with these tools.
    let with = format!("{}:{usual}", tools.display());
    assert!(project.command("check -q").env("PATH", with).status().unwrap().success());
    let mut command = project.command("test -q --lib -- --test-threads=1");
    let found = ended(command.env("PATH", without).output().unwrap());
    assert_lines(
        &found.stdout,
        "\nrunning 3 tests\ni..\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 \
         filtered out; finished in [..]\n\n",
    );
    assert_eq!(found.stderr, "");
}

/// As with cargo test: after a failed test the documentation tests run only if they are told to,
/// and after a failed build never.
#[test]
fn documentation_tests_run_after_failed_ones_only_if_they_are_told_to() {
    let sandbox = sandbox();
    let project = kit(&sandbox);
    let broken = LIBRARY.replace("assert_eq!(two(), 2);", "assert_eq!(two(), 3);");
    project.write("src/lib.rs", &broken);
    let docs_of = |arguments: &str| {
        let found = project.burst(arguments);
        let docs: Vec<String> = tests_of(&found).1.into_iter().map(str::to_owned).collect();
        (found.code, docs)
    };
    let all = ["two (line 1) ... ok", "twofold (line 8) ... ignored"].map(str::to_owned);
    assert_eq!(docs_of("test"), (Some(100), Vec::new()));
    assert_eq!(docs_of("test --no-fail-fast"), (Some(100), all.to_vec()));
    project.write("src/lib.rs", "broken");
    assert_eq!(docs_of("test --no-fail-fast"), (Some(101), Vec::new()));
}

/// What cargo does, with its exit code: the program lists no tests.
#[test]
fn a_target_with_a_harness_of_its_own_is_run_by_cargo_test() {
    if burst_tests::lacks(&["cargo-nextest"]) {
        return;
    }
    let sandbox = sandbox();
    let project = kit(&sandbox);
    let manifest = project.read("Cargo.toml");
    project.write("Cargo.toml", format!("{manifest}[[test]]\nname = 'own'\nharness = false\n"));
    let told = "burst: `cargo test` runs the tests, since `own` has `harness = false`, and nextest may \
                not know its tests";
    let is_told = |ended: &Ended| ended.stderr.lines().any(|line| line == told);
    for (code, program) in [(0, "println!(\"ran\");"), (7, "std::process::exit(7);")] {
        project.write("tests/own.rs", format!("fn main() {{ {program} }}\n"));
        let ended = project.burst("test");
        let plain = cargo(&project, "test");
        assert_eq!((ended.code, is_told(&ended)), (plain.code, true), "{ended:#?} {plain:#?}");
        assert_eq!(ended.code == Some(0), code == 0, "{ended:#?}");
    }
    // It is not among these.
    let ended = project.burst("test --lib");
    assert_eq!((ended.code, is_told(&ended)), (Some(0), false), "{ended:#?}");
    assert_eq!(tests_of(&ended).0, ["two_is", "two_is_two"]);
}

#[test]
fn documentation_tests_run_after_a_signal_that_nextest_takes_as_a_question() {
    if burst_tests::lacks(&["cargo-nextest"]) {
        return;
    }
    let sandbox = sandbox();
    let [begun, gate] = ["begun", "gate"].map(|name| sandbox.path().join(name));
    let library = format!(
        "/// ```\n/// panic!();\n/// ```\npub fn fails() {{}}\n\n#[test]\nfn waits() {{\n    \
         std::fs::write({begun:?}, \"\").unwrap();\n    while !std::path::Path::new({gate:?})\
         .exists() {{\n        std::thread::sleep(std::time::Duration::from_millis(10));\n    }}\n}}\n"
    );
    let manifest = "[package]\nname = 'kit'\nversion = '0.1.0'\nedition = '2021'\n";
    let project = sandbox.project("kit", &[("Cargo.toml", manifest), ("src/lib.rs", &library)]);
    let mut command = project.command("test");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the test", || begun.exists());
    kill(Pid::from_raw(child.id() as i32), Signal::SIGUSR1).unwrap();
    let shown = BufReader::new(child.stderr.take().unwrap());
    let mut lines = shown.lines().map(Result::unwrap);
    lines.find(|line| line.contains("info: ")).expect("what nextest answers");
    fs::write(&gate, "").unwrap();
    assert_eq!(lines.filter(|line| line.contains("1 test run: 1 passed")).count(), 1);
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(101), "{ended:#?}");
    assert!(ended.stdout.contains("test src/lib.rs - fails (line 1) ... FAILED"), "{ended:#?}");
}
