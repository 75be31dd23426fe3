//! A terminal that a run shares with what else uses it: one of the streams is a pipe or a file.
//! Each test is tried with plain cargo, too.

use std::process::Command;

use burst_tests::{Project, lacks, wait_until};

use super::desk::Desk;
use super::keyboard::project;
use crate::sandbox;

/// What runs the program of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    Cargo,
    Burst,
}

pub(crate) const RUNNERS: [Runner; 2] = [Runner::Cargo, Runner::Burst];

impl Runner {
    /// bash that carries out a line, in which `cargo_` is cargo or the program under test, and
    /// `run` is its `run -q --`.
    pub(crate) fn shell(self, project: &Project<'_>, line: &str) -> Command {
        let burst = project.command("");
        let cargo = match self {
            Self::Cargo => "cargo",
            Self::Burst => "\"$burst\" burst -q",
        };
        let mut shell = project.sandbox.command("bash", &project.root);
        shell.arg("-c").arg(format!(
            "cargo_() {{ {cargo} \"$@\"; }}\nrun() {{ cargo_ run -q -- \"$@\"; }}\n{line}"
        ));
        shell.env("burst", burst.get_program());
        shell
    }
}

#[test]
fn a_password_is_not_shown_in_front_of_a_pipe() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "stty -echo; printf \"password: \" >&2; read x; stty echo; echo \"got $x\"";
    for runner in RUNNERS {
        let mut desk = Desk::start(&runner.shell(&project, &format!("run sh -c '{script}' | cat")));
        desk.expect("password: ");
        desk.type_in("secret\r");
        desk.expect("got secret\r\n");
        assert!(desk.end().success(), "{runner:?}");
    }
}

#[test]
fn a_password_is_read_from_the_terminal_whatever_the_streams_are() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.write("input", "line\n");
    let script = "read l; exec 3<>/dev/tty; stty -echo <&3; printf \"password: \" >&3; read x <&3; \
                  stty echo <&3; echo \"got $l $x\"";
    for runner in RUNNERS {
        for streams in ["<input", "<input | cat", "<input 2>&1 | cat", "2>/dev/null <input | cat"] {
            let line = format!("run sh -c '{script}' {streams}");
            let mut desk = Desk::start(&runner.shell(&project, &line));
            desk.expect("password: ");
            desk.type_in("secret\r");
            desk.expect("got line secret\r\n");
            assert!(desk.end().success(), "{runner:?} {streams}");
        }
    }
}

#[test]
fn a_line_is_read_from_the_terminal_though_its_modes_are_as_they_were() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "printf \"name: \" >/dev/tty; read x </dev/tty; echo \"got $x\"";
    for runner in RUNNERS {
        let line = format!("run sh -c '{script}' </dev/null");
        let mut desk = Desk::start(&runner.shell(&project, &line));
        desk.expect("name: ");
        desk.type_in("word\r");
        desk.expect("word\r\ngot word\r\n");
        assert!(desk.end().success(), "{runner:?}");
    }
}

#[test]
fn single_keys_reach_a_program_in_front_of_a_pipe() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "read -s -n1 -p \"key? \" x; echo \"<$x>\"; read y; echo \"<$y>\"";
    for runner in RUNNERS {
        let line = format!("run bash -c '{script}' | cat");
        let mut desk = Desk::start(&runner.shell(&project, &line));
        desk.expect("key? ");
        desk.type_in("k");
        desk.expect("<k>\r\n");
        desk.type_in("line\r");
        desk.expect("line\r\n<line>\r\n");
        assert!(desk.end().success(), "{runner:?}");
    }
}

#[test]
fn an_end_of_input_ends_one_read_and_not_the_keys() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "echo A; cat; echo B; cat; read -s -p PW: p </dev/tty; echo \"got $p\"";
    for runner in RUNNERS {
        let line = format!("run bash -c '{script}' | cat");
        let mut desk = Desk::start(&runner.shell(&project, &line));
        desk.expect("A\r\n");
        desk.type_in("one\r");
        desk.expect("one\r\none\r\n");
        desk.type_in("\u{4}");
        desk.expect("B\r\n");
        desk.type_in("two\r");
        desk.expect("two\r\ntwo\r\n");
        desk.type_in("\u{4}");
        desk.expect("PW:");
        desk.wait_until_hidden();
        desk.type_in("secret\r");
        desk.expect("got secret\r\n");
        assert!(desk.end().success(), "{runner:?}");
    }
}

