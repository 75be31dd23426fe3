//! Runs that have the keyboard: a terminal on each end, and what is typed into the one here.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use burst_tests::{Project, Sandbox, wait_until};
use hetzner_sim::Scenario;
use nix::sys::signal::Signal;
use rustix::termios::{Winsize, tcsetwinsize};

use super::desk::Desk;
use super::{alive, send};
use crate::hetzner::{cloud, logs, sandbox_on};
use crate::sandbox;

/// A program that becomes the one that its arguments name.
const BECOMES: &str = "use std::os::unix::process::CommandExt;\nfn main() {\n    let mut words = std::env::args_os().skip(1);\n    let error = std::process::Command::new(words.next().unwrap()).args(words).exec();\n    panic!(\"{error}\");\n}\n";

/// A project whose program becomes the one that its arguments name.
pub(crate) fn project(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.hello("app");
    project.write("src/main.rs", BECOMES);
    project.ok("run -q -- true");
    project
}

/// `cargo burst run` of these words.
fn run(project: &Project<'_>, words: &[&str]) -> Command {
    let mut command = project.command("-q run -q --");
    command.args(words);
    command
}

/// bash with these arguments, in which `$burst` is the program under test.
pub(super) fn shell(project: &Project<'_>, arguments: &[&str]) -> Command {
    let burst = project.command("");
    let mut shell = project.sandbox.command("bash", &project.root);
    shell.args(arguments).env("PS1", "% ").env("burst", burst.get_program());
    shell
}

#[test]
fn a_hidden_password_is_not_shown() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "stty -echo; printf 'password: '; read x; stty echo; echo; echo \"got $x\"";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("password: ");
    desk.type_in("secret\r");
    desk.expect("\r\ngot secret\r\n");
    assert!(desk.end().success());
}

#[test]
fn ctrl_d_ends_the_input() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut desk = Desk::start(&run(&project, &["cat"]));
    desk.wait_until_raw();
    desk.type_in("one\r");
    desk.expect("one\r\none\r\n");
    desk.type_in("two\u{4}");
    desk.expect("twotwo");
    desk.type_in("\u{4}");
    assert!(desk.end().success());
}

#[test]
fn ctrl_c_reaches_a_program_that_survives_it() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "trap 'echo caught' INT; echo ready; while ! read x; do :; done; echo \"got $x\"";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("ready\r\n");
    desk.type_in("\u{3}");
    desk.expect("^Ccaught\r\n");
    desk.type_in("\u{3}");
    desk.expect("^Ccaught\r\n");
    desk.type_in("x\r");
    desk.expect("x\r\ngot x\r\n");
    assert!(desk.end().success());
}

#[test]
fn ctrl_c_ends_a_program_and_a_compilation() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut desk = Desk::start(&run(&project, &["sh", "-c", "echo ready; exec sleep 1000"]));
    desk.expect("ready\r\n");
    desk.type_in("\u{3}");
    assert_eq!(desk.end_interrupted().signal(), Some(2));

    let compiles = sandbox.path().join("compiles");
    project.write(
        "build.rs",
        format!("fn main() {{\n    std::fs::write({compiles:?}, \"\").unwrap();\n    std::thread::sleep(std::time::Duration::from_secs(1000));\n}}\n"),
    );
    let mut desk = Desk::start(&run(&project, &["true"]));
    wait_until("the build script", || compiles.exists());
    desk.type_in("\u{3}");
    assert_eq!(desk.leave().signal(), Some(2));
}

#[test]
fn ctrl_c_ends_the_script_that_has_started_the_run() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let line = "\"$burst\" burst -q run -q -- sh -c 'echo ready; exec sleep 1000'; echo survived";
    let mut desk = Desk::start(&shell(&project, &["-c", line]));
    desk.expect("ready\r\n");
    desk.type_in("\u{3}");
    assert_eq!(desk.end_interrupted().signal(), Some(2));
}

