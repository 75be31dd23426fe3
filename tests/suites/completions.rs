//! Completion scripts, in the shells themselves.

use std::fs;

use burst_tests::ended;

use crate::sandbox;

/// In bash, with a completion of cargo that was there before.
#[test]
fn bash_completes_both_spellings() {
    if burst_tests::lacks(&["bash", "sed"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let file = sandbox.path().join("completions.bash");
    fs::write(&file, project.ok("completions bash").stdout).unwrap();
    let script = r#"
        _before() { COMPREPLY=(before); }
        complete -F _before cargo
        source "$1"; source "$1"
        shift
        function=$1; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        $function "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[@]}"
    "#;
    let complete = |function: &str, words: &str| {
        let mut command = sandbox.command("bash", sandbox.path());
        command.args(["--norc", "-c", script, "bash"]).arg(&file).arg(function);
        let found = ended(command.args(words.split(' ')).output().unwrap());
        assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""), "{words}");
        found.stdout.trim_end().to_owned()
    };
    let (ours, cargos) = ("_cargo_burst", "_cargo_or_burst");
    assert_eq!(complete(ours, "cargo-burst stat"), "status");
    assert_eq!(complete(ours, "cargo-burst down --with"), "--with-volumes");
    assert_eq!(complete(ours, "cargo-burst build --no-f"), "--no-fetch");
    assert_eq!(complete(cargos, "cargo burst stat"), "status");
    assert_eq!(complete(cargos, "cargo burst completions pow"), "powershell");
    assert_eq!(complete(cargos, "cargo bui"), "before");
}

/// In fish, with its own completion of cargo.
#[test]
fn fish_completes_both_spellings() {
    if burst_tests::lacks(&["fish"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let file = sandbox.path().join("completions.fish");
    fs::write(&file, project.ok("completions fish").stdout).unwrap();
    let complete = |words: &str| {
        let mut command = sandbox.command("fish", sandbox.path());
        command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(&file);
        let found = ended(command.arg(words).output().unwrap());
        assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""), "{words}");
        let words = found.stdout.lines().map(|line| line.split('\t').next().unwrap());
        words.collect::<Vec<_>>().join(" ")
    };
    for program in ["cargo-burst", "cargo burst"] {
        assert_eq!(complete(&format!("{program} stat")), "status");
        assert_eq!(complete(&format!("{program} down --with")), "--with-volumes");
        assert_eq!(complete(&format!("{program} build --no-f")), "--no-fetch");
        assert_eq!(complete(&format!("{program} completions pow")), "powershell");
    }
}

/// In elvish, whose completers exist only at a terminal. The file of commands ends it.
#[test]
fn elvish_completes_both_spellings() {
    if burst_tests::lacks(&["elvish", "script"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    fs::write(sandbox.path().join("script.elv"), project.ok("completions elvish").stdout).unwrap();
    let commands = r#"
        use str
        set edit:completion:arg-completer[cargo] = {|@words| put [&stem=before] }
        eval (slurp < script.elv)
        eval (slurp < script.elv)
        fn complete {|@words|
            for one [($edit:completion:arg-completer[$words[0]] $@words)] {
                if (str:has-prefix $one[stem] $words[-1]) { echo $one[stem] }
            }
        }
        {
            complete cargo-burst stat
            complete cargo-burst down --with
            complete cargo burst stat
            complete cargo burst build --no-f
            complete cargo burst completions pow
            complete cargo bef
        } > found
        exit
    "#;
    fs::write(sandbox.path().join("commands.elv"), commands).unwrap();
    let mut command = sandbox.command("script", sandbox.path());
    let found = command.args(["-qec", "elvish -rc commands.elv", "/dev/null"]).output().unwrap();
    let words = fs::read_to_string(sandbox.path().join("found")).unwrap_or_default();
    let expected = "status\n--with-volumes\nstatus\n--no-fetch\npowershell\nbefore\n";
    assert_eq!(words, expected, "{:?}", ended(found));
}
