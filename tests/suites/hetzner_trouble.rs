//! What users and clouds do wrong: tokens, names, quotas, stock, storms, clocks, outages.

use std::process::Stdio;

use burst_tests::{assert_explained, ended, wait_until};
use hetzner_sim::scenario::{Access, Quota, Requests, Stock};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Fault, FaultKind, Options, Scenario, Simulator};

use crate::hetzner::{cloud, logs, sandbox_on};

/// Without hosts: no command of these gets as far as a server.
fn entries(scenario: Scenario) -> Simulator {
    Simulator::start(Options::new(crate::hetzner::TOKEN, scenario)).unwrap()
}

fn out_of(server_type: Option<&str>, location: Option<&str>) -> Stock {
    let name = |name: Option<&str>| name.map(str::to_owned);
    let (server_type, location) = (name(server_type), name(location));
    // It is shown all the same: the list is no promise.
    Stock { server_type, location, there: false, ..Stock::default() }
}

#[test]
fn tokens_that_are_wrong_revoked_or_read_only() {
    let tokens = [("read".into(), Access::ReadOnly), ("old".into(), Access::Revoked)].into();
    let simulator = entries(Scenario { tokens, ..Scenario::default() });
    for (token, code, error, hint) in [
        (
            "wrong",
            116,
            "cannot list the servers and volumes at Hetzner",
            "create a token in the Hetzner console",
        ),
        (
            "old",
            116,
            "cannot list the servers and volumes at Hetzner",
            "create a token in the Hetzner console",
        ),
        ("read", 116, "cannot create a server", "create a token with the permission Read & Write"),
        (
            "two words",
            116,
            "`HCLOUD_TOKEN` is not a Hetzner API token",
            "create a token in the Hetzner console",
        ),
    ] {
        let sandbox = sandbox_on(&simulator).with("HCLOUD_TOKEN", token);
        let found = sandbox.hello("app").burst("build");
        assert_explained(&found, code, error, hint);
        assert!(!found.stderr.contains(&format!("Bearer {token}")), "{}", found.stderr);
    }
    assert!(lock(&simulator.shared().world).servers.is_empty());
}

#[test]
fn a_file_with_a_token_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let simulator = entries(Scenario::default());
    let sandbox = sandbox_on(&simulator).with("HCLOUD_TOKEN", "");
    sandbox.settings("hetzner_token = 'wrong'\n");
    let file = sandbox.path().join("config/cargo-burst/config.toml");
    let project = sandbox.hello("app");
    let found = project.burst("build");
    assert_eq!(found.code, Some(111), "{found:?}");
    assert!(found.stderr.contains("other users can read or write the file"), "{}", found.stderr);
    assert!(found.stderr.contains("hint: run `chmod 600 "), "{}", found.stderr);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(project.burst("build").code, Some(116));
    // Nor may a project's file send the token elsewhere.
    project.write(".config/cargo-burst.toml", "hetzner_endpoint = 'http://example.org/v1'\n");
    let found = project.burst("build");
    assert_eq!(found.code, Some(111), "{found:?}");
    assert!(
        found.stderr.contains("`hetzner_endpoint` is not allowed in a project file"),
        "{}",
        found.stderr
    );
}

#[test]
fn names_that_do_not_exist() {
    let simulator = entries(Scenario::default());
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let run = |name: &str, value: &str| {
        ended(project.command("build").env(name, value).output().unwrap())
    };
    let found = run("CARGO_BURST_SERVER_TYPE", "ccx36");
    assert_eq!(found.code, Some(117), "{found:?}");
    assert!(found.stderr.contains("error: there is no server type `ccx36`"), "{}", found.stderr);
    assert!(found.stderr.contains("did you mean ccx63, ccx33"), "{}", found.stderr);
    let found = run("CARGO_BURST_VOLUME_GB", "5");
    assert_eq!(found.code, Some(111), "{found:?}");
    assert!(
        found
            .stderr
            .starts_with("error: `CARGO_BURST_VOLUME_GB` must be between 10 and 10240 (got 5)\n"),
        "{}",
        found.stderr
    );
    let found = run("CARGO_BURST_REGION", "helsinki");
    assert!(found.stderr.contains("error: there is no location `helsinki`"), "{}", found.stderr);
    assert!(found.stderr.contains("ash, fsn1, hel1, hil, nbg1, sin"), "{}", found.stderr);
    // What was made for it meanwhile is swept by `down`.
    project.ok("down --with-volumes");
    assert!(lock(&simulator.shared().world).volumes.is_empty());
}