#[test]
fn ctrl_d_ends_the_input_of_a_program_in_front_of_a_pipe() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let line = "\"$burst\" burst -q run -q -- cat | sed 's/^/got /'";
    let mut desk = Desk::start(&shell(&project, &["-c", line]));
    desk.type_in("one\n");
    desk.expect("one\r\ngot one\r\n");
    // The first ends the line, the second the input.
    desk.type_in("two\u{4}\u{4}");
    desk.expect("twogot two");
    assert!(desk.end().success());
}

#[test]
fn a_program_whose_output_is_a_file_has_the_keyboard() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "stty -echo; printf \"password: \" >&2; read x; echo \"$x\"; echo >/dev/tty";
    let line = format!("\"$burst\" burst -q run -q -- sh -c '{script}' >output");
    let mut desk = Desk::start(&shell(&project, &["-c", &line]));
    desk.expect("password: ");
    desk.type_in("secret\r");
    desk.expect("\r\n");
    assert!(desk.end().success());
    assert_eq!(project.read("output"), "secret\n");
}

#[test]
fn a_remote_shell_controls_its_jobs() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    // It says when it is in the foreground.
    let job = "ulimit -c 0\ntrap 'echo on' CONT\necho on\nwhile ! read x; do :; done\n";
    project.write("job.sh", job);
    let shell = ["env", "PS1=% ", "bash", "--norc", "--noediting", "-i"];
    let mut desk = Desk::start(&run(&project, &shell));
    desk.expect("% ");
    desk.type_in("sh job.sh\r");
    desk.expect("sh job.sh\r\non\r\n");
    desk.type_in("\u{1a}");
    desk.expect("^Z\r\n[1]+  Stopped                 sh job.sh\r\n% ");
    desk.type_in("fg\r");
    desk.expect("fg\r\nsh job.sh\r\non\r\n");
    desk.type_in("\u{3}");
    desk.expect("^C\r\n% ");
    desk.type_in("sh job.sh\r");
    desk.expect("sh job.sh\r\non\r\n");
    desk.type_in("\u{1c}");
    desk.expect("^\\Quit\r\n% ");
    desk.type_in("exit 7\r");
    desk.expect("exit 7\r\nexit\r\n");
    assert_eq!(desk.end().code(), Some(7));
}

#[test]
fn a_new_size_reaches_the_program() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "trap 'stty size' WINCH; stty size; while ! read x; do :; done";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("30 100\r\n");
    let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&desk.ours, size).unwrap();
    desk.expect("40 120\r\n");
    desk.type_in("x\r");
    desk.expect("x\r\n");
    assert!(desk.end().success());
}

#[test]
fn an_escape_ends_a_run_that_does_not_listen() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "trap '' INT; stty -echo; echo ready; while :; do read x; done";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("ready\r\n");
    desk.type_in("\u{3}");
    desk.type_in("\u{3}");
    desk.expect("\r\nburst: Ctrl-C goes to the program; Enter, then `~.` ends the run\r\n");
    desk.type_in("\u{3}\r~?");
    desk.expect(
        "\r\nburst: escapes at the beginning of a line:\r\n\
         \x20 ~.   end the run and this command\r\n\
         \x20 ~^Z  suspend this command\r\n\
         \x20 ~~   send a tilde\r\n\
         \x20 ~?   list these escapes\r\n",
    );
    desk.type_in("~.");
    desk.expect("\r\nburst: the run is ended\r\n");
    assert_eq!(desk.end().signal(), Some(2));
    wait_until("the end of the run", || alive(&project) == 0);
}

#[test]
fn an_escape_is_heard_behind_keys_that_nobody_reads() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "stty raw -echo; echo ready; exec sleep 1000";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("ready\n");
    // More than any window and buffer holds.
    desk.type_in(&"x".repeat(800_000));
    desk.type_in("\r~.");
    desk.expect("\r\nburst: the run is ended\r\n");
    assert_eq!(desk.end().signal(), Some(2));
}

#[test]
fn a_closed_terminal_ends_a_run_that_does_not_listen() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "trap '' HUP; echo ready; exec sleep 98764";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("ready\r\n");
    let Desk { ours, theirs, mut child, .. } = desk;
    drop((ours, theirs));
    wait_until("the end", || child.try_wait().unwrap().is_some());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(1), "{status:?}");
}

