//! Attachments that fail, volumes and servers that disappear while they are used, ports that do
//! not get through, settings that ask for something else than what is up.

use std::process::Stdio;

use burst_tests::{Ended, assert_explained, ended, wait_until};
use hetzner_sim::simulator::{ByHand, lock};
use hetzner_sim::{ActionFault, ActionFaultKind, Options, Scenario, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hetzner::{TOKEN, cloud, logs, names, sandbox_on};
use crate::tcp::{cloud_without, server};

fn attachments(simulator: &Simulator) -> usize {
    let calls = names(&simulator.shared().calls());
    calls.iter().filter(|name| name.ends_with("/actions/attach")).count()
}

/// The next attachment has this fault.
fn spoil_attachment(simulator: &Simulator, kind: ActionFaultKind) {
    let fault = ActionFault { command: "attach_volume".into(), times: Some(1), kind };
    lock(&simulator.shared().world).scenario.action_faults = vec![fault];
}

#[test]
fn a_failed_and_an_undone_attachment_are_repeated() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    spoil_attachment(&simulator, ActionFaultKind::Fails { code: "action_failed".into() });
    let found = project.burst("sync");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(attachments(&simulator), 2);
    // Long before the agent misses its device, which would make the command try again.
    let noticed = || logs(&simulator, &sandbox).matches("volume is not attached: ").count();
    assert!(noticed() > 0);
    // The next server is created with the volume.
    for kind in [
        ActionFaultKind::Fails { code: "action_failed".into() },
        ActionFaultKind::Undone { after_secs: 0.0 },
    ] {
        project.ok("down");
        simulator.shared().forget_calls();
        let before = noticed();
        spoil_attachment(&simulator, kind);
        let found = project.burst("-v sync");
        assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
        assert!(found.stderr.contains("synced: 0 written"), "{found:#?}");
        assert_eq!(attachments(&simulator), 1);
        assert!(noticed() > before);
    }
}

#[test]
fn a_volume_that_is_detached_or_deleted_by_hand_is_replaced() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("build");
    let first = server(&simulator);
    let volume = || *lock(&simulator.shared().world).volumes.keys().next().unwrap();
    let expect = |warning: &str, synced: &str| {
        let found = project.burst("-v build");
        assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
        assert_eq!(found.stderr.matches(warning).count(), 1, "{}", found.stderr);
        assert!(found.stderr.contains(synced), "{}", found.stderr);
        assert_eq!(server(&simulator), first);
        // Warm again.
        simulator.shared().forget_calls();
        assert_eq!(project.ok("run -q").stdout, "hello\n");
        let calls = names(&simulator.shared().calls());
        assert!(calls.iter().all(|name| name.starts_with("GET ")), "{calls:?}");
    };
    // Until then what is undone is repaired beside the command.
    let wait_until_verified = |count| {
        wait_until("the verified attachment", || {
            logs(&simulator, &sandbox).matches("the volume is attached").count() == count
        });
    };
    let detached = volume();
    wait_until_verified(1);
    simulator.shared().by_hand(ByHand::DetachVolume, detached).unwrap();
    expect(
        "warning: the project's volume was detached from the server, not by this machine: \
         attaching it again\n",
        "synced: 0 written",
    );
    assert_eq!(volume(), detached);
    wait_until_verified(2);
    simulator.shared().by_hand(ByHand::DeleteVolume, detached).unwrap();
    expect(
        "warning: the project's volume was deleted, not by this machine: the build starts with \
         empty caches\n",
        "Compiling hello",
    );
    assert_ne!(volume(), detached);
}

