//! What is kept apart: builds on a server from each other and from the agent, background
//! processes from the descriptors of whoever starts them.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use burst_tests::{Project, carry_over, lacks};
use hetzner_sim::Scenario;

use crate::hetzner::{cloud, sandbox_on};
use crate::sandbox;

/// Runs a command whose caller has a pipe at descriptor 9 and a lock at descriptor 8, and
/// asserts that both are free when the command has ended.
fn assert_nothing_is_held(project: &Project<'_>, arguments: &str) {
    let lock = project.sandbox.path().join("held");
    let script = "exec 8>\"$1\" && flock 8 && shift && exec 9>&1 >/dev/null 2>&1 && \"$@\"";
    let inner = project.command(arguments);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&lock).arg(inner.get_program());
    carry_over(&mut command, &inner);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", project.sandbox.agent_log());
    let mut pipe = File::from(std::os::fd::OwnedFd::from(child.stdout.take().unwrap()));
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    assert_eq!(pipe.read(&mut [0; 1]).ok(), Some(0), "the pipe is still held");
    let lock = File::open(&lock).unwrap();
    let free = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert!(free.is_ok(), "the lock is still held");
}

#[test]
fn the_agent_holds_no_descriptor_of_its_starter() {
    if lacks(&["flock"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    assert_nothing_is_held(&project, "build");
    assert!(sandbox.agent().is_some());
}

#[test]
fn the_keeper_holds_no_descriptor_of_its_starter() {
    if lacks(&["flock"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    assert_nothing_is_held(&project, "sync");
    assert!(sandbox.keeper().is_some());
}
