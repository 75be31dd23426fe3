//! `down`: what it asks before it ends runs and deletes caches, what it waits for, and what cannot
//! be deleted.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use burst_tests::{Ended, Project, assert_explained, ended};
use hetzner_sim::Scenario;
use hetzner_sim::scenario::{Fault, FaultKind};
use hetzner_sim::simulator::lock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hetzner::{cloud, logs, names, sandbox_on, wait_for_verified_volume};
use crate::sandbox;
use crate::terminals::desk::Desk;
use crate::terminals::keyboard::project;

/// A run in another shell, which sleeps.
fn sleeping(project: &Project<'_>) -> Child {
    let mut command = project.command("run -q -- sh -c");
    command.arg("echo ready; exec sleep 1000").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = command.spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    run
}

const TITLE: &str = "cargo run -q -- sh -c echo ready; exec sleep 1000";

/// The end of a run that `down` has ended.
#[track_caller]
fn assert_ended_by_down(run: Child) {
    let told = "error: the run was ended by `cargo burst down`\n\
                hint: start it again; what it had changed comes back with the next command of its \
                workspace\n";
    assert_explained(&ended(run.wait_with_output().unwrap()), 114, told);
}

/// The whole of a refusal without a terminal, with these losses.
#[track_caller]
fn assert_refused(found: &Ended, losses: &[String]) {
    let causes: String = losses.iter().map(|loss| format!("caused by: {loss}\n")).collect();
    assert_explained(
        found,
        2,
        &format!(
            "error: `cargo burst down` would end or delete what does not come back, and there is \
             no terminal to ask on\n{causes}hint: add `--yes` to end and delete it; nothing was \
             changed\n"
        ),
    );
}

#[test]
fn a_run_of_another_shell_on_this_machine_is_ended_by_a_yes_alone() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut run = sleeping(&project);
    let loss = format!("the run `{TITLE}` of {} on this machine", project.root.display());
    assert_refused(&project.burst("down"), std::slice::from_ref(&loss));
    let asks = format!("This ends and deletes:\r\n  {loss}\r\nGo on? [y/N] ");
    let mut desk = Desk::start(&project.command("down"));
    desk.expect(&asks);
    desk.type_in("\r");
    desk.find("nothing was ended or deleted");
    assert_eq!(desk.leave().code(), Some(2));
    assert!(run.try_wait().unwrap().is_none());
    let mut desk = Desk::start(&project.command("down"));
    desk.expect(&asks);
    desk.type_in("y\r");
    desk.find("ended the agent on this machine\r\n");
    assert!(desk.end().success());
    assert_ended_by_down(run);
    // An agent that is idle is ended without a question, and so are what `--yes` says.
    project.ok("-q sync");
    assert_eq!(project.ok("down").stderr, "");
    let run = sleeping(&project);
    assert_eq!(project.ok("down --yes").stderr, "");
    assert_ended_by_down(run);
}

#[test]
fn caches_on_this_machine_are_deleted_by_a_yes_alone() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    // There is nothing yet.
    assert_eq!(project.ok("down --with-volumes").stderr, "");
    project.ok("-q sync");
    let loss = "the agent's copies of 1 project on this machine".to_owned();
    assert_refused(&project.burst("down --with-volumes"), &[loss]);
    assert!(sandbox.agent_project(&project.root).exists());
    project.ok("down --with-volumes --yes");
    assert!(!sandbox.agent_project(&project.root).exists());
}

