use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use burst_protocol::message::{Artifact, Ending, Failure, FailureKind, FromAgent, Stream};
use burst_protocol::tree::{Change, File, FileMode};
use burst_protocol::{Digest, RelativePath};
use burst_tests::assert_explained;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::results::CLOCK;
use crate::sandbox;
use crate::scripted::{Says, Scripted};

/// Longer than a connection of the scripted agent lives without its client.
const DEADLINE: Duration = Duration::from_secs(60);

fn synced() -> FromAgent {
    FromAgent::Synced { written: 0, removed: 0 }
}

fn started() -> FromAgent {
    FromAgent::Started { notice: None, clock: CLOCK }
}

fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

/// Whether the agent was told that its client is gone, instead of noticing it by silence.
#[track_caller]
fn assert_told(agent: &Scripted) {
    let ended = agent.ended.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(ended, quinn::ConnectionError::ApplicationClosed(_)), "{ended:?}");
}

#[test]
fn an_agent_that_is_alive_and_mute_is_given_up() {
    let mute = "error: the agent is connected but does not answer any more\n\
         caused by: no answer from the other end within 6 seconds\n\
         hint: run the command again; if that does not help, `cargo burst down` ends the agent \
         and the next command starts a new one\n";
    let incomplete = "error: cargo has finished, but not all of its results are here\n\
         caused by: no answer from the other end within 6 seconds\n\
         hint: run the command again: the agent has kept the results\n";
    let before_sync = || vec![FromAgent::Working];
    let before_start = || vec![FromAgent::Waiting { holder: "cargo check".into() }, synced()];
    let while_cargo_runs = || vec![synced(), started(), FromAgent::Working];
    let before_results = || {
        let file = File { size: 3, digest: Digest::of(b"abc"), mode: FileMode::REGULAR };
        let artifact = Artifact { path: path("debug/hello"), file };
        let finished = FromAgent::Finished(Ending::Exited(0));
        vec![synced(), started(), FromAgent::Artifacts(vec![artifact]), finished]
    };
    for (says, code, expected) in [
        (Says::Messages(before_sync), 114, mute),
        (Says::Messages(before_start), 114, mute),
        (Says::Messages(while_cargo_runs), 114, mute),
        (Says::Messages(before_results), 115, incomplete),
    ] {
        let sandbox = sandbox();
        let project = sandbox.hello("app");
        let agent = Scripted::start(&sandbox, says, true);
        assert_explained(&project.burst("build"), code, expected);
        assert_told(&agent);
    }
}

#[test]
fn lists_without_end_are_refused() {
    // Each change alone is small, and needs 250 directories in any tree.
    let without_end = || {
        let deep = |n: usize| Change::Remove { path: path(&format!("{n}{}", "/d".repeat(250))) };
        let message = |from: usize| FromAgent::Changed((from..from + 100).map(deep).collect());
        let changes = (0..2000).step_by(100).map(message);
        [synced(), started()].into_iter().chain(changes).collect()
    };
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let _agent = Scripted::start(&sandbox, Says::Messages(without_end), true);
    assert_explained(
        &project.burst("build"),
        114,
        "error: the agent broke the protocol\n\
         caused by: the other end broke the protocol: too many files: their number or the length \
         of their paths exceeds the limit\n\
         hint: run the command again; if that does not help, `cargo burst down` ends the agent \
         and the next command starts a new one\n",
    );
}

#[test]
fn escape_sequences_of_an_agent_are_shown_and_those_of_programs_passed_on() {
    let says = || {
        let failure = Failure {
            kind: FailureKind::Other,
            messages: vec!["a\u{1b}[2Jb\nhint: c".into(), "d\u{9b}2Je".into()],
        };
        vec![
            FromAgent::Waiting { holder: "cargo \u{1b}]0;title\u{7}".into() },
            synced(),
            FromAgent::Started { notice: Some("notice \u{1b}[31m".into()), clock: CLOCK },
            FromAgent::Output {
                stream: Stream::Output,
                bytes: b"\x1b[32mok\n"[..].to_vec().into(),
            },
            FromAgent::Withheld { path: path("large\u{1b}[1m"), size: 5 },
            FromAgent::Failed(failure),
        ]
    };
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let _agent = Scripted::start(&sandbox, Says::Messages(says), true);
    let found = project.burst("build");
    assert_eq!(found.stdout, "\u{1b}[32mok\n");
    assert_explained(
        &found,
        114,
        "error: a\\u001b[2Jb hint: c\n\
         caused by: d\\u009b2Je\n\
         hint: run the command again; if that does not help, `cargo burst down --with-volumes` \
         deletes the agent's copy of the project\n",
    );
    let ours: Vec<&str> =
        found.stderr.lines().take_while(|line| !line.starts_with("error")).collect();
    assert_eq!(
        ours,
        [
            "burst: waiting for `cargo \\u001b]0;title\\u0007`, which runs in this project",
            "warning: notice \\u001b[31m",
            "warning: `/large\\u001b[1m` was changed by the run and is not fetched (5 B): results of a run have at most 64 MiB each and 256 MiB in all; it stays in the agent's copy, and `--fetch` with its path brings it",
        ]
    );
}

#[test]
fn an_agent_is_told_of_every_end() {
    let failing = || {
        let failure = Failure { kind: FailureKind::Other, messages: vec!["no".into()] };
        vec![FromAgent::Failed(failure)]
    };
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let agent = Scripted::start(&sandbox, Says::Messages(failing), true);
    assert_eq!(project.burst("build").code, Some(114));
    assert_told(&agent);
    drop(agent);

    // The reader of the output has gone.
    let talking = || {
        let bytes = vec![b'x'; 60_000].into();
        vec![synced(), started(), FromAgent::Output { stream: Stream::Output, bytes }]
    };
    let agent = Scripted::start(&sandbox, Says::Messages(talking), true);
    let mut child = project.start("build");
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141), "{stderr}");
    assert_told(&agent);
    drop(agent);

    // A signal while the tree is synced.
    let agent = Scripted::start(&sandbox, Says::Messages(|| vec![FromAgent::Working]), true);
    let mut child = project.start("build");
    agent.said.recv_timeout(DEADLINE).unwrap();
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    assert_told(&agent);
    drop(agent);

    // The second signal while cargo runs; two of one kind could be delivered as one.
    let greeting = || {
        let bytes = b"x".to_vec().into();
        vec![synced(), started(), FromAgent::Output { stream: Stream::Output, bytes }]
    };
    let agent = Scripted::start(&sandbox, Says::Messages(greeting), true);
    let mut child = project.start("build");
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    signal(&child, Signal::SIGINT);
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().signal().is_some());
    assert_told(&agent);
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}
