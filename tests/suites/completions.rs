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
