//! The command line: cargo's rules, held against cargo itself, and what is wrong in it.

use std::fs;

use burst_tests::{Ended, Project, assert_progress, ended};

use crate::sandbox;

/// A package whose program prints its arguments.
fn echo(sandbox: &burst_tests::Sandbox) -> Project<'_> {
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {\n    for argument in std::env::args().skip(1) {\n        \
         println!(\"{argument}\");\n    }\n}\n\n#[test]\nfn passes() {}\n\n#[test]\n#[ignore]\nfn \
         ignored() {}\n",
    );
    project
}

/// Plain cargo.
pub(crate) fn cargo(project: &Project<'_>, arguments: &str) -> Ended {
    let mut cargo = project.sandbox.command("cargo", &project.root);
    ended(cargo.args(arguments.split_whitespace()).output().unwrap())
}

#[test]
fn refused_command_lines_look_as_cargo_prints_them() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    // Another test may hold cargo's package cache for a moment, and cargo says so.
    let plain = |text: &str| -> String {
        let blocked = |line: &&str| !line.trim_start().starts_with("Blocking waiting");
        text.lines().filter(blocked).collect::<Vec<_>>().join("\n")
    };
    project.write(
        ".cargo/config.toml",
        "[alias]\nmine = 'build'\nlonger = ['mine', '--release']\nchecks = '--locked check'\n",
    );
    // Compiled on both sides, so that no line tells how long that took.
    assert_eq!(cargo(&project, "build -q").code, Some(0));
    project.ok("build -q");
    for arguments in [
        "build --bogus",
        "build --bin",
        "build --bin nope",
        "build -p nope",
        "build --release --profile dev",
        "build --features",
        "build -j",
        "build extra",
        "build --message-format=wrong",
        "check --all-targets --lib --bogus=1",
        "clippy --bogus",
        "doc --bogus",
        "rustc --bogus",
        "bench --bogus",
        "run --bogus",
        "no-such-verb",
        "test --doc --bogus",
        "test --release --profile dev",
        "test --features",
        "test --no-run --bogus",
        "test --releas",
        "test -q --profile dev --bogus",
        "test --release --release",
        "test --message-format=wrong",
        "test -j 0",
        "test --bin",
        // cargo's usage texts name an aliased verb differently.
        "b --bogus",
        "b --releas",
        "b --release --profile dev",
        "c --bogus",
        "d --bogus",
        "r --bogus",
        "t --doc --bogus",
        "t --release --profile dev",
        "rm --bogus",
        "mine --bogus",
        "longer --profile dev",
        "checks --bogus",
        "--locked check --bogus",
        "--config a.b=1 build --releas",
    ] {
        let expected = cargo(&project, arguments);
        let found = project.burst(&format!("-q {arguments}"));
        assert_ne!(expected.code, Some(0), "{arguments}");
        assert_eq!(found.code, expected.code, "{arguments}: {found:?}");
        assert_eq!(plain(&found.stderr), plain(&expected.stderr), "{arguments}");
        assert_eq!(found.stdout, expected.stdout, "{arguments}");
    }
}

/// Where nothing is run, `test` is `cargo test`: it names the executables, as cargo does.
#[test]
fn tests_that_are_not_run_are_built_by_cargo_test() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    let found = project.ok("-q test --no-run");
    assert_progress(
        &found,
        "   Compiling hello v0.1.0 ([..])\n    Finished `test` profile [unoptimized + debuginfo] \
         target(s) in [..]s\n  Executable unittests src/main.rs \
         (target/debug/deps/hello-[..])\n",
    );
    assert_eq!(found.stdout, "");
}

#[test]
fn arguments_of_programs_and_tests_are_theirs() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    for (arguments, output) in [
        ("run -q -- --release", "--release\n"),
        ("run -q a --yes --no-fetch", "a\n--yes\n--no-fetch\n"),
        ("run -q a --help", "a\n--help\n"),
        ("run -q a --config x --manifest-path y", "a\n--config\nx\n--manifest-path\ny\n"),
        ("--color=never run -q --bin hello", ""),
        ("run -q --bin hello -- -q -h", "-q\n-h\n"),
        ("--env A=1 run -q --yes x", "x\n"),
        ("-- run -q -- --env", "--env\n"),
        ("r -q x", "x\n"),
    ] {
        let found = project.ok(arguments);
        assert_eq!(found.stdout, output, "{arguments}");
    }
    let found = project.ok("test --cargo-test -q -- --ignored");
    assert!(found.stdout.contains("1 passed; 0 failed; 0 ignored"), "{found:?}");
    let found = project.burst("-q clippy -q -- -Dclippy::all -Dunused");
    assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""));
}