/// The connection is silent, so the API is asked, long before the connection counts as lost.
#[test]
fn a_server_that_is_deleted_by_hand_is_missed_within_seconds() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let first = server(&simulator);
    simulator.shared().by_hand(ByHand::DeleteServer, first).unwrap();
    let found = project.burst("run -q");
    assert_eq!(found.stdout, "hello\n", "{found:#?}\n{}", logs(&simulator, &sandbox));
    let warning = "warning: the server was deleted, not by this machine: creating another one\n";
    assert_eq!(found.stderr.matches(warning).count(), 1, "{}", found.stderr);
    let log = logs(&simulator, &sandbox);
    assert!(log.contains("the server was deleted, not by this process"), "{log}");
    assert_ne!(server(&simulator), first);
}

/// Once the API says that the server runs, its silence has a short end.
#[test]
fn a_blocked_port_is_named() {
    let Some(simulator) = cloud_without(&["udp", "tcp"]) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_PORT_SECS", "3");
    let project = sandbox.hello("app");
    assert_explained(
        &project.burst("sync"),
        113,
        "error: port 7777 of the server cargo-burst-[..] in hel1 does not get through, neither UDP \
         nor TCP, although Hetzner says that the server runs\n\
         caused by: the agent at [..]:7777 does not answer: the handshake was not answered in \
         time\n\
         hint: a firewall of this machine, of this network or at Hetzner blocks port 7777: let UDP \
         or TCP through, or try another network. The firewall `cargo-burst` in the Hetzner console \
         has a rule for each. The server is billed until it is deleted: `cargo burst down` does it \
         now\n",
    );
    // The server is used once the port gets through.
    simulator.shared().hosts().unwrap().block(server(&simulator), &[]).unwrap();
    let found = project.burst("sync");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(simulator.shared().ledger().1.server_hours, 1);
}

/// Without hosts, servers boot for ever.
#[test]
fn a_command_that_is_interrupted_while_a_server_boots_tells_what_stays() {
    let simulator = Simulator::start(Options::new(TOKEN, Scenario::default())).unwrap();
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let mut sync = project.command("-q sync");
    let sync = sync.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // By then the command knows what is created for it.
    wait_until("the server", || {
        names(&simulator.shared().calls()).iter().any(|name| name == "GET /actions")
    });
    kill(Pid::from_raw(sync.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let found = ended(sync.wait_with_output().unwrap());
    let name = lock(&simulator.shared().world).servers.values().next().unwrap().name.clone();
    assert_eq!(
        found.stderr,
        format!(
            "warning: the server {name} in hel1 is being created and is billed; it is deleted when \
             its paid hour is nearly over and no command uses it; `cargo burst down` \
             deletes it now\n"
        )
    );
    project.ok("down --with-volumes --yes");
    assert!(lock(&simulator.shared().world).servers.is_empty());
}

#[test]
fn what_is_up_and_the_settings_do_not_ask_for_is_told_once() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let run = |arguments: &str, server_type: &str, volume_gb: &str| -> Ended {
        let mut command = project.command(arguments);
        command.env("CARGO_BURST_SERVER_TYPE", server_type);
        command.env("CARGO_BURST_VOLUME_GB", volume_gb);
        ended(command.output().unwrap())
    };
    let of_server = "the server is a cx53 in hel1, the settings ask for cpx62: after `cargo burst \
                     down` the next command creates that one\n";
    let of_volume = "burst: the project's volume has 10 GB, the settings ask for 20 GB: after \
                     `cargo burst down --with-volumes` the next command creates that one, with \
                     empty caches\n";
    let told = |found: &Ended| {
        assert_eq!(found.code, Some(0), "{found:#?}");
        [of_server, of_volume].map(|text| found.stderr.matches(text).count())
    };
    assert_eq!(told(&run("sync", "cx53,cpx62", "10")), [0, 0]);
    assert_eq!(told(&run("sync", "cpx62", "10")), [1, 0]);
    assert_eq!(told(&run("sync", "cpx62", "20")), [0, 1]);
    assert_eq!(told(&run("sync", "cpx62", "20")), [0, 0]);
    for _ in 0..2 {
        let status = run("status", "cpx62", "10");
        assert_eq!(status.stderr, format!("warning: {of_server}"));
    }
    assert_eq!(run("status", "cx53", "10").stderr, "");
}
