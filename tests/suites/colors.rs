//! Colours and progress: as cargo here would show them, held against cargo itself.

use std::io::Read;
use std::process::{Command, Stdio};

use burst_tests::Project;

use crate::sandbox;
use crate::terminals::terminal;

/// Variables and options that say how a terminal is used.
const CASES: [(&[(&str, &str)], &str); 14] = [
    (&[], ""),
    (&[("NO_COLOR", "1")], ""),
    (&[("CLICOLOR_FORCE", "1")], ""),
    (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], ""),
    (&[("CLICOLOR_FORCE", "1")], "--color never"),
    (&[("CLICOLOR", "0")], ""),
    (&[("CLICOLOR", "1"), ("TERM", "dumb")], ""),
    (&[("TERM", "dumb")], ""),
    (&[("CARGO_TERM_COLOR", "always")], ""),
    (&[("CARGO_TERM_COLOR", "never")], ""),
    (&[("CARGO_TERM_COLOR", "always")], "--color auto"),
    (&[("CARGO_TERM_PROGRESS_WHEN", "never")], ""),
    (&[("CARGO_TERM_PROGRESS_WHEN", "always")], ""),
    (&[("CARGO_TERM_QUIET", "true")], ""),
];

/// What a command shows, with standard error a pipe or a terminal..
fn shown(mut command: Command, on_terminal: bool, variables: &[(&str, &str)]) -> String {
    command.env("TERM", "xterm").envs(variables.iter().copied()).stdout(Stdio::null());
    if !on_terminal {
        return String::from_utf8(command.output().unwrap().stderr).unwrap();
    }
    let (mut ours, theirs) = terminal();
    let mut child = command.stderr(theirs).spawn().unwrap();
    // The command holds the other side, too.
    drop(command);
    let mut bytes = Vec::new();
    // A terminal that is closed on the other side reads as an error.
    drop(ours.read_to_end(&mut bytes));
    child.wait().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The lines that remain on the screen, without times and the waits for other cargos.
fn lasting(shown: &str) -> Vec<String> {
    let last = |line: &str| line.rsplit(['\r', '\u{b}']).next().unwrap_or_default().to_owned();
    shown
        .replace("\r\n", "\n")
        .lines()
        .map(last)
        .map(|line| line.split(" in ").next().unwrap_or_default().to_owned())
        .filter(|line| !line.contains("Blocking"))
        .collect()
}

fn plain(project: &Project<'_>, arguments: &str) -> Command {
    let mut cargo = project.sandbox.command("cargo", &project.root);
    cargo.args(arguments.split_whitespace());
    cargo
}

#[test]
fn colours_are_those_of_cargo_on_pipes_and_terminals() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() {\n    let unused = 1;\n}\n");
    for command in [plain(&project, "check -q"), project.command("check -q")] {
        assert!(shown(command, false, &[]).starts_with("warning: unused variable: `unused`\n"));
    }
    for on_terminal in [false, true] {
        for (variables, options) in CASES {
            let arguments = format!("check {options}");
            let expected = shown(plain(&project, &arguments), on_terminal, variables);
            let found = project.command(&format!("-q {arguments}"));
            let found = shown(found, on_terminal, variables);
            assert_eq!(
                lasting(&found),
                lasting(&expected),
                "{on_terminal} {variables:?} {options}"
            );
        }
    }
}

/// Its standard error is a pipe then, and what it says is printed here.
#[test]
fn errors_of_cargo_about_the_workspace_have_its_colours() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("Cargo.toml", "[package]\nname = 'app\n");
    for configured in ["", "never", "always"] {
        project.write(".cargo/config.toml", format!("[term]\ncolor = '{configured}'\n"));
        if configured.is_empty() {
            project.write(".cargo/config.toml", "");
        }
        let more: [(&[(&str, &str)], &str); 2] =
            [(&[("CARGO_TERM_COLOR", "wrong")], ""), (&[], "--color auto")];
        for (variables, options) in CASES.into_iter().chain(more) {
            let arguments = format!("check {options}");
            for on_terminal in [false, true] {
                let expected = shown(plain(&project, &arguments), on_terminal, variables);
                let found = shown(project.command(&arguments), on_terminal, variables);
                assert_eq!(found, expected, "{configured} {on_terminal} {variables:?} {options}");
            }
        }
    }
}

#[test]
fn our_own_messages_have_the_colours_of_cargos() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let colored = "\u{1b}[33;1mwarning:\u{1b}[0m";
    for (variables, options, start) in [
        ([].as_slice(), "", "warning: "),
        (&[("CLICOLOR_FORCE", "1")], "", colored),
        (&[("CARGO_TERM_COLOR", "always")], "", colored),
        (&[("CARGO_TERM_COLOR", "always")], "--color never", "warning: "),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], "", "warning: "),
        (&[], "--color always", colored),
    ] {
        let found = project.command(&format!("check -q --env PATH {options}"));
        let found = shown(found, false, variables);
        assert!(found.starts_with(start), "{variables:?} {options}: {found:?}");
    }
    let found = project.command("?");
    let found = shown(found, false, &[("CLICOLOR_FORCE", "1")]);
    assert!(found.starts_with("\u{1b}[31;1merror:\u{1b}[0m `?` is not a command\n"), "{found:?}");
}

#[test]
fn programs_see_the_variables_of_colours() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {\n    for name in [\"NO_COLOR\", \"CLICOLOR\", \"CLICOLOR_FORCE\", \
         \"CARGO_TERM_COLOR\"] {\n        print!(\"{:?} \", std::env::var(name).ok());\n    \
         }\n}\n",
    );
    let mut command = project.command("run -q --env CLICOLOR=0");
    command.env("NO_COLOR", "1").env("CLICOLOR", "1").env("CARGO_TERM_COLOR", "never");
    let output = command.output().unwrap();
    let expected = "Some(\"1\") Some(\"0\") None Some(\"never\") ";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}