#[test]
fn flags_before_the_verb_and_a_verb_behind_dashes_return_artifacts() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    project.ok("--no-fetch build");
    assert!(!project.has("target/debug/hello"));
    project.ok("-- build --no-fetch");
    assert!(!project.has("target/debug/hello"));
    project.ok("-- b");
    assert!(project.has("target/debug/hello"));
    project.ok("--config profile.dev.debug=0 build --release");
    assert!(project.has("target/release/hello"));
}

#[test]
fn aliases_of_the_user_are_expanded() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    project.write(
        ".cargo/config.toml",
        "[alias]\nquiet = '-q run -q'\nst = 'burst status'\nbare = 'status'\nempty = ''\nsay = ['run', '-q', '--', 'a b']\ntwice = 'say c'\nb = 'run -q built-in'\nx = \
         'y'\ny = 'x'\n",
    );
    assert_eq!(project.ok("say").stdout, "a b\n");
    assert_eq!(project.ok("twice d").stdout, "a b\nc\nd\n");
    assert_eq!(project.ok("b").stdout, "built-in\n");
    assert_eq!(project.ok("quiet c").stdout, "c\n");
    assert!(project.ok("st").stdout.starts_with("agent on this machine: running"));
    assert_eq!(
        project.burst("bare").stderr,
        "error: no such command: `status`\n\
         hint: in an alias, verbs of cargo-burst are written `burst status`\n"
    );
    for arguments in ["x", "empty", "empty build"] {
        let (found, expected) = (project.burst(arguments), cargo(&project, arguments));
        assert_eq!((found.code, &found.stderr), (expected.code, &expected.stderr));
    }
}

#[test]
fn verbs_that_compile_nothing_run_here() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    project.write("src/main.rs", "fn   main() {}\n");
    for arguments in ["fmt --check", "tree --depth 0", "metadata --format-version 1 --no-deps"] {
        let (found, expected) = (project.burst(arguments), cargo(&project, arguments));
        assert_eq!(found.code, expected.code, "{arguments}");
        assert_eq!(found.stdout, expected.stdout, "{arguments}");
        assert_eq!(found.stderr, expected.stderr, "{arguments}");
    }
    assert_eq!(sandbox.agent(), None, "no agent is started");
    project.ok("fmt");
    assert_eq!(project.read("src/main.rs"), "fn main() {}\n");
}

#[test]
fn wrong_words_are_explained() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    for (arguments, code, stderr) in [
        ("?", 2, "error: `?` is not a command\nhint: `cargo burst help` lists the verbs\n"),
        ("statsu", 101, "error: no such command: `statsu`\nhint: did you mean `status`?\n"),
        (
            "build --max-cost nan",
            2,
            "error: invalid value `nan` for `--max-cost`: expected an amount in euros such as \
             0.50\nhint: `cargo burst help build` shows the options with their values\n",
        ),
        (
            "--no-reap status",
            2,
            "error: `status` takes none of the options of cargo verbs\nhint: `cargo burst help \
             status` shows its options\n",
        ),
        (
            "audit --rate nan",
            2,
            "error: invalid value 'nan' for '--rate <EUR>': expected an amount in euros such as \
             0.50\n\nFor more information, try '--help'.\n",
        ),
        (
            "sync --bogus",
            2,
            "error: `sync` does not take `--bogus`\nhint: it takes --manifest-path, --config, \
             --target-dir, --color\n",
        ),
        (
            "build --no-fecth",
            2,
            "error: unexpected argument `--no-fecth`\nhint: did you mean `--no-fetch`?\n",
        ),
        (
            "--no-fecth b",
            2,
            "error: unexpected argument `--no-fecth` before the verb\nhint: did you mean \
             `--no-fetch`?\n",
        ),
        (
            "--release build",
            2,
            "error: unexpected argument `--release` before the verb\nhint: options of cargo stand \
             behind the verb: `cargo burst build --release`; `cargo burst help` shows those that \
             stand before it\n",
        ),
        ("+", 2, "error: `+` is not a command\nhint: `cargo burst help` lists the verbs\n"),
        (
            "+nightly status",
            2,
            "error: `status` takes none of the options of cargo verbs\nhint: `cargo burst help \
             status` shows its options\n",
        ),
        (
            "down --with-volume",
            2,
            "error: unexpected argument '--with-volume' found\n\n  tip: a similar argument \
             exists: '--with-volumes'\n\nUsage: cargo burst down --with-volumes\n\nFor more \
             information, try '--help'.\n",
        ),
    ] {
        let found = project.burst(arguments);
        assert_eq!((found.code, found.stderr.as_str()), (Some(code), stderr), "{arguments}");
        assert_eq!(found.stdout, "", "{arguments}");
    }
}

