//! Detached runs with terminals of their own, and `attach` on a terminal.

use std::os::unix::process::ExitStatusExt;

use burst_tests::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{Winsize, tcsetwinsize};

use super::{attach, detach, detach_on_terminal, detaching, gate, holder, open, wait_for_end};
use crate::sandbox;
use crate::terminals::desk::Desk;
use crate::terminals::is_full;
use crate::terminals::keyboard::project;

#[test]
fn the_keyboard_is_the_runs() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "stty -echo; printf 'password: '; read x; stty echo; echo; echo \"got $x\"";
    detach_on_terminal(&project, script);
    let mut desk = attach(&project);
    desk.expect("password: ");
    desk.type_in("secret\r");
    desk.expect("\r\ngot secret\r\n");
    assert!(desk.end().success());
}

#[test]
fn ctrl_c_ends_an_attached_compilation() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let compiles = sandbox.path().join("compiles");
    project.write(
        "build.rs",
        format!("fn main() {{\n    std::fs::write({compiles:?}, \"\").unwrap();\n    std::thread::sleep(std::time::Duration::from_secs(1000));\n}}\n"),
    );
    let mut desk = Desk::start(&project.command("-q --detach build"));
    desk.expect("1\r\n");
    assert!(desk.end().success());
    wait_until("the build script", || compiles.exists());
    let mut desk = attach(&project);
    desk.find("Compiling hello");
    desk.wait_until_raw();
    desk.type_in("\u{3}");
    assert_eq!(desk.leave().signal(), Some(2));
}

#[test]
fn the_size_of_the_terminal_is_the_runs() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "trap 'stty size' WINCH; stty size; while ! read x; do :; done";
    detach_on_terminal(&project, script);
    let mut desk = attach(&project);
    desk.expect("30 100\r\n");
    let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&desk.ours, size).unwrap();
    desk.expect("40 120\r\n");
    desk.type_in("~d");
    desk.find("shows it again\r\n");
    assert_eq!(desk.end().code(), Some(114));
    // A terminal of another size.
    let mut desk = attach(&project);
    desk.expect("30 100\r\n40 120\r\n30 100\r\n");
    desk.type_in("x\r");
    desk.expect("x\r\n");
    assert!(desk.end().success());
}

#[test]
fn a_run_is_left_and_taken_up_again() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "echo ready; read x; echo \"got $x\"; read x; echo \"got $x\"; exit 3";
    detach_on_terminal(&project, script);
    let mut desk = attach(&project);
    desk.expect("ready\r\n");
    desk.type_in("one\r");
    desk.expect("one\r\ngot one\r\n");
    desk.type_in("~?");
    desk.expect(
        "\r\nburst: escapes at the beginning of a line:\r\n\
         \x20 ~d   leave the run, which goes on\r\n\
         \x20 ~^Z  suspend this command\r\n\
         \x20 ~.   end the run, where its program has the keyboard\r\n\
         \x20 ~~   send a tilde\r\n\
         \x20 ~?   list these escapes\r\n",
    );
    desk.type_in("~d");
    desk.expect("\r\nburst: run 1 goes on: `cargo burst attach 1` shows it again\r\n");
    assert_eq!(desk.end().code(), Some(114));
    let mut desk = attach(&project);
    desk.expect("ready\r\none\r\ngot one\r\n");
    desk.type_in("two\r");
    desk.expect("two\r\ngot two\r\n");
    assert_eq!(desk.end().code(), Some(3));
}

#[test]
fn who_leaves_a_full_screen_program_has_the_terminal_as_it_was() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach_on_terminal(&project, "printf '\\033[?1049h\\033[?25lscreen'; read x");
    let mut desk = attach(&project);
    desk.expect("\u{1b}[?1049h\u{1b}[?25lscreen");
    desk.type_in("~d");
    desk.expect("\u{1b}[?25h\u{1b}[?1049l\u{1b}[m\r\nburst: run 1 goes on");
    assert_eq!(desk.leave().code(), Some(114));
    let mut desk = attach(&project);
    desk.find("screen");
    desk.type_in("\r");
    assert!(desk.leave().success());
}

#[test]
fn an_escape_of_the_run_ends_it() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach_on_terminal(&project, "trap '' INT; stty -echo; echo ready; while :; do read x; done");
    let mut desk = attach(&project);
    desk.expect("ready\r\n");
    desk.type_in("~.");
    desk.expect("\r\nburst: the run is ended\r\n");
    assert_eq!(desk.end().signal(), Some(2));
}