#[test]
fn no_image_no_quota_no_stock() {
    let simulator = entries(Scenario { snapshots: Vec::new(), ..Scenario::default() });
    let found = sandbox_on(&simulator).hello("app").burst("build");
    assert_eq!(found.code, Some(119));
    assert!(
        found.stderr.contains("hint: create one with `cargo burst image build`"),
        "{}",
        found.stderr
    );

    let quota = Quota { servers: 0, ..Quota::default() };
    let simulator = entries(Scenario { quota, ..Scenario::default() });
    let found = sandbox_on(&simulator).hello("app").burst("build");
    assert_explained(&found, 117, "cannot create a server", "delete servers or volumes");
    assert!(found.stderr.contains("server_limit"), "{}", found.stderr);

    let simulator = entries(Scenario { stock: vec![out_of(None, None)], ..Scenario::default() });
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_SERVER_TYPE", "cx53,cpx62");
    let found = sandbox.hello("app").burst("build");
    assert_explained(&found, 117, "no server is available", "try again later, or list more values");
    for place in ["cx53 in hel1", "cpx62 in nbg1"] {
        assert!(found.stderr.contains(place), "{place}: {}", found.stderr);
    }
    assert!(lock(&simulator.shared().world).volumes.is_empty());
}

#[test]
fn the_next_region_is_taken_and_then_the_next_type() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_SERVER_TYPE", "cx53,cpx62");
    let project = sandbox.hello("app");
    project.ok("build");
    project.ok("down");
    lock(&simulator.shared().world).scenario.stock = vec![out_of(None, Some("hel1"))];
    let moved = project.ok("build");
    assert!(moved.stderr.contains("on cx53 in fsn1"), "{}", moved.stderr);
    assert!(moved.stderr.contains("the build starts with empty caches"), "{}", moved.stderr);
    let places = || {
        let world = lock(&simulator.shared().world);
        world.volumes.values().map(|volume| volume.location.name).collect::<Vec<_>>()
    };
    assert_eq!(places(), ["fsn1"]);
    project.ok("down");
    lock(&simulator.shared().world).scenario.stock = vec![out_of(Some("cx53"), None)];
    let other = project.ok("build");
    // Where the volume is comes first.
    assert!(other.stderr.contains("on cpx62 in fsn1"), "{}", other.stderr);
    assert_eq!(places(), ["fsn1"]);
}

#[test]
fn storms_of_refusals_and_clocks_that_are_wrong() {
    let hour_ahead = burst_hcloud::Timestamp::now().as_second() + 3600;
    let requests = Requests { burst: 2.0, per_second: 4.0 };
    let scenario = Scenario { requests, now: Some(hour_ahead), ..Scenario::default() };
    let Some(simulator) = cloud(scenario) else { return };
    let sandbox = sandbox_on(&simulator)
        .with("CARGO_BURST_KEEP_PAID_HOUR", "false")
        .with("CARGO_BURST_KEEP_ALIVE_SECS", "1");
    let project = sandbox.hello("app");
    let found = project.burst("sync");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    let refused = |status| {
        simulator.shared().calls().iter().filter(|call| call.status == Some(status)).count()
    };
    assert!(refused(429) > 0);
    wait_until("the idle server's deletion", || lock(&simulator.shared().world).servers.is_empty());
    assert_eq!(simulator.shared().ledger().1.server_hours, 1);
}

#[test]
fn a_run_goes_on_while_the_api_is_down() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    // On the other end's disk, below the project: it comes back only with the run.
    project.write(
        "src/main.rs",
        "fn main() {\n    println!(\"begun\");\n    let mut line = String::new();\n    \
         std::io::stdin().read_line(&mut line).unwrap();\n    print!(\"told {line}\");\n}\n",
    );
    project.ok("build");
    let mut run = project.command("run -q");
    let run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let mut stdout = std::io::BufReader::new(run.stdout.take().unwrap());
    let mut said = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    assert_eq!(said, "begun\n");
    let kind = FaultKind::Answer { status: 503, code: Some("unavailable".into()), applied: false };
    let outage = Fault { method: None, route: None, call: None, times: None, kind };
    lock(&simulator.shared().world).scenario.faults = vec![outage];
    simulator.shared().advance(600.0);
    // Another command meets the outage, and says so.
    let status = project.burst("status");
    assert_explained(
        &status,
        120,
        "cannot list the servers and volumes at Hetzner",
        "https://status.hetzner.com",
    );
    // A warm one does not notice.
    assert_eq!(project.ok("check -q").code, Some(0));
    std::io::Write::write_all(&mut run.stdin.take().unwrap(), b"go\n").unwrap();
    let rest = std::io::read_to_string(stdout).unwrap();
    assert_eq!(rest, "told go\n");
    assert_eq!(run.wait().unwrap().code(), Some(0));
    lock(&simulator.shared().world).scenario.faults.clear();
    project.ok("down --with-volumes");
}

