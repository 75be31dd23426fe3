//! Detached runs that wait, and commands that wait for them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use burst_tests::wait_until;
use hetzner_sim::{Options, Scenario, Simulator};

use super::{detach, gate, open, record, wait_for_end, wait_for_output};
use crate::hetzner::{TOKEN, sandbox_on};
use crate::sandbox;
use crate::terminals::keyboard::project;

#[test]
fn a_wait_for_a_detached_run_names_it() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    let script = format!("echo ready; {wait}; exit 3");
    detach(&project, &script);
    wait_for_output(&sandbox, "1", "ready\n");
    // Other sources: the next ones wait.
    project.write("src/other.rs", "");
    let title: String = format!("cargo run -q -- sh -c {script}").chars().take(80).collect();
    let mut here = project.start("sync");
    let mut lines = BufReader::new(here.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("waiting for")).unwrap();
    let which = format!("`{title}`, detached run 1");
    let shows = "`cargo burst attach 1` shows it";
    let expected = format!("burst: waiting for {which}, which runs in this project: {shows}");
    assert_eq!(line, expected);
    let started = project.command("--detach sync").output().unwrap();
    assert_eq!(started.stdout, b"2\n");
    let waits = record(&sandbox, "2").join("waits");
    wait_until("the wait", || std::fs::read_to_string(&waits).is_ok_and(|text| text == which));
    let status = project.ok("status").stdout;
    let status: Vec<_> = status.lines().filter(|line| line.starts_with("detached run 2")).collect();
    let begin = format!(
        "detached run 2: `cargo burst sync` of {}, waiting for {which}, started ",
        project.root.display()
    );
    assert!(status[0].starts_with(&begin), "{status:?}");
    open(&gate);
    wait_for_end(&sandbox, "1");
    wait_for_end(&sandbox, "2");
    assert!(!waits.exists());
    assert!(here.wait().unwrap().success());
    assert_eq!(project.burst("attach 2").code, Some(0));
}

/// The arguments of a plain run make no detached one of it, though one with that number runs.
#[test]
fn a_plain_run_is_not_taken_for_a_detached_one() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut plain = project.command("run -q -- sh -c");
    plain.args(["echo begun; read x", "x (detached run 1)"]);
    let mut plain = plain.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(plain.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    // Other sources: the next one waits.
    project.write("src/other.rs", "");
    let started = project.command("--detach sync").output().unwrap();
    assert_eq!(started.stdout, b"1\n");
    let waits = record(&sandbox, "1").join("waits");
    let note = || std::fs::read_to_string(&waits).unwrap_or_default();
    wait_until("the wait", || note().contains("cargo run"));
    assert_eq!(note(), "`cargo run -q -- sh -c echo begun; read x x (detached run 1)`");
    drop(plain.stdin.take());
    plain.wait().unwrap();
    wait_for_end(&sandbox, "1");
    let shown = project.burst("attach 1");
    assert_eq!(shown.code, Some(0));
    assert!(!shown.stderr.contains("`cargo burst attach 1` shows it"), "{shown:?}");
}

#[test]
fn a_wait_for_a_cargo_here_is_shown() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let debug = project.root.join("target/debug");
    std::fs::create_dir_all(&debug).unwrap();
    let lock = File::create(debug.join(".cargo-lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(project.ok("-q --detach build --fetch all").stdout, "1\n");
    let waits = record(&sandbox, "1").join("waits");
    let cargo = format!("a cargo that builds in `{}`", debug.display());
    wait_until("the wait", || std::fs::read_to_string(&waits).is_ok_and(|text| text == cargo));
    let status = project.ok("status").stdout;
    let status: Vec<_> = status.lines().filter(|line| line.starts_with("detached run 1")).collect();
    let begin = format!(
        "detached run 1: `cargo build` of {}, waiting for {cargo}, started ",
        project.root.display()
    );
    assert!(status[0].starts_with(&begin), "{status:?}");
    drop(lock);
    wait_for_end(&sandbox, "1");
    assert!(!waits.exists());
    assert_eq!(project.burst("attach 1").code, Some(0));
}

/// Servers of this simulator never answer.
#[test]
fn a_wait_for_a_server_is_shown() {
    let simulator = Simulator::start(Options::new(TOKEN, Scenario::default())).unwrap();
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    assert_eq!(project.ok("-q --detach build").stdout, "1\n");
    let waits = record(&sandbox, "1").join("waits");
    let server = "a server: waiting for the cx53 server in hel1 to boot";
    wait_until("the wait", || std::fs::read_to_string(&waits).is_ok_and(|text| text == server));
    let status = project.ok("status").stdout;
    let status: Vec<_> = status.lines().filter(|line| line.starts_with("detached run 1")).collect();
    let begin = format!(
        "detached run 1: `cargo build` of {}, waiting for {server}, started ",
        project.root.display()
    );
    assert!(status[0].starts_with(&begin), "{status:?}");
    let document: serde_json::Value =
        serde_json::from_str(&project.ok("status --json").stdout).unwrap();
    assert_eq!(document["runs"][0]["waits_for"], server);
    project.ok("down --yes");
    wait_for_end(&sandbox, "1");
    assert_eq!(project.burst("attach 1").code, Some(114));
}
