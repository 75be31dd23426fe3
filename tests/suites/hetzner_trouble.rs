//! Errors at Hetzner: tokens, names, quotas, stock, rate limits, clocks, outages, protected
//! resources, and endpoints where no API answers.

use std::io::Write;
use std::process::Stdio;

use burst_tests::{assert_explained, ended, wait_until};
use hetzner_sim::scenario::{Access, Quota, Requests, Stock};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Fault, FaultKind, Options, Scenario, Simulator};

use crate::hetzner::{cloud, logs, sandbox_on};
use crate::terminals::alive;

/// A simulator without hosts, for commands that create no server.
fn api_only(scenario: Scenario) -> Simulator {
    Simulator::start(Options::new(crate::hetzner::TOKEN, scenario)).unwrap()
}

fn out_of(server_type: Option<&str>, location: Option<&str>) -> Stock {
    let name = |name: Option<&str>| name.map(str::to_owned);
    let (server_type, location) = (name(server_type), name(location));
    // The list of server types does not show it.
    Stock { server_type, location, there: false, ..Stock::default() }
}

#[test]
fn wrong_revoked_and_read_only_tokens_are_rejected() {
    let tokens = [("read".into(), Access::ReadOnly), ("old".into(), Access::Revoked)].into();
    let simulator = api_only(Scenario { tokens, ..Scenario::default() });
    let invalid = "error: cannot list the servers and volumes at Hetzner\n\
     caused by: GET /[..]: the token you have provided is invalid (unauthorized, correlation id \
     sim-[..])\n\
     hint: create a token in the Hetzner console (project, Security, API tokens, Read & Write) \
     and set it with `cargo burst init` or in HCLOUD_TOKEN\n";
    let read_only = "error: cannot create a server\n\
     caused by: POST /ssh_keys: token is only allowed to perform GET requests (token_readonly, \
     correlation id sim-[..])\n\
     hint: create a token with the permission Read & Write in the Hetzner console, and set it \
     with `cargo burst init`\n";
    let malformed = "error: `HCLOUD_TOKEN` is not a Hetzner API token\n\
     caused by: a token has 1 to 256 letters, digits and punctuation characters, without spaces\n\
     hint: create a token in the Hetzner console: project, Security, API tokens, Read & Write\n";
    for (token, expected) in
        [("wrong", invalid), ("old", invalid), ("read", read_only), ("two words", malformed)]
    {
        let sandbox = sandbox_on(&simulator).with("HCLOUD_TOKEN", token);
        let found = sandbox.hello("app").burst("build");
        assert_explained(&found, 116, expected);
        assert!(!found.stderr.contains(&format!("Bearer {token}")), "{}", found.stderr);
    }
    assert!(lock(&simulator.shared().world).servers.is_empty());
}

