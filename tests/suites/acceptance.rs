//! The acceptance script for the real API (`tests/real/acceptance`), as a dry run.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use burst_tests::{Ended, Sandbox, assert_lines, ended, lacks, wait_until};
use hetzner_sim::scenario::Snapshot;
use hetzner_sim::simulator::lock;
use hetzner_sim::{Options, Scenario, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::doctor::forgotten_server;
use crate::hetzner::{TOKEN, cloud};
use crate::sandbox;

/// A dry run, or with other arguments something else, for this simulator.
fn acceptance(sandbox: &Sandbox, simulator: &Simulator, arguments: &str) -> Command {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("real/acceptance");
    let mut command = sandbox.command(script, sandbox.path());
    command
        .args(["--program", env!("CARGO_BIN_EXE_cargo-burst-under-test")])
        .args(arguments.split_whitespace())
        .env("HCLOUD_TOKEN", TOKEN)
        .env("HCLOUD_ENDPOINT", simulator.endpoint());
    command
}

/// The lines about the steps at the end.
fn summary(found: &Ended) -> String {
    found.stdout.rsplit_once("\n\n").expect("a summary").1.to_owned()
}

/// The names of the servers, and how many volumes there are.
fn there_is(simulator: &Simulator) -> (Vec<String>, usize) {
    let world = lock(&simulator.shared().world);
    (world.servers.values().map(|server| server.name.clone()).collect(), world.volumes.len())
}

/// A server of another machine in the project, and images for both architectures.
fn shared_cloud() -> Option<Simulator> {
    if lacks(&["bash", "curl", "jq"]) {
        return None;
    }
    let arm = Snapshot { architecture: "arm".into(), ..Snapshot::default() };
    let snapshots = vec![Snapshot::default(), arm];
    let simulator = cloud(Scenario { snapshots, ..Scenario::default() })?;
    forgotten_server(&simulator, "another-host");
    Some(simulator)
}

#[test]
fn each_step_passes_that_the_simulator_can_do_and_nothing_of_others_is_touched() {
    let Some(simulator) = shared_cloud() else { return };
    let sandbox = sandbox();
    let mut script = acceptance(&sandbox, &simulator, "--dry-run --cap 5");
    let found = ended(script.output().unwrap());
    assert_lines(
        &summary(&found),
        "ok       tokens, [..] s\n\
         ok       limits, [..] s\n\
         not run  bake: there is no command yet that bakes an image\n\
         ok       cold, [..] s\n\
         ok       attach, [..] s\n\
         ok       locked, [..] s\n\
         ok       hour, [..] s\n\
         ok       leak_kill, [..] s\n\
         ok       leak_reboot, [..] s\n\
         ok       leak_revocation, [..] s\n\
         ok       leak_lid, [..] s\n\
         ok       stock, [..] s\n\
         ok       region, [..] s\n\
         ok       arm, [..] s\n\
         ok       networks, [..] s\n\
         at worst EUR [..]\n",
    );
    assert_eq!(found.code, Some(0), "{found:#?}");
    assert_eq!(there_is(&simulator), (vec!["forgotten".to_owned()], 0));
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}

#[test]
fn a_run_that_is_ended_deletes_what_it_has_made_and_nothing_else() {
    let Some(simulator) = shared_cloud() else { return };
    let sandbox = sandbox();
    let mut script = acceptance(&sandbox, &simulator, "--dry-run --cap 1 leak_lid");
    let script = script.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the server of the step", || there_is(&simulator).0.len() == 2);
    kill(Pid::from_raw(script.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let found = ended(script.wait_with_output().unwrap());
    assert_eq!(found.code, Some(143), "{found:#?}");
    assert_eq!(there_is(&simulator), (vec!["forgotten".to_owned()], 0), "{found:#?}");
}

#[test]
fn nothing_is_created_beyond_the_cap_or_where_a_dry_run_was_meant() {
    if lacks(&["bash", "curl", "jq"]) {
        return;
    }
    let simulator = Simulator::start(Options::new(TOKEN, Scenario::default())).unwrap();
    let sandbox = sandbox();
    let run = |arguments| ended(acceptance(&sandbox, &simulator, arguments).output().unwrap());
    let found = run("--dry-run --cap 0.001 cold");
    assert_eq!(found.code, Some(1), "{found:#?}");
    assert_lines(
        &summary(&found),
        "NOT RUN  cold: at worst EUR 0.0287 more than EUR 0.0000 exceeds the cap\n\
         at worst EUR 0.0000\n",
    );
    for arguments in ["--dry-run cold", "--cap 1 cold", "--dry-run --cap 1 typo"] {
        assert_eq!(run(arguments).code, Some(2), "{arguments}");
    }
    let calls = simulator.shared().calls();
    assert!(calls.iter().all(|call| call.method == "GET"), "{calls:#?}");
}
