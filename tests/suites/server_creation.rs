//! What a server is created with: addresses, and an SSH key so that no root password is made.

use burst_tests::{assert_explained, wait_until};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Fault, FaultKind, Options, Scenario, Simulator};
use nix::sched::{CloneFlags, unshare};

use crate::hetzner::{TOKEN, cloud, logs, names, sandbox_on};

#[test]
fn a_server_with_ipv6_alone_is_reached_and_billed_without_an_address() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_PUBLIC_IPV4", "false");
    let project = sandbox.hello("app");
    let built = project.burst("run");
    assert_eq!(built.code, Some(0), "{built:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(built.stdout, "hello\n");
    let status = |what: &str| {
        let status: serde_json::Value =
            serde_json::from_str(&project.ok("status --json").stdout).unwrap();
        status["hetzner"]["servers"][0][what].as_f64().unwrap()
    };
    let without = status("hourly");
    project.ok("down");
    sandbox.kill_keeper();
    wait_until("the keeper's end", || sandbox.keeper().is_none());
    let both = burst_tests::ended(
        project.command("sync").env("CARGO_BURST_PUBLIC_IPV4", "true").output().unwrap(),
    );
    assert_eq!(both.code, Some(0), "{both:#?}");
    // The price of an address, by the simulator's list.
    assert!((status("hourly") - without - 0.0008).abs() < 1e-9, "{without}");
}

#[test]
fn a_server_without_ipv4_is_refused_where_no_route_leads_to_it() {
    if !burst_tests::is_root() {
        return burst_tests::skip("needs root, to make a network without IPv6");
    }
    // Sockets and processes of this thread are in a network of their own.
    let apart = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.unwrap().success());
        let simulator = Simulator::start(Options::new(TOKEN, Scenario::default())).unwrap();
        let sandbox = sandbox_on(&simulator).with("CARGO_BURST_PUBLIC_IPV4", "false");
        let refused = sandbox.hello("app").burst("build");
        assert_explained(
            &refused,
            117,
            "error: this machine has no IPv6, and `public_ipv4 = false` asks for a server without \
             IPv4\n\
             caused by: Network is unreachable (os error 101)\n\
             hint: set `public_ipv4 = true`, or run the command in a network with IPv6\n",
        );
        let calls = names(&simulator.shared().calls());
        assert!(calls.iter().all(|call| call.starts_with("GET ")), "{calls:#?}");
    });
    apart.join().unwrap();
}

/// The key is there for the call alone, whether or not a server is created.
#[test]
fn no_root_password_is_made_and_no_ssh_key_is_left() {
    let faults = vec![Fault {
        method: Some("POST".into()),
        route: Some("/servers".into()),
        call: None,
        times: Some(1),
        kind: FaultKind::Answer { status: 422, code: Some("invalid_input".into()), applied: false },
    }];
    let Some(simulator) = cloud(Scenario { faults, ..Scenario::default() }) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let keys = || lock(&simulator.shared().world).ssh_keys.len();
    assert_eq!(project.burst("sync").code, Some(120));
    wait_until("the deletion of the key", || keys() == 0);
    project.ok("sync");
    wait_until("the deletion of the key", || keys() == 0);
    let passwords = {
        let world = lock(&simulator.shared().world);
        world.servers.values().filter(|server| !server.has_ssh_keys).count()
    };
    assert_eq!(passwords, 0);
    let made = names(&simulator.shared().calls());
    assert_eq!(made.iter().filter(|call| *call == "POST /ssh_keys").count(), 2);
    // One that a killed command has left goes with the next reaping, once it is old.
    let left = serde_json::json!({
        "name": "cargo-burst-left",
        "public_key": "ssh-ed25519 \
            AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
        "labels": {"managed-by": "cargo-burst", "cargo-burst.role": "ssh-key"},
    });
    let ago = simulator.shared().now_secs() - 15 * 60 - 1;
    lock(&simulator.shared().world).create_ssh_key(&left, ago * 1000).unwrap();
    project.ok("reap");
    assert_eq!(keys(), 0);
}