#[test]
fn commands_that_start_at_once_share_one_server() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let projects: Vec<_> = (0..3).map(|n| sandbox.hello(&format!("p{n}"))).collect();
    let runs: Vec<_> = projects
        .iter()
        .map(|project| {
            let mut command = project.command("run -q");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for run in runs {
        let found = ended(run.wait_with_output().unwrap());
        assert_eq!(found.stdout, "hello\n", "{found:#?}\n{}", logs(&simulator, &sandbox));
    }
    let world = lock(&simulator.shared().world);
    assert_eq!((world.servers.len(), world.volumes.len()), (1, 3));
    drop(world);
    // Nor do those who need no keeper get in the way of those who do.
    let runs: Vec<_> = ["status", "sync", "reap", "sync", "status --all"]
        .iter()
        .map(|arguments| {
            let mut command = projects[0].command(arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for run in runs {
        let found = ended(run.wait_with_output().unwrap());
        assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    }
    let state = sandbox.path().join("state/cargo-burst");
    let pattern = format!("^cargo-burst-keeper {}$", state.display());
    let keepers = std::process::Command::new("pgrep").args(["-fc", &pattern]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&keepers.stdout).trim(), "1");
    // What is wished for last holds.
    projects[0].ok("sync --no-reap");
    let status = projects[0].ok("status").stdout;
    assert_eq!(status.matches("kept until `cargo burst down`").count(), 2, "{status}");
    projects[0].ok("sync --keep-alive 9000");
    let status = projects[0].ok("status").stdout;
    assert!(status.contains("deleted in 2 h 5"), "{status}");
}

#[test]
fn the_seventeenth_project_takes_the_place_of_the_idlest() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let projects: Vec<_> = (0..17).map(|n| sandbox.hello(&format!("p{n}"))).collect();
    for project in &projects {
        let found = project.burst("sync");
        assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    }
    let detached = || {
        let world = lock(&simulator.shared().world);
        let mut free = world.volumes.values().filter(|volume| volume.server.is_none());
        let name = free.next().map(|volume| volume.labels["cargo-burst.project-name"].clone());
        (world.volumes.len(), name, free.count())
    };
    assert_eq!(detached(), (17, Some("p0".into()), 0));
    // Its disk is as it was left: nothing travels again.
    simulator.shared().forget_calls();
    let back = projects[0].burst("-v sync");
    let told = (crate::hetzner::names(&simulator.shared().calls()), logs(&simulator, &sandbox));
    assert_eq!(back.code, Some(0), "{back:#?}\n{told:#?}");
    assert!(back.stderr.contains("synced: 0 written"), "{}", back.stderr);
    assert_eq!(detached(), (17, Some("p1".into()), 0));
    // A keeper that has just begun knows it by the labels alone.
    let keeper = nix::unistd::Pid::from_raw(sandbox.keeper().unwrap());
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
    let back = projects[1].burst("-v sync");
    assert_eq!(back.code, Some(0), "{back:#?}\n{}", logs(&simulator, &sandbox));
    assert!(back.stderr.contains("synced: 0 written"), "{}", back.stderr);
    let (volumes, gone, more) = detached();
    assert!(volumes == 17 && gone.is_some_and(|name| name != "p1") && more == 0);
}

#[test]
fn a_server_that_was_deleted_by_hand_is_replaced() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("build");
    let now = simulator.shared().now_secs() * 1000;
    {
        let mut world = lock(&simulator.shared().world);
        let server = *world.servers.keys().next().unwrap();
        world.delete_server(server, now).unwrap();
    }
    wait_until("the deletion", || lock(&simulator.shared().world).servers.is_empty());
    let again = project.burst("-v build");
    assert_eq!(again.code, Some(0), "{again:#?}\n{}", logs(&simulator, &sandbox));
    // The volume survived. What cargo makes of its target depends on how much of it was on
    // the disk when the server went.
    assert!(again.stderr.contains("synced: 0 written, 0 removed"), "{}", again.stderr);
}

#[test]
fn a_keeper_that_is_killed_loses_the_run_and_nothing_else() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project
        .write("src/main.rs", "fn main() { println!(\"begun\"); loop { std::thread::park(); } }\n");
    let mut run = project.command("run -q");
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(run.stdout.take().unwrap());
    let mut said = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    assert_eq!(said, "begun\n", "{}", logs(&simulator, &sandbox));
    kill(Pid::from_raw(sandbox.keeper().unwrap()), Signal::SIGKILL).unwrap();
    let found = ended(run.wait_with_output().unwrap());
    assert_explained(&found, 114, "the connection to the agent was lost", "run the command again");
    project.write("src/main.rs", "fn main() { println!(\"again\"); }\n");
    assert_eq!(project.ok("run -q").stdout, "again\n");
    assert_eq!(lock(&simulator.shared().world).servers.len(), 1);
}