#[test]
fn a_settings_file_with_a_token_has_to_be_private() {
    use std::os::unix::fs::PermissionsExt;
    let simulator = api_only(Scenario::default());
    let sandbox = sandbox_on(&simulator).with("HCLOUD_TOKEN", "");
    sandbox.settings("hetzner_token = 'wrong'\n");
    let file = sandbox.path().join("config/cargo-burst/config.toml");
    let project = sandbox.hello("app");
    let shown = file.display();
    assert_explained(
        &project.burst("build"),
        111,
        &format!(
            "error: `{shown}` holds a token, but other users can read or write the file\n\
             hint: run `chmod 600 {shown}`; if other users may have read the token, revoke it\n"
        ),
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(project.burst("build").code, Some(116));
    // Nor may a project's file send the token elsewhere.
    project.write(".config/cargo-burst.toml", "hetzner_endpoint = 'http://example.org/v1'\n");
    assert_explained(
        &project.burst("build"),
        111,
        "error: [..]/app/.config/cargo-burst.toml:1: `hetzner_endpoint` is not allowed in a \
         project file, only in your user config\n\
         hint: [..]\n",
    );
}

#[test]
fn unknown_server_types_and_locations_are_named() {
    let simulator = api_only(Scenario::default());
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let run = |name: &str, value: &str| {
        ended(project.command("build").env(name, value).output().unwrap())
    };
    let found = run("CARGO_BURST_SERVER_TYPE", "ccx36");
    assert_explained(
        &found,
        117,
        "error: there is no server type `ccx36`\n\
         hint: set `server_type`; did you mean ccx63, ccx33, ccx13?\n",
    );
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
    assert_explained(
        &found,
        117,
        "error: there is no location `helsinki`\n\
         hint: set `region` to one of ash, fsn1, hel1, hil, nbg1, sin\n",
    );
    // No volume was created either.
    assert!(lock(&simulator.shared().world).volumes.is_empty());
}

#[test]
fn a_missing_image_a_quota_and_a_lack_of_capacity_are_reported() {
    let simulator = api_only(Scenario { snapshots: Vec::new(), ..Scenario::default() });
    let found = sandbox_on(&simulator).hello("app").burst("build");
    assert_eq!(found.code, Some(119), "{found:?}");
    assert_eq!(
        found.stderr,
        "error: there is no image to create a server from\n\
         hint: cargo-burst cannot create images yet; plain `cargo` builds on this machine\n"
    );

    let quota = Quota { servers: 0, ..Quota::default() };
    let simulator = api_only(Scenario { quota, ..Scenario::default() });
    let found = sandbox_on(&simulator).hello("app").burst("build");
    assert_explained(
        &found,
        117,
        "error: cannot create a server\n\
         caused by: POST /servers: server_limit exceeded; limit server_limit \
         (resource_limit_exceeded, correlation id sim-[..])\n\
         hint: delete servers or volumes that you no longer need (`cargo burst status --all` \
         lists those of cargo-burst), or request a higher limit in the Hetzner console\n",
    );

    let simulator = api_only(Scenario { stock: vec![out_of(None, None)], ..Scenario::default() });
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_SERVER_TYPE", "cx53,cpx62");
    let found = sandbox.hello("app").burst("build");
    let place = |place: &str| {
        format!(
            "caused by: {place}: POST /servers: error during placement (resource_unavailable, \
             correlation id sim-[..])\n"
        )
    };
    let places = ["cx53 in hel1", "cx53 in fsn1", "cx53 in nbg1"].map(place).concat();
    let others = ["cpx62 in hel1", "cpx62 in fsn1", "cpx62 in nbg1"].map(place).concat();
    let expected = format!(
        "error: no server is available in the configured locations and types\n{places}{others}\
         hint: try again later, or list more values in `region` and `server_type`\n"
    );
    assert_explained(&found, 117, &expected);
    assert!(lock(&simulator.shared().world).volumes.is_empty());
}

#[test]
fn the_next_location_is_tried_and_then_the_next_type() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_SERVER_TYPE", "cx53,cpx62");
    let project = sandbox.hello("app");
    project.ok("build");
    project.ok("down");
    lock(&simulator.shared().world).scenario.stock = vec![out_of(None, Some("hel1"))];
    let moved = project.ok("build");
    assert!(moved.stderr.contains("on cx53 in fsn1"), "{}", moved.stderr);
    let warning = "warning: the server is in fsn1, but the project's volume was in hel1: the build \
                   starts with empty caches, and the old volume is deleted\n";
    assert!(moved.stderr.contains(warning), "{}", moved.stderr);
    let places = || {
        let world = lock(&simulator.shared().world);
        world.volumes.values().map(|volume| volume.location.name).collect::<Vec<_>>()
    };
    assert_eq!(places(), ["fsn1"]);
    let record = sandbox.path().join("state/cargo-burst/hetzner/audit.jsonl");
    let record = std::fs::read_to_string(record).unwrap();
    let of_old = record.lines().filter(|line| line.contains("\"reason\":\"replaced\""));
    assert_eq!(of_old.count(), 1, "{record}");
    project.ok("down");
    lock(&simulator.shared().world).scenario.stock = vec![out_of(Some("cx53"), None)];
    let other = project.ok("build");
    // The location of the volume comes first.
    assert!(other.stderr.contains("on cpx62 in fsn1"), "{}", other.stderr);
    assert_eq!(places(), ["fsn1"]);
}

