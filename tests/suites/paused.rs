//! An agent that is paused in any stage of a command: the command ends with its error, and
//! once the agent goes on, or has died, the next command gives everything.

use std::fs;
use std::path::Path;
use std::process::Child;

use burst_tests::wait_until;
use burst_tests::{Ended, Moment, Project, Sandbox, assert_explained, assert_lines, ended};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::histories::assert_same_tree;
use crate::sandbox;
use crate::terminals::{alive, start_waiter, waiter};

/// What ends a pause.
const ENDS: [Signal; 2] = [Signal::SIGCONT, Signal::SIGKILL];

/// The error of a command whose agent is paused while cargo runs.
const LOST_RUN: &str = "\
error: the connection to the agent was lost while cargo ran
caused by: the agent cannot be reached again within 1 s
caused by: [..]
hint: run the command again: the agent kept the work that cargo had finished
";

/// Silence of a second counts as the loss of the connection, after another second the command
/// gives up.
fn impatient() -> Sandbox {
    sandbox().with("CARGO_BURST_GRACE_SECS", "1").with("CARGO_BURST_RECONNECT_SECS", "1")
}

fn pause(sandbox: &Sandbox) {
    let agent = Pid::from_raw(sandbox.agent().expect("an agent"));
    kill(agent, Signal::SIGSTOP).unwrap();
}

fn end_pause(sandbox: &Sandbox, end: Signal) {
    match end {
        Signal::SIGKILL => sandbox.end_agent(end),
        _ => kill(Pid::from_raw(sandbox.agent().unwrap()), end).unwrap(),
    }
}

/// How a command ends whose agent says nothing.
fn ended_alone(mut command: Child) -> Ended {
    wait_until("the end of the command", || command.try_wait().unwrap().is_some());
    ended(command.wait_with_output().unwrap())
}

/// Expects that a command brings all results silently, and that both ends agree then.
fn assert_complete(project: &Project<'_>) {
    assert_lines(&project.ok("check -q").stderr, "");
    assert_same_tree(project);
    assert_eq!(alive(project), 0);
}

#[test]
fn a_command_that_meets_a_paused_agent_gives_it_up() {
    let sandbox = impatient();
    let project = sandbox.hello("app");
    project.ok("check -q");
    for end in ENDS {
        pause(&sandbox);
        assert_explained(
            &ended_alone(project.start("build -q")),
            113,
            "error: the agent at 127.0.0.1:[..] does not answer\n\
             caused by: timed out\n\
             hint: run the command again; if that does not help, `cargo burst down` ends the \
             agent and the next command starts a new one\n",
        );
        assert!(!project.has("target"));
        end_pause(&sandbox, end);
        project.ok("build -q");
        assert_eq!(project.output_of("target/debug/hello"), "hello\n");
        project.ok("clean -q");
    }
}

#[test]
fn an_agent_that_is_paused_during_the_upload() {
    let noise: Vec<u8> =
        (0..30_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    for end in ENDS {
        let sandbox = impatient();
        let project = sandbox.hello("app");
        project.ok("check -q");
        // More than any window holds.
        project.write("data", &noise);
        let staging = sandbox.agent_project(&project.root).join("staging");
        let upload = Moment::new(&[&staging], "", 1);
        let command = project.start("build -q");
        assert!(upload.comes_before_end_of(&command));
        pause(&sandbox);
        assert_explained(
            &ended_alone(command),
            114,
            "error: the connection to the agent was lost\n\
             caused by: the agent cannot be reached again within 1 s\n\
             caused by: [..]\n\
             hint: run the command again: no file has changed here\n",
        );
        assert!(!project.has("target"));
        end_pause(&sandbox, end);
        project.ok("build -q");
        assert_eq!(project.output_of("target/debug/hello"), "hello\n");
        assert!(fs::read(project.root.join("data")).unwrap() == noise);
        assert_complete(&project);
    }
}

#[test]
fn an_agent_that_is_paused_while_a_program_runs() {
    for end in ENDS {
        let sandbox = impatient();
        let project = sandbox.hello("app");
        waiter(&project, "std::fs::write(\"made\", \"run\").unwrap();");
        let command = start_waiter(&project);
        pause(&sandbox);
        assert_explained(&ended_alone(command), 114, LOST_RUN);
        assert!(!project.has("made"));
        end_pause(&sandbox, end);
        assert_complete(&project);
        assert_eq!(project.read("made"), "run");
    }
}

/// A program that writes a large file, and runs until it is let go.
fn writer(project: &Project<'_>, [started, go]: [&Path; 2]) {
    project.write(
        "src/main.rs",
        format!(
            "use std::fs;
fn main() {{
    fs::write(\"made\", \"0123456789abcdef\".repeat(2_500_000)).unwrap();
    fs::write({started:?}, \"\").unwrap();
    while !fs::exists({go:?}).unwrap() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }}
}}
"
        ),
    );
}

fn is_made(project: &Project<'_>) -> bool {
    project.read("made") == "0123456789abcdef".repeat(2_500_000)
}

/// The program ends during the pause: the agent has results that the client does not know of.
#[test]
fn an_agent_that_is_paused_when_a_program_ends() {
    for end in ENDS {
        let sandbox = impatient();
        let project = sandbox.hello("app");
        let [started, go] = ["started", "go"].map(|name| sandbox.path().join(name));
        writer(&project, [&started, &go]);
        let command = project.start("run -q");
        wait_until("the run", || started.exists());
        assert_eq!(alive(&project), 1);
        pause(&sandbox);
        fs::write(&go, "").unwrap();
        wait_until("the end of the program", || alive(&project) == 0);
        assert_explained(&ended_alone(command), 114, LOST_RUN);
        assert!(!project.has("made"));
        end_pause(&sandbox, end);
        assert_complete(&project);
        assert!(is_made(&project));
    }
}

#[test]
fn an_agent_that_is_paused_while_it_sends_results() {
    for end in ENDS {
        let sandbox = impatient();
        let project = sandbox.hello("app");
        let [started, go] = ["started", "go"].map(|name| sandbox.path().join(name));
        project.ok("check -q");
        writer(&project, [&started, &go]);
        fs::write(&go, "").unwrap();
        // More is still to be sent than any window holds.
        let results = Moment::new(&[&project.root], ".burst-", 1);
        let command = project.start("run -q");
        assert!(results.comes_before_end_of(&command));
        pause(&sandbox);
        assert_explained(
            &ended_alone(command),
            115,
            "error: cargo has finished, but not all of its results are here\n\
             caused by: the agent cannot be reached again within 1 s\n\
             caused by: [..]\n\
             hint: run the command again: the agent has kept the results\n",
        );
        let mut names: Vec<_> = fs::read_dir(&project.root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".gitignore", "Cargo.lock", "Cargo.toml", "src", "target"]);
        end_pause(&sandbox, end);
        assert_complete(&project);
        assert!(is_made(&project));
    }
}

#[test]
fn down_ends_an_agent_that_is_paused() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("check");
    pause(&sandbox);
    project.ok("down");
    let status = project.ok("status").stdout;
    let not_running = "agent on this machine: not running; the next command starts it";
    assert_eq!(status.lines().next(), Some(not_running));
    project.ok("check");
}