#[test]
fn verbs_without_help_and_flags_without_use_are_explained() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    for (arguments, code, stderr) in [
        ("help statsu", 101, "error: no such command: `statsu`\nhint: did you mean `status`?\n"),
        (
            "help no-such-verb",
            101,
            "error: no such command: `no-such-verb`\nhint: `cargo burst help` lists the verbs\n",
        ),
        ("help ?", 2, "error: `?` is not a command\nhint: `cargo burst help` lists the verbs\n"),
        (
            "sync --no-fetch",
            2,
            "error: `sync` does not take `--no-fetch`\nhint: it takes --manifest-path, --config, \
             --target-dir, --color\n",
        ),
        (
            "--env A sync",
            2,
            "error: `sync` does not take `--env`\nhint: `cargo burst help sync` shows its \
             options\n",
        ),
        (
            "--cargo-test fix",
            2,
            "error: `fix` does not take `--cargo-test`\nhint: `cargo burst help build` shows the \
             options of all verbs\n",
        ),
    ] {
        let found = project.burst(arguments);
        assert_eq!((found.code, found.stderr.as_str()), (Some(code), stderr), "{arguments}");
        assert_eq!(found.stdout, "", "{arguments}");
    }
}

#[test]
fn the_hint_of_a_misspelt_verb_leads_to_cargo() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    let (found, expected) = (project.burst("-q -- statsu"), cargo(&project, "statsu"));
    assert_eq!((found.code, &found.stderr), (expected.code, &expected.stderr));
}

/// What cargo says without a verb is its own; so is the exit code of a verb that does not exist.
#[test]
fn options_without_a_verb_are_cargos() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    for arguments in ["--list", "--explain E0308", "--explain nonsense"] {
        let (found, expected) = (project.burst(arguments), cargo(&project, arguments));
        assert_eq!(
            (found.code, &found.stdout, &found.stderr),
            (expected.code, &expected.stdout, &expected.stderr)
        );
    }
    for misspelt in ["buidl", "statsu"] {
        let (found, expected) = (project.burst(misspelt), cargo(&project, misspelt));
        assert_eq!((found.code, expected.code), (Some(101), Some(101)));
    }
    assert_eq!(
        project.burst("buidl").stderr,
        "error: no such command: `buidl`\nhint: did you mean `build`?\n"
    );
    // Behind the verb `-q` is cargo's and silences ours, too.
    assert_eq!(project.ok("build -q").stderr, "");
}

#[test]
fn failures_are_json_where_json_is_asked_for() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    project.write(".config/cargo-burst.toml", "volume_gb = 5\n");
    let found = project.burst("config --json");
    let document: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let path = project.root.join(".config/cargo-burst.toml");
    assert_eq!(
        document["error"]["message"],
        format!("{}:1: `volume_gb` must be between 10 and 10240 (got 5)", path.display())
    );
    assert_eq!(document["error"]["kind"], "settings");
    assert_eq!((found.code, document["error"]["exit_code"].as_i64()), (Some(111), Some(111)));
    let found = project.burst("status --json --bogus");
    let document: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((found.code, &document["error"]["kind"]), (Some(2), &"usage".into()));
}

#[test]
fn a_target_directory_around_the_workspace_is_refused() {
    let sandbox = sandbox();
    let project = echo(&sandbox);
    let found = project.burst("build --target-dir .");
    let root = project.root.display();
    assert_eq!(
        (found.code, found.stderr),
        (
            Some(112),
            format!(
                "error: the target directory `{root}` contains the workspace\nhint: choose a target \
                 directory beside or below the workspace\n"
            )
        )
    );
}

#[test]
fn logs_show_the_last_lines() {
    let sandbox = sandbox();
    let state = sandbox.path().join("state/cargo-burst/local");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("agent.log"), "one\ntwo\nthree\n").unwrap();
    let run = |arguments| {
        ended(sandbox.burst_command(sandbox.path(), arguments).output().unwrap()).stdout
    };
    assert_eq!(run("logs --agent -n 2"), "two\nthree\n");
    assert_eq!(run("logs -n 1"), "agent: three\n");
    let line: serde_json::Value = serde_json::from_str(&run("logs -n 1 --json")).unwrap();
    assert_eq!((&line["log"], &line["line"]), (&"agent".into(), &"three".into()));
}