/// Endpoints at which no Hetzner API answers: the error shows the setting and its origin.
#[test]
fn wrong_endpoints_and_missing_networks_are_explained() {
    const LOCALLY: &str = "Without Hetzner, plain `cargo` builds on this machine, and so does `cargo \
                           burst` without a token (`env -u HCLOUD_TOKEN cargo burst build`)\n";
    let sandbox = crate::sandbox().with("HCLOUD_TOKEN", "x".repeat(64));
    let project = sandbox.hello("app");
    let at = |endpoint: &str| {
        let mut command = project.command("status");
        ended(command.env("HCLOUD_ENDPOINT", endpoint).output().unwrap())
    };
    let nonsense = at("nonsense");
    assert_explained(
        &nonsense,
        111,
        "error: cannot use the Hetzner API\n\
         caused by: `nonsense` is not an http or https URL\n\
         hint: correct the URL or remove the setting: `hetzner_endpoint` is `nonsense` (set in \
         environment variable HCLOUD_ENDPOINT)\n",
    );
    // A port with another protocol than TLS.
    let simulator = api_only(Scenario::default());
    let plain = simulator.endpoint().replace("http:", "https:");
    for (endpoint, cause) in [
        ("http://127.0.0.1:1", "Connection refused (os error 111)"),
        ("https://no-such-host.invalid/v1", "failed to lookup address information: [..]"),
        (&plain, "received corrupt message of type InvalidContentType"),
    ] {
        let expected = format!(
            "error: cannot list the servers and volumes at Hetzner\n\
             caused by: GET /[..]: no response\n\
             caused by: {cause}\n\
             hint: is that URL right? `hetzner_endpoint` is `{endpoint}` (set in environment \
             variable HCLOUD_ENDPOINT). Are you online? {LOCALLY}"
        );
        assert_explained(&at(endpoint), 120, &expected);
    }
    // A web server that is not an API answers with 404.
    let wrong_path = simulator.endpoint().replace("/v1", "/v9");
    let found = at(&wrong_path);
    assert_explained(
        &found,
        120,
        &format!(
            "error: cannot list the servers and volumes at Hetzner\n\
             caused by: GET /[..]: api route not found (not_found, correlation id sim-[..])\n\
             hint: correct the URL or remove the setting: `hetzner_endpoint` is `{wrong_path}` \
             (set in environment variable HCLOUD_ENDPOINT)\n"
        ),
    );
}

#[test]
fn rate_limits_and_wrong_clocks_are_tolerated() {
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
fn a_run_continues_while_the_api_is_unavailable() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    // The program prints and waits, so that the run is under way during the outage.
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
    // Another command reports the outage.
    let status = project.burst("status");
    assert_explained(
        &status,
        120,
        "error: cannot list the servers and volumes at Hetzner\n\
         caused by: GET /[..]: injected by the scenario (unavailable, correlation id sim-[..])\n\
         hint: https://status.hetzner.com lists outages; run the command again later. Existing \
         servers and volumes are kept. Without Hetzner, plain `cargo` builds on this machine, \
         and so does `cargo burst` without a token (`env -u HCLOUD_TOKEN cargo burst build`)\n",
    );
    // A command on a warm server does not need the API.
    assert_eq!(project.ok("check -q").code, Some(0));
    Write::write_all(&mut run.stdin.take().unwrap(), b"go\n").unwrap();
    let rest = std::io::read_to_string(stdout).unwrap();
    assert_eq!(rest, "told go\n");
    assert_eq!(run.wait().unwrap().code(), Some(0));
    lock(&simulator.shared().world).scenario.faults.clear();
    project.ok("down --with-volumes --yes");
}