#[test]
fn each_program_reads_its_line_of_what_is_typed_ahead() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (begun, gate) = (sandbox.path().join("begun"), sandbox.path().join("gate"));
    let script = format!(
        "touch {}; until test -e {}; do sleep 0.01; done; head -n1; head -n1; cat; read x; echo \"<$x>\"",
        begun.display(),
        gate.display()
    );
    for runner in RUNNERS {
        let line = format!("run sh -c '{script}' | cat");
        let mut desk = Desk::start(&runner.shell(&project, &line));
        wait_until("the run", || begun.exists());
        desk.type_in("one\rtwo\rthree\r\u{4}four\r");
        desk.expect("one\r\ntwo\r\nthree\r\nfour\r\n");
        std::fs::write(&gate, "").unwrap();
        desk.expect("one\r\ntwo\r\nthree\r\n<four>\r\n");
        assert!(desk.end().success(), "{runner:?}");
        for file in [&begun, &gate] {
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn what_is_typed_while_a_program_reads_a_file_is_the_shells() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (begun, gate) = (sandbox.path().join("begun"), sandbox.path().join("gate"));
    let script =
        format!("touch {}; until test -e {}; do sleep 0.01; done", begun.display(), gate.display());
    for runner in RUNNERS {
        let line = format!("run sh -c '{script}' </dev/null; read y; echo \"mine $y\"");
        let mut desk = Desk::start(&runner.shell(&project, &line));
        wait_until("the run", || begun.exists());
        desk.type_in("later\r");
        desk.expect("later\r\n");
        std::fs::write(&gate, "").unwrap();
        desk.expect("mine later\r\n");
        assert!(desk.end().success(), "{runner:?}");
        for file in [&begun, &gate] {
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn a_terminal_that_a_program_had_changed_is_restored_when_it_is_interrupted() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "stty -echo; printf \"password: \" >&2; read x";
    let line = format!("run sh -c '{script}' | cat");
    let mut desk = Desk::start(&Runner::Burst.shell(&project, &line));
    desk.expect("password: ");
    desk.type_in("\u{3}");
    desk.leave();
}

#[test]
fn the_screen_of_a_program_that_is_killed_is_left_whatever_its_streams_are() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    // In a terminal that the run shares, Ctrl-C is a signal, and the second one kills.
    for (to, streams, has_keyboard) in [
        (">/dev/tty", "| cat", false),
        (">/dev/tty", "2>&1 | cat", false),
        (">/dev/tty", ">shown 2>&1", false),
        (">&2", "| cat", false),
        (">&2", ">shown", true),
    ] {
        let script = format!(
            "trap \"echo asked {to}\" INT; printf \"\\033[?1049h\\033[?25lscreen\" {to}; while :; do \
             sleep 0.01; done"
        );
        let line = format!("run sh -c '{script}' {streams}");
        let mut desk = Desk::start(&Runner::Burst.shell(&project, &line));
        desk.expect("\u{1b}[?1049h\u{1b}[?25lscreen");
        if has_keyboard {
            desk.type_in("~.");
        } else {
            desk.type_in("\u{3}");
            desk.find("asked");
            desk.type_in("\u{3}");
        }
        desk.find("\u{1b}[?25h\u{1b}[?1049l\u{1b}[m");
        desk.leave();
    }
}

#[test]
fn a_pager_that_the_verb_starts_has_the_keys() {
    if lacks(&["cargo-nextest", "less"]) {
        return;
    }
    let sandbox = sandbox();
    let project = project(&sandbox);
    let tests: String = (100..200).map(|n| format!("#[test]\nfn t{n}() {{}}\n")).collect();
    project.write("src/lib.rs", tests);
    let pages = RUNNERS.map(|runner| {
        let line = "cargo_ nextest list --cargo-quiet --color never; echo \"ended $?\"";
        let mut desk = Desk::start(runner.shell(&project, line).env("TERM", "xterm"));
        let first = desk.find("t127\u{1b}[m\r\n:");
        desk.type_in(" ");
        let second = desk.find("t150\u{1b}[m\r\n");
        desk.type_in("q");
        desk.find("ended 0\r\n");
        assert!(desk.end().success(), "{runner:?}");
        (first, second)
    });
    assert_eq!(pages[0], pages[1]);
}
