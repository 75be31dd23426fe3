use super::*;

fn parsed(line: &str) -> Parsed {
    parse(line.split_whitespace().map(OsString::from).collect())
}

fn run(line: &str) -> (CargoVerb, String, Flags) {
    match parsed(line).command {
        Ok(Command::Run(run)) => {
            let words: Vec<_> = run.arguments.iter().map(|word| word.to_string_lossy()).collect();
            (run.verb, words.join(" "), run.flags)
        }
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> (String, u8) {
    match parsed(line).command {
        Err(Refusal::Text { text, code }) => (text, code),
        Err(Refusal::Error(error)) => (error.to_string(), error.exit_code()),
        Ok(command) => panic!("{line}: {command:?}"),
    }
}

#[test]
fn a_verb_behind_dashes_is_the_same_verb() {
    for (plain, other) in [
        ("build --release", "burst -- build --release"),
        ("build --no-fetch", "--no-fetch build"),
        ("build --no-fetch", "--no-fetch -- b"),
        ("test --env A=1 x", "--env A=1 -- test x"),
        ("build -p a --config x=1", "--config x=1 build -p a"),
        ("run --locked a -q", "--locked run a -q"),
    ] {
        assert_eq!(run(plain), run(other), "{other}");
    }
    assert_eq!(run("-- expand --lib").0, CargoVerb::Other);
    assert_eq!(run("expand --lib").1, "expand --lib");
}

#[test]
fn verbosity_stands_before_the_verb_or_is_cargos_quiet() {
    for (line, verbosity) in [
        ("-q build", Verbosity::Quiet),
        ("build -q", Verbosity::Quiet),
        ("-v build -q", Verbosity::Verbose),
        ("burst -v check", Verbosity::Verbose),
        ("run -- -q", Verbosity::Normal),
        ("run a -q", Verbosity::Normal),
    ] {
        assert_eq!(parsed(line).verbosity, verbosity, "{line}");
    }
}

#[test]
fn a_toolchain_stands_before_the_verb() {
    for (line, toolchain) in [
        ("+nightly build", Some("nightly")),
        ("burst +1.95.0 -v check", Some("1.95.0")),
        ("--no-fetch +nightly -- b", Some("nightly")),
        ("+nightly fmt", Some("nightly")),
        ("build", None),
        ("run +nightly", None),
    ] {
        let parsed = parsed(line);
        assert_eq!(parsed.toolchain.as_deref(), toolchain, "{line}");
        assert!(parsed.command.is_ok(), "{line}");
    }
    assert_eq!(run("+nightly build --release"), run("build --release"));
    assert_eq!(run("run +nightly").1, "+nightly");
}

#[test]
fn verbs_that_compile_nothing_run_here() {
    for line in ["fmt --check", "-- fmt --check"] {
        let Ok(Command::Local(words)) = parsed(line).command else { panic!("{line}") };
        assert_eq!(words, ["fmt", "--check"]);
    }
    for (line, expected) in [("rm serde", "rm serde"), ("help fmt", "help fmt")] {
        let Ok(Command::Local(words)) = parsed(line).command else { panic!("{line}") };
        assert_eq!(words.join(&OsString::from(" ")), expected);
    }
    for (line, expected) in [
        ("-- --list", "--list"),
        ("--list", "--list"),
        ("--explain E0308", "--explain E0308"),
        ("--color always --explain=E0308", "--color always --explain=E0308"),
    ] {
        let Ok(Command::Local(words)) = parsed(line).command else { panic!("{line}") };
        assert_eq!(words.join(&OsString::from(" ")), expected);
    }
    // `-- VERB` skips the verbs of ours that cargo has, too.
    let Ok(Command::Local(words)) = parsed("-- config get").command else { panic!() };
    assert_eq!(words, ["config", "get"]);
}

#[test]
fn own_verbs_have_typed_arguments() {
    let command = |line| parsed(line).command.unwrap();
    assert_eq!(command("status --json"), Command::Status { all: false, json: true });
    assert_eq!(command("config --defaults"), Command::Config { defaults: true, json: false });
    assert_eq!(command("audit --rate 0.5"), Command::Audit { rate: Some(0.5), json: false });
    let Command::Logs(logs) = command("logs -f -n 5 --agent") else { panic!() };
    assert_eq!((logs.follow, logs.lines, logs.chosen.len()), (true, 5, 1));
}

#[test]
fn wrong_command_lines_exit_with_2_and_verbs_that_do_not_exist_as_from_cargo() {
    for (line, name) in [("statsu", "statsu"), ("help no-such-verb", "no-such-verb")] {
        assert_eq!(refused(line), (format!("no such command: `{name}`"), 101));
    }
    for (line, error) in [
        ("?", "`?` is not a command"),
        (
            "build --max-cost nan",
            "invalid value `nan` for `--max-cost`: expected an amount in euros such as 0.50",
        ),
        ("build --env", "a value is required for `--env <NAME[=VALUE]>`"),
        ("--no-fetch status", "`status` takes none of the options of cargo verbs"),
        ("help ?", "`?` is not a command"),
        ("-C sub build", "`-C` is not supported"),
        ("-Csub build", "`-Csub` is not supported"),
        ("--no-fetch --list", "`--list` takes none of the options of cargo verbs"),
    ] {
        assert_eq!(refused(line), (error.to_owned(), 2));
    }
    let rates = [("nan", "nan"), ("-1", "-1"), ("inf", "inf")];
    for (rate, shown) in rates {
        let (text, code) = refused(&format!("audit --rate {rate}"));
        let expected = format!(
            "error: invalid value '{shown}' for '--rate <EUR>': expected an amount in euros such as \
             0.50"
        );
        assert_eq!((text.lines().next(), code), (Some(expected.as_str()), 2));
    }
    assert_eq!(refused("--no-doctests build").0, "`build` does not take `--no-doctests`");
    assert!(refused("--frobnicate x").0.starts_with("error: unexpected argument '--frobnicate'"));
}

#[test]
fn all_ways_to_the_help_of_a_verb_agree() {
    for verb in VERBS.iter().map(|verb| verb.name) {
        let expected = refused(&format!("help {verb}"));
        assert_eq!(expected.1, 0);
        assert!(expected.0.contains("Examples:"), "{verb}");
        assert_eq!(refused(&format!("{verb} --help")), expected);
        assert_eq!(refused(&format!("{verb} -h")), expected);
    }
    assert_eq!(refused("b --help"), refused("help build"));
    for line in ["help", "", "burst", "-q", "--", "--no-fetch"] {
        assert_eq!(refused(line), refused("--help"), "{line}");
    }
    for line in ["version", "-vV", "-Vv", "-v -V"] {
        assert_eq!(refused(line), refused("--version"), "{line}");
    }
    assert_eq!(refused("-vh"), refused("--help"));
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, code) = refused(&format!("completions {shell}"));
        assert_eq!(code, 0);
        for verb in &VERBS {
            assert!(script.contains(verb.name), "{shell}: {}", verb.name);
        }
    }
    assert!(refused("man").0.contains("cargo\\-burst"));
    help::program().debug_assert();
}