#[test]
fn commands_that_start_at_once_share_one_server() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let projects: Vec<_> = (0..3).map(|n| sandbox.hello(&format!("p{n}"))).collect();
    let runs: Vec<_> = projects.iter().map(|project| project.start("run -q")).collect();
    for run in runs {
        let found = ended(run.wait_with_output().unwrap());
        assert_eq!(found.stdout, "hello\n", "{found:#?}\n{}", logs(&simulator, &sandbox));
    }
    let world = lock(&simulator.shared().world);
    assert_eq!((world.servers.len(), world.volumes.len()), (1, 3));
    drop(world);
    // Commands that need no keeper do not disturb those that do.
    let runs: Vec<_> = ["status", "sync", "reap", "sync", "status --all"]
        .iter()
        .map(|arguments| projects[0].start(arguments))
        .collect();
    for run in runs {
        let found = ended(run.wait_with_output().unwrap());
        assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    }
    let state = sandbox.path().join("state/cargo-burst");
    let pattern = format!("^cargo-burst-keeper {}$", state.display());
    let keepers = std::process::Command::new("pgrep").args(["-fc", &pattern]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&keepers.stdout).trim(), "1");
    // The request of the last command applies.
    for (secs, expected) in [(19_000, "deleted in 5 h 5"), (9000, "deleted in 2 h 5")] {
        projects[0].ok(&format!("sync --keep-alive {secs}"));
        let status = projects[0].ok("status").stdout;
        assert!(status.contains(expected), "{status}");
    }
}

#[test]
fn the_seventeenth_volume_replaces_the_longest_idle_one() {
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
    // Its volume is unchanged, so no file is sent again.
    simulator.shared().forget_calls();
    let back = projects[0].burst("-v sync");
    let told = (crate::hetzner::names(&simulator.shared().calls()), logs(&simulator, &sandbox));
    assert_eq!(back.code, Some(0), "{back:#?}\n{told:#?}");
    assert!(back.stderr.contains("synced: 0 written"), "{}", back.stderr);
    assert_eq!(detached(), (17, Some("p1".into()), 0));
    // A new keeper knows the last use by the labels alone.
    sandbox.kill_keeper();
    let back = projects[1].burst("-v sync");
    assert_eq!(back.code, Some(0), "{back:#?}\n{}", logs(&simulator, &sandbox));
    assert!(back.stderr.contains("synced: 0 written"), "{}", back.stderr);
    let (volumes, gone, more) = detached();
    assert!(volumes == 17 && gone.is_some_and(|name| name != "p1") && more == 0);
}