#[test]
fn a_run_on_a_server_and_its_volume_are_named_and_an_idle_server_needs_no_question() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = project(&sandbox);
    let counts = || {
        let world = lock(&simulator.shared().world);
        (world.servers.len(), world.volumes.len())
    };
    let run = sleeping(&project);
    let server = "the server cargo-burst-[..]: cx53 in hel1, up [..]".to_owned();
    let runs = format!("its run `{TITLE}` of {}", project.root.display());
    let volume = "the volume of app with its caches: 10 GB in hel1".to_owned();
    assert_refused(&project.burst("down"), &[server.clone(), runs.clone()]);
    let with_volumes = project.burst("down --with-volumes");
    assert_refused(&with_volumes, &[server.clone(), runs.clone(), volume.clone()]);
    assert_eq!(counts(), (1, 1));
    let down = project.ok("down --yes");
    assert!(down.stdout.starts_with("deleted the server "), "{down:?}");
    assert_ended_by_down(run);
    assert_eq!(counts(), (0, 1));
    // What has ended does not count, and what is idle is deleted without a question.
    project.ok("-q sync");
    assert_refused(&project.burst("down --with-volumes"), &[server.clone(), volume]);
    let idle = project.burst("down");
    assert_eq!(idle.code, Some(0), "{idle:?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(counts(), (0, 1));
    // The agent knows its runs, whatever the keeper knows. A command that is stopped neither
    // connects again nor ends its run before the keeper is gone.
    let mut run = sleeping(&project);
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGSTOP).unwrap();
    sandbox.kill_keeper();
    run.kill().unwrap();
    assert_refused(&project.burst("down"), &[server, runs]);
    project.ok("down --with-volumes --yes");
    assert_eq!(counts(), (0, 0));
    run.wait().unwrap();
}

/// It is admitted once the run is ended, and the agent is about to end.
#[test]
fn a_command_that_waits_for_the_run_on_a_server_is_ended_with_it() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = project(&sandbox);
    let run = sleeping(&project);
    project.write("src/other.rs", "");
    let mut waiting = project.start("build");
    let mut told = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let waits = "burst: waiting for `cargo run -q -- sh -c echo ready; exec sleep 1000`, which runs \
                 in this project";
    assert!(told.any(|line| line.unwrap() == waits));
    project.ok("down --yes");
    assert_ended_by_down(run);
    let told: Vec<String> = told.map(Result::unwrap).collect();
    assert_eq!(waiting.wait().unwrap().code(), Some(114), "{told:#?}");
    let error = "error: the run was ended by `cargo burst down`";
    assert!(told.iter().any(|line| line == error), "{told:#?}");
    assert!(lock(&simulator.shared().world).servers.is_empty());
}

#[test]
fn down_waits_for_a_lock_and_says_so() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let kind = FaultKind::Answer { status: 423, code: Some("locked".into()), applied: false };
    let (method, route) = (Some("DELETE".into()), Some("/servers/{id}".into()));
    let locked = Fault { method, route, call: None, times: Some(2), kind };
    lock(&simulator.shared().world).scenario.faults = vec![locked];
    let down = project.ok("down");
    let told = "burst: waiting for an action at Hetzner that locks the server cargo-burst-";
    assert!(down.stderr.contains(told), "{down:?}");
    assert!(down.stdout.starts_with("deleted the server cargo-burst-"), "{down:?}");
    assert!(lock(&simulator.shared().world).servers.is_empty());
}

#[test]
fn a_protected_server_is_named_and_its_agent_stays() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let protect = |protected| {
        let mut world = lock(&simulator.shared().world);
        world.servers.values_mut().for_each(|server| server.is_protected = protected);
    };
    protect(true);
    let status = project.ok("status").stdout;
    let told = ", protected against deletion, and billed until you remove the protection in the \
                Hetzner console; EUR 0.05 so far";
    assert!(status.lines().next().unwrap().contains(told), "{status}");
    let status: serde_json::Value =
        serde_json::from_str(&project.ok("status --json").stdout).unwrap();
    assert_eq!(status["hetzner"]["servers"][0]["protected"], true);
    assert_eq!(status["hetzner"]["volumes"][0]["protected"], false);
    assert_explained(
        &project.burst("down"),
        120,
        "error: not everything could be deleted\n\
         caused by: the server cargo-burst-[..] is protected against deletion, and billed until \
         it is deleted: remove the protection in the Hetzner console\n\
         hint: run the command again; `cargo burst status` shows what is left\n",
    );
    // The server is as it was: the next command makes no call. That the volume is attached was
    // verified beside the first one.
    wait_for_verified_volume(&simulator);
    simulator.shared().forget_calls();
    assert_eq!(project.ok("run -q").stdout, "hello\n");
    assert_eq!(names(&simulator.shared().calls()), [""; 0], "{}", logs(&simulator, &sandbox));
    protect(false);
    project.ok("down");
    assert!(lock(&simulator.shared().world).servers.is_empty());
}
