//! Programs that are stopped, by Ctrl-Z and otherwise, and the shell that continues them.

use std::process::Stdio;

use burst_tests::wait_until;
use nix::sys::signal::Signal;

use super::desk::Desk;
use super::keyboard::{project, shell};
use super::send;
use crate::sandbox;

/// An interactive bash.
const INTERACTIVE: [&str; 3] = ["--norc", "--noediting", "-i"];

#[test]
fn ctrl_z_gives_the_shell_back_as_with_cargo() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let session = |cargo: &str| {
        let mut desk = Desk::start(&shell(&project, &INTERACTIVE));
        desk.expect("% ");
        let line = format!("{cargo} run -q -- sh -c 'echo ready; read x; echo \"got $x\"; exit 7'");
        desk.type_in(&format!("{line}\r"));
        desk.find("ready\r\n");
        desk.type_in("\u{1a}");
        desk.expect(&format!("^Z\r\n[1]+  Stopped                 {line}\r\n% "));
        assert!(desk.has_lines());
        desk.type_in("jobs\r");
        desk.expect(&format!("jobs\r\n[1]+  Stopped                 {line}\r\n% "));
        desk.type_in("fg\r");
        desk.expect(&format!("fg\r\n{line}\r\n"));
        desk
    };
    let finish = |mut desk: Desk| {
        desk.type_in("x\r");
        desk.expect("x\r\ngot x\r\n% ");
        desk.type_in("echo $?\r");
        desk.expect("echo $?\r\n7\r\n% ");
        desk.type_in("exit\r");
        desk.expect("exit\r\nexit\r\n");
        assert!(desk.end().success());
    };
    finish(session("cargo"));
    let desk = session("\"$burst\" burst -q");
    desk.wait_until_raw();
    finish(desk);
}

#[test]
fn what_a_program_writes_before_it_stops_is_shown_before_the_shell() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut desk = Desk::start(&shell(&project, &INTERACTIVE));
    desk.expect("% ");
    let script = "trap \"printf undone; trap - TSTP; kill -TSTP \\$\\$; echo back\" TSTP; \
                  stty -echo; echo ready; until read x; do :; done; stty echo; echo \"got $x\"";
    let line = format!("\"$burst\" burst -q run -q -- bash -c '{script}'");
    desk.type_in(&format!("{line}\r"));
    desk.find("ready\r\n");
    desk.type_in("\u{1a}");
    desk.expect(&format!("undone\r\n[1]+  Stopped                 {line}\r\n% "));
    desk.type_in("fg\r");
    desk.expect(&format!("fg\r\n{line}\r\nback\r\n"));
    desk.wait_until_raw();
    desk.type_in("x\r");
    desk.expect("got x\r\n% ");
    desk.type_in("exit\r");
    desk.expect("exit\r\nexit\r\n");
    assert!(desk.end().success());
}

#[test]
fn a_stopped_run_is_ended_by_the_shell() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut desk = Desk::start(&shell(&project, &INTERACTIVE));
    desk.expect("% ");
    let line = "\"$burst\" burst -q run -q -- sh -c 'echo ready; exec sleep 1000'";
    desk.type_in(&format!("{line}\r"));
    desk.find("ready\r\n");
    desk.type_in("\u{1a}");
    desk.expect(&format!("^Z\r\n[1]+  Stopped                 {line}\r\n% "));
    // Without `-f` the shell waits only while it does not take the job for stopped.
    desk.type_in("kill %1; wait -f %1; echo $?\r");
    desk.find("\r\n143\r\n% ");
    desk.type_in("exit\r");
    desk.expect("exit\r\nexit\r\n");
    assert!(desk.end().success());
}

#[test]
fn a_shell_in_a_run_keeps_its_own_jobs() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut desk = Desk::start(&shell(&project, &INTERACTIVE));
    desk.expect("% ");
    let line = "\"$burst\" burst -q run -q -- env 'PS1=> ' bash --norc --noediting -i";
    desk.type_in(&format!("{line}\r"));
    desk.expect(&format!("{line}\r\n> "));
    desk.type_in("cat\r");
    desk.expect("cat\r\n");
    desk.type_in("one\r");
    desk.expect("one\r\none\r\n");
    desk.type_in("\u{1a}");
    desk.expect("^Z\r\n[1]+  Stopped                 cat\r\n> ");
    assert!(!desk.has_lines());
    desk.type_in("fg\r");
    desk.expect("fg\r\ncat\r\n");
    desk.type_in("two\r");
    desk.expect("two\r\ntwo\r\n");
    desk.type_in("\u{4}");
    desk.expect("> ");
    desk.type_in("exit 3\r");
    desk.expect("exit 3\r\nexit\r\n% ");
    desk.type_in("exit\r");
    desk.expect("exit\r\nexit\r\n");
    assert_eq!(desk.end().code(), Some(3));
}

#[test]
fn a_stopped_program_without_the_keyboard_goes_on_with_the_command() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut command = project.command("-q run -q -- sh");
    command.args(["-c", "kill -STOP $$; echo on"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("the end of the run", || {
        // Before the command knows that the program is stopped, this changes nothing.
        send(&child, Signal::SIGCONT);
        child.try_wait().unwrap().is_some()
    });
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "on\n");
}