#[test]
fn a_server_that_was_deleted_in_the_console_is_replaced() {
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

/// The command starts another keeper, which connects to the server that exists.
#[test]
fn a_killed_keeper_loses_nothing() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {
    println!(\"begun\");
    for line in std::io::stdin().lines() { println!(\"got {}\", line.unwrap()); }
    std::fs::write(\"made\", \"run\").unwrap();
    std::process::exit(3);
}
",
    );
    let mut run = project.command("run -q");
    run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let mut input = run.stdin.take().unwrap();
    let mut stdout = std::io::BufReader::new(run.stdout.take().unwrap());
    let mut line = || {
        let mut said = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
        said
    };
    assert_eq!(line(), "begun\n", "{}", logs(&simulator, &sandbox));
    for number in 0..2 {
        let keeper = sandbox.keeper();
        sandbox.kill_keeper();
        writeln!(input, "{number}").unwrap();
        assert_eq!(line(), format!("got {number}\n"), "{}", logs(&simulator, &sandbox));
        let next = sandbox.keeper();
        assert!(next.is_some() && next != keeper, "{next:?} after {keeper:?}");
    }
    drop(input);
    let found = ended(run.wait_with_output().unwrap());
    assert_eq!(found.code, Some(3), "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(project.read("made"), "run");
    assert_eq!(lock(&simulator.shared().world).servers.len(), 1);
}

/// The keeper tells the agent that the command has ended, and a server that is deleted during a
/// run ends the command: no other one is made for it.
#[test]
fn a_killed_command_and_a_deleted_server_end_a_run() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project
        .write("src/main.rs", "fn main() { println!(\"begun\"); loop { std::thread::park(); } }\n");
    let begin = || {
        let mut run = project.start("run -q");
        let mut stdout = std::io::BufReader::new(run.stdout.take().unwrap());
        let mut said = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
        assert_eq!(said, "begun\n", "{}", logs(&simulator, &sandbox));
        run
    };
    let mut run = begin();
    assert_eq!(alive(&project), 1);
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until("the end of the run", || alive(&project) == 0);
    let run = begin();
    let now = simulator.shared().now_secs() * 1000;
    {
        let mut world = lock(&simulator.shared().world);
        let server = *world.servers.keys().next().unwrap();
        world.delete_server(server, now).unwrap();
    }
    assert_explained(
        &ended(run.wait_with_output().unwrap()),
        114,
        "error: the connection to the agent was lost while cargo ran\n\
         caused by: the agent has ended meanwhile, and the run with it\n\
         hint: run the command again: the agent kept the work that cargo had finished\n",
    );
    assert!(lock(&simulator.shared().world).servers.is_empty());
}

#[test]
fn a_volume_with_foreign_data_is_not_formatted() {
    use std::os::unix::fs::FileExt;
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    project.ok("down");
    let volume = *lock(&simulator.shared().world).volumes.keys().next().unwrap();
    let image = simulator.shared().hosts().unwrap().image_of(volume);
    let image = std::fs::OpenOptions::new().read(true).write(true).open(image).unwrap();
    // Foreign data at the place of a file system's header.
    let foreign = [0x5a; 64 << 10];
    image.write_all_at(&foreign, 0).unwrap();
    image.sync_all().unwrap();
    let found = project.burst("sync");
    assert_explained(
        &found,
        114,
        "error: cannot check the volume `/dev/disk/by-id/scsi-0HC_Volume_[..]`\n\
         caused by: e2fsck: Bad magic number in super-block while trying to open \
         /dev/disk/by-id/scsi-0HC_Volume_[..]\n\
         hint: run the command again; if that does not help, `cargo burst down --with-volumes` \
         deletes the agent's copy of the project\n",
    );
    let mut kept = [0; 64 << 10];
    image.read_exact_at(&mut kept, 0).unwrap();
    assert!(kept == foreign, "the volume is unchanged");
}

/// The simulator as a program: it prints its address, has a control interface, and removes
/// its hosts even if it is killed.
#[test]
fn a_killed_simulator_removes_its_hosts() {
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
    wait_until("the removal of the hosts", || !is_there());
}

#[test]
fn a_killed_agent_is_started_again_and_reached() {
    use std::process::Command;
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server).unwrap();
    // The image restarts the agent; the server stays.
    let script = "for pid in $(ip netns pids \"$1\"); do \
                  grep -q burst-agent /proc/$pid/comm && kill -9 $pid; done; true";
    let killed = Command::new("sh").args(["-c", script, "sh", &namespace]).status().unwrap();
    assert!(killed.success());
    let found = project.burst("run -q");
    assert_eq!(found.stdout, "hello\n", "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(lock(&simulator.shared().world).servers.keys().next(), Some(&server));
}

#[test]
fn failed_deletions_are_listed_and_fail_the_command() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    // Its protection was enabled in the Hetzner console.
    let kind = FaultKind::Answer { status: 423, code: Some("protected".into()), applied: false };
    let (method, route) = (Some("DELETE".into()), Some("/volumes/{id}".into()));
    let protected = Fault { method, route, call: None, times: None, kind };
    lock(&simulator.shared().world).scenario.faults = vec![protected];
    let first = project.burst("down --with-volumes --yes --json");
    let expected = "error: not everything could be deleted\n\
         caused by: the volume cargo-burst-[..]-hel1 is protected against deletion, and billed \
         until it is deleted: remove the protection in the Hetzner console: DELETE /volumes/[..]: \
         injected by the scenario (protected, correlation id sim-[..])\n\
         hint: run the command again; `cargo burst status` shows what is left\n";
    assert_explained(&first, 120, expected);
    let report: serde_json::Value = serde_json::from_str(&first.stdout).unwrap();
    let reaped = &report["hetzner"];
    assert_eq!(reaped["servers"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(reaped["volumes"].as_array().unwrap().len(), 0, "{report}");
    assert!(reaped["failed"][0].as_str().unwrap().contains("protected"), "{report}");
    let again = project.burst("down --with-volumes --yes");
    assert_explained(&again, 120, expected);
    lock(&simulator.shared().world).scenario.faults.clear();
    project.ok("down --with-volumes --yes --json");
    assert_eq!(lock(&simulator.shared().world).volumes.len(), 0);
}

#[test]
fn down_without_the_api_ends_the_agent_here_and_names_the_cost() {
    let sandbox = crate::sandbox();
    let project = sandbox.hello("app");
    project.ok("check");
    let mut down = project.command("down");
    down.env("HCLOUD_TOKEN", "token").env("HCLOUD_ENDPOINT", "http://127.0.0.1:1");
    let found = ended(down.output().unwrap());
    assert_eq!(found.stdout, "ended the agent on this machine\n");
    assert_explained(
        &found,
        120,
        "error: cannot list the servers and volumes at Hetzner\n\
         caused by: GET /[..]: no response\n\
         caused by: Connection refused (os error 111)\n\
         hint: is that URL right? `hetzner_endpoint` is `http://127.0.0.1:1` (set in environment \
         variable HCLOUD_ENDPOINT). Are you online? Without Hetzner, plain `cargo` builds on this \
         machine, and so does `cargo burst` without a token (`env -u HCLOUD_TOKEN cargo burst \
         build`). Servers and volumes may still exist and are billed: run `cargo burst down` \
         again\n",
    );
    assert_eq!(sandbox.agent(), None);
}

/// Without a token, `down` cannot ask the keeper, which goes on.
#[test]
fn down_without_a_token_names_the_keeper() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let keeper = sandbox.keeper().unwrap();
    let down = |arguments| {
        let mut command = project.command(arguments);
        ended(command.env("HCLOUD_TOKEN", "").output().unwrap()).stdout
    };
    assert_eq!(
        down("down"),
        format!(
            "no agent is running on this machine\nthe keeper is still running, pid {keeper}: it \
             deletes servers and volumes of an earlier token when they expire; `cargo burst down` \
             with that token deletes them now\n"
        )
    );
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&down("down --json")).unwrap(),
        serde_json::json!({
            "detached_runs": [], "hetzner": null, "local_agent_ended": false, "keeper_pid": keeper
        })
    );
    // While a command runs, the times at which its server and volume expire if it ended now.
    project.write(
        "src/main.rs",
        "fn main() { std::io::stdin().read_line(&mut String::new()).unwrap(); }\n",
    );
    project.ok("build");
    let mut run = project.command("run -q");
    let mut run = run.stdin(Stdio::piped()).spawn().unwrap();
    let mut report = serde_json::Value::Null;
    wait_until("the use of the server", || {
        report = serde_json::from_str(&project.ok("status --json").stdout).unwrap();
        report["hetzner"]["servers"][0]["in_use"] == true
    });
    let time = |value: &serde_json::Value| {
        value.as_str().unwrap().parse::<burst_hcloud::Timestamp>().unwrap().as_second()
    };
    let (now, volume) = (time(&report["hetzner"]["now"]), &report["hetzner"]["volumes"][0]);
    assert_eq!((&volume["in_use"], time(&volume["deleted_at"])), (&true.into(), now + 3600));
    let server = &report["hetzner"]["servers"][0];
    assert_eq!(time(&server["deleted_at"]), time(&server["paid_until"]) - 120, "{report}");
    drop(run.stdin.take());
    assert!(run.wait().unwrap().success());
    assert_eq!(sandbox.keeper(), Some(keeper));
}

#[test]
fn status_tells_of_this_machine_while_the_api_does_not_answer() {
    let sandbox = crate::sandbox();
    let project = sandbox.hello("app");
    project.ok("check");
    let agent = sandbox.agent().unwrap();
    let mut status = project.command("status");
    // Nobody listens there.
    status.env("HCLOUD_TOKEN", "a".repeat(64)).env("HCLOUD_ENDPOINT", "http://127.0.0.1:9/v1");
    let status = ended(status.output().unwrap());
    assert_eq!(status.code, Some(120), "{status:?}");
    assert!(status.stdout.contains(&format!("pid {agent}")), "{status:?}");
    assert!(status.stderr.starts_with("error: "), "{status:?}");
}