#[test]
fn a_second_attach_takes_the_run_up() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach_on_terminal(&project, "echo ready; read x; echo \"got $x\"");
    let mut first = attach(&project);
    first.expect("ready\r\n");
    first.wait_until_raw();
    let mut second = attach(&project);
    second.expect("ready\r\n");
    first.expect(
        "\r\nerror: another terminal has taken run 1 up, so its exit code is not known here\r\n",
    );
    first.expect("hint: `cargo burst attach 1` takes it back\r\n");
    assert_eq!(first.end().code(), Some(114));
    second.type_in("x\r");
    second.expect("x\r\ngot x\r\n");
    assert!(second.end().success());
}

#[test]
fn a_closed_terminal_leaves_the_run() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    let mut desk = Desk::start(&detaching(&project, "", &format!("echo ready; {wait}; exit 4")));
    assert!(desk.leave().success());
    // The terminal that has detached the run closes, then one that shows it.
    drop(desk);
    let mut desk = attach(&project);
    desk.expect("ready\r\n");
    desk.wait_until_raw();
    let Desk { ours, theirs, mut child, .. } = desk;
    drop((ours, theirs));
    assert_eq!(child.wait().unwrap().signal(), Some(1));
    open(&gate);
    wait_for_end(&sandbox, "1");
    assert_eq!(project.burst("attach 1").code, Some(4));
}

#[test]
fn a_run_in_pipes_is_left_by_the_same_escape() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    detach(&project, &format!("echo ready; {wait}; read x || echo empty"));
    let mut desk = attach(&project);
    desk.expect("ready\r\n");
    desk.wait_until_raw();
    desk.type_in("text~d\r~d");
    desk.expect("\r\r\nburst: run 1 goes on: `cargo burst attach 1` shows it again\r\n");
    assert_eq!(desk.end().code(), Some(114));
    open(&gate);
    wait_for_end(&sandbox, "1");
    assert_eq!(project.burst("attach 1").stdout, "ready\nempty\n");
}

#[test]
fn the_screen_of_a_program_is_left_when_its_run_ends_or_is_lost() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "printf '\\033[?1049h\\033[?25lscreen'; read x";
    detach_on_terminal(&project, script);
    let mut desk = attach(&project);
    desk.expect("\u{1b}[?1049h\u{1b}[?25lscreen");
    desk.type_in("\u{3}");
    desk.find("\u{1b}[?25h\u{1b}[?1049l\u{1b}[m");
    assert_eq!(desk.end().signal(), Some(2));

    detach_on_terminal(&project, script);
    let mut desk = attach(&project);
    desk.expect("\u{1b}[?1049h\u{1b}[?25lscreen");
    kill(holder(&sandbox, "2"), Signal::SIGKILL).unwrap();
    desk.expect("\u{1b}[?25h\u{1b}[?1049l\u{1b}[m");
    desk.find("error: run 2 was lost");
    assert_eq!(desk.leave().code(), Some(114));
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo ready; exec sleep 1000");
    for kind in [Signal::SIGALRM, Signal::SIGUSR1, Signal::SIGABRT, Signal::SIGTERM] {
        let mut desk = attach(&project);
        desk.expect("ready\r\n");
        desk.wait_until_raw();
        kill(Pid::from_raw(desk.child.id() as i32), kind).unwrap();
        desk.expect("\r\r\n");
        assert_eq!(desk.leave().signal(), Some(kind as i32));
        // The kernel drops what is not read yet when the leader of the session ends.
        let line = "burst: run 1 goes on: `cargo burst attach 1` shows it again\r\n";
        assert!(["", line].contains(&desk.rest().as_str()), "{}", desk.rest());
    }
}

#[test]
fn an_attach_that_is_stopped_takes_the_terminal_again() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo ready; exec sleep 1000");
    let burst = project.command("");
    let mut shell = sandbox.command("bash", &project.root);
    shell.args(["--norc", "--noediting", "-i"]).env("PS1", "% ").env("burst", burst.get_program());
    let mut desk = Desk::start(&shell);
    desk.expect("% ");
    desk.type_in("\"$burst\" burst attach\r");
    desk.find("ready\r\n");
    desk.wait_until_raw();
    desk.type_in("\u{1a}");
    desk.find("Stopped");
    desk.find("% ");
    wait_until("lines", || desk.has_lines());
    desk.type_in("fg\r");
    desk.find("fg\r\n");
    desk.wait_until_raw();
    desk.type_in("~d");
    desk.find("shows it again\r\n");
    desk.find("% ");
    desk.type_in("exit\r");
    desk.leave();
}

#[test]
fn a_signal_is_heard_though_nobody_reads_what_is_shown() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "head -c 1000000 /dev/zero; exec sleep 1000");
    let mut attached = project.start("attach");
    let output = attached.stdout.take().unwrap();
    wait_until("the pipe is full", || is_full(&output));
    kill(Pid::from_raw(attached.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(attached.wait().unwrap().signal(), Some(15));
}