#[test]
fn a_program_on_a_server_can_open_its_terminal_by_name() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.write("src/main.rs", BECOMES);
    let ready = project.burst("run -q -- true");
    assert_eq!(ready.code, Some(0), "{ready:#?}\n{}", logs(&simulator, &sandbox));
    let script = "stty size <\"$(tty)\"; read x; echo \"got $x\" >\"$(tty)\"";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("30 100\r\n");
    desk.type_in("x\r");
    desk.expect("x\r\ngot x\r\n");
    assert!(desk.end().success());
}

#[test]
fn the_terminal_is_restored_when_the_agent_is_killed() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut desk = Desk::start(&run(&project, &["sh", "-c", "echo ready; exec sleep 1000"]));
    desk.expect("ready\r\n");
    sandbox.end_agent(Signal::SIGKILL);
    desk.find("error:");
    assert_ne!(desk.leave().code(), Some(0));
    // Printed when line ends are translated again.
    assert!(desk.rest().ends_with("\r\n") && !desk.rest().contains("\r\r\n"), "{}", desk.rest());
}

#[test]
fn the_screen_of_a_program_that_is_killed_is_left() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "printf '\\033[?1049h\\033[?25lscreen'; exec sleep 1000";
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("\u{1b}[?1049h\u{1b}[?25lscreen");
    sandbox.end_agent(Signal::SIGKILL);
    desk.expect("\u{1b}[?25h\u{1b}[?1049l\u{1b}[m");
    desk.leave();
    let mut desk = Desk::start(&run(&project, &["sh", "-c", script]));
    desk.expect("\u{1b}[?1049h\u{1b}[?25lscreen");
    desk.type_in("\r~.");
    desk.find("\u{1b}[?25h\u{1b}[?1049l\u{1b}[m");
    desk.leave();
    // What a program leaves at its end is left.
    let mut desk = Desk::start(&run(&project, &["printf", "\\033[?25lend"]));
    desk.expect("\u{1b}[?25lend");
    assert!(desk.end().success());
}

#[test]
fn the_terminal_is_restored_when_this_command_is_terminated() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let mut desk = Desk::start(&run(&project, &["sh", "-c", "echo ready; exec sleep 1000"]));
        desk.expect("ready\r\n");
        send(&desk.child, signal);
        let status = desk.end();
        assert_eq!(status.signal(), Some(signal as i32), "{status:?}");
    }
}

#[test]
fn a_run_in_the_background_goes_on_and_is_interactive_in_the_foreground() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let shell = shell(&project, &["--norc", "--noediting", "-i"]);
    let begun = sandbox.path().join("begun");
    let script = format!("touch {}; read x; echo \"got $x\"", begun.display());
    let mut desk = Desk::start(&shell);
    desk.expect("% ");
    let line = format!("\"$burst\" burst -q run -q -- sh -c '{script}' &");
    desk.type_in(&format!("{line}\r"));
    desk.find("% ");
    wait_until("the run", || begun.exists());
    desk.type_in("jobs\r");
    desk.expect(&format!("jobs\r\n[1]+  Running                 {line}\r\n% "));
    desk.type_in("fg\r");
    desk.expect("fg\r\n");
    desk.find("\r\n");
    desk.wait_until_raw();
    desk.type_in("x\r");
    desk.expect("x\r\ngot x\r\n% ");
    // Suspended and resumed by the user.
    desk.type_in("\"$burst\" burst -q run -q -- cat\r");
    desk.find("\r\n");
    desk.wait_until_raw();
    desk.type_in("one\r");
    desk.expect("one\r\none\r\n");
    desk.type_in("~\u{1a}");
    desk.find("Stopped");
    desk.find("% ");
    desk.type_in("fg\r");
    desk.find("fg\r\n");
    desk.find("\r\n");
    desk.wait_until_raw();
    desk.type_in("two\r");
    desk.expect("two\r\ntwo\r\n");
    desk.type_in("\u{4}");
    desk.expect("% ");
    desk.type_in("exit\r");
    desk.expect("exit\r\nexit\r\n");
    assert!(desk.end().success());
}