#[test]
fn a_volume_that_is_not_blank_is_never_formatted() {
    use std::os::unix::fs::FileExt;
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    project.ok("down");
    let volume = *lock(&simulator.shared().world).volumes.keys().next().unwrap();
    let image = simulator.shared().hosts().unwrap().image_of(volume);
    let image = std::fs::OpenOptions::new().read(true).write(true).open(image).unwrap();
    // Somebody else's data, where a file system would begin.
    let foreign = [0x5a; 64 << 10];
    image.write_all_at(&foreign, 0).unwrap();
    image.sync_all().unwrap();
    let found = project.burst("sync");
    assert_explained(&found, 114, "cannot check the volume", "run the command again");
    let mut kept = [0; 64 << 10];
    image.read_exact_at(&mut kept, 0).unwrap();
    assert!(kept == foreign, "what was there is still there");
}

/// The simulator as a program: it says where it is, can be steered, and takes all it made
/// down again even if it is killed.
#[test]
fn the_simulator_clears_away_behind_itself() {
    use std::io::BufRead;
    use std::process::Command;
    if cloud(Scenario::default()).is_none() {
        return;
    }
    let sandbox = crate::sandbox();
    let scenario = sandbox.path().join("scenario.json");
    std::fs::write(&scenario, r#"{ "quota": { "servers": 1 } }"#).unwrap();
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_hetzner-sim-under-test"))
        .args(["--listen", "127.0.0.1:0", "--token", crate::hetzner::TOKEN, "--backend", "hosts"])
        .args(["--agent", env!("CARGO_BIN_EXE_cargo-burst-under-test"), "--scenario"])
        .arg(&scenario)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(simulator.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let endpoint = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let sandbox = sandbox
        .with("HCLOUD_TOKEN", crate::hetzner::TOKEN)
        .with("HCLOUD_ENDPOINT", &endpoint)
        .with("CARGO_BURST_SERVER_TYPE", "cx53")
        .with("CARGO_BURST_VOLUME_GB", "10");
    let project = sandbox.hello("app");
    project.ok("sync");
    let control = |method: &str, path: &str, body: &str| -> serde_json::Value {
        use std::io::{Read, Write};
        let address = endpoint.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "{method} /control/{path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_default()
    };
    control("POST", "advance", r#"{ "secs": 4000 }"#);
    assert_eq!(control("GET", "ledger", "")["sum"]["server_hours"], 2);
    let state = control("GET", "state", "");
    let address = state["servers"][0]["public_net"]["ipv4"]["ip"].as_str().unwrap().to_owned();
    let network = address.rsplit_once('.').unwrap().0.to_owned() + ".";
    let is_there = || {
        let addresses = Command::new("ip").args(["-o", "address"]).output().unwrap();
        String::from_utf8_lossy(&addresses.stdout).contains(&network)
    };
    assert!(is_there());
    simulator.kill().unwrap();
    simulator.wait().unwrap();
    wait_until("the hosts' end", || !is_there());
}

#[test]
fn an_agent_that_is_killed_is_called_anew() {
    use std::process::Command;
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server).unwrap();
    // The image starts it again, and the server is the same.
    let script = "for pid in $(ip netns pids \"$1\"); do \
                  grep -q burst-agent /proc/$pid/comm && kill -9 $pid; done; true";
    let killed = Command::new("sh").args(["-c", script, "sh", &namespace]).status().unwrap();
    assert!(killed.success());
    let found = project.burst("run -q");
    assert_eq!(found.stdout, "hello\n", "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(lock(&simulator.shared().world).servers.keys().next(), Some(&server));
}

#[test]
fn what_cannot_be_deleted_is_named_and_is_a_failure() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    // As in Hetzner's console: somebody has protected it.
    let kind = FaultKind::Answer { status: 423, code: Some("protected".into()), applied: false };
    let (method, route) = (Some("DELETE".into()), Some("/volumes/{id}".into()));
    let protected = Fault { method, route, call: None, times: None, kind };
    lock(&simulator.shared().world).scenario.faults = vec![protected];
    let told = project.burst("down --with-volumes --json");
    assert_explained(&told, 120, "not everything could be deleted", "run the command again");
    let report: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    let swept = &report["hetzner"];
    assert_eq!(swept["servers"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(swept["volumes"].as_array().unwrap().len(), 0, "{report}");
    assert!(swept["failed"][0].as_str().unwrap().contains("protected"), "{report}");
    let again = project.burst("down --with-volumes");
    assert_explained(&again, 120, "not everything could be deleted", "run the command again");
    lock(&simulator.shared().world).scenario.faults.clear();
    project.ok("down --with-volumes --json");
    assert_eq!(lock(&simulator.shared().world).volumes.len(), 0);
}
