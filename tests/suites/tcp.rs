//! Servers in networks that block UDP: all goes over TCP with TLS, which is remembered.
//!
//! The hosts' networks drop the packets to the agent's port. Silence of three seconds counts as
//! the loss of a connection.

mod changes;
mod distant;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use burst_agent::transport::SERVER_PORT;
use burst_tests::{Ended, Project, Sandbox, ended, wait_until};
use hetzner_sim::simulator::lock;
use hetzner_sim::world::Family;
use hetzner_sim::{Scenario, Simulator};

use crate::hetzner::{cloud, logs, names, sandbox_on};
use crate::ports;
use crate::terminals::alive;

/// What the user is told once in each network.
const NOTICE: &str = "burst: this network blocks UDP: the server is reached over TCP, which takes \
                      each command two more round trips\n";

/// A simulator whose hosts' networks drop these protocols from the beginning.
pub(crate) fn cloud_without(protocols: &[&str]) -> Option<Simulator> {
    let blocked = protocols.iter().map(ToString::to_string).collect();
    cloud(Scenario { blocked, ..Scenario::default() })
}

/// From now on the network of the only server drops these protocols.
fn block(simulator: &Simulator, protocols: &[&str]) {
    simulator.shared().hosts().unwrap().block(server(simulator), protocols).unwrap();
}

pub(crate) fn server(simulator: &Simulator) -> u64 {
    *lock(&simulator.shared().world).servers.keys().next().unwrap()
}

/// The address of the agent.
pub(crate) fn agent(simulator: &Simulator) -> SocketAddr {
    let world = lock(&simulator.shared().world);
    let address =
        world.primary_ips.values().find(|one| one.family == Family::V4).unwrap().ip.clone();
    SocketAddr::new(address.parse().unwrap(), SERVER_PORT)
}

pub(crate) fn agent_log(simulator: &Simulator) -> String {
    simulator.shared().hosts().unwrap().log_of(server(simulator))
}

fn keeper_log(sandbox: &Sandbox) -> String {
    let log = sandbox.path().join("state/cargo-burst/keeper/keeper.log");
    fs::read_to_string(log).unwrap_or_default()
}

/// How often the keeper has chosen TCP, having tried this transport first.
fn chosen(sandbox: &Sandbox, first: &str) -> usize {
    keeper_log(sandbox).matches(&format!("connected over TCP tried_first={first}\n")).count()
}

/// Waits until the probe of UDP has ended without an answer.
fn wait_for_verdict(sandbox: &Sandbox) {
    wait_until("that the network is remembered", || remembered(sandbox).len() == 1);
}

/// What is remembered of networks.
fn remembered(sandbox: &Sandbox) -> serde_json::Map<String, serde_json::Value> {
    let file = sandbox.path().join("state/cargo-burst/hetzner/tcp-networks.json");
    let text = fs::read_to_string(file).unwrap_or_else(|_| "{}".into());
    serde_json::from_str(&text).unwrap()
}

/// An hour passes for what is remembered, and the next keeper reads it.
fn let_an_hour_pass(sandbox: &Sandbox) {
    sandbox.kill_keeper();
    let mut networks = remembered(sandbox);
    for network in networks.values_mut() {
        let at = network["at"].as_u64().unwrap();
        network["at"] = (at - 3600).into();
    }
    let file = sandbox.path().join("state/cargo-burst/hetzner/tcp-networks.json");
    fs::write(file, serde_json::to_string(&networks).unwrap()).unwrap();
}

pub(crate) fn ok(project: &Project<'_>, simulator: &Simulator, arguments: &str) -> Ended {
    let found = project.burst(arguments);
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(simulator, project.sandbox));
    found
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut noise = vec![0; bytes];
    random.fill(&mut noise);
    noise
}

#[test]
fn where_udp_is_blocked_all_goes_over_tcp_and_that_is_remembered() {
    const MIB: usize = 1 << 20;
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let (data, input) = (noise(1, 20 * MIB), noise(2, 9 * MIB));
    project.write("data", &data);
    project.write(
        "src/main.rs",
        "fn main() {
    let mut data = std::fs::read(\"data\").unwrap();
    data.reverse();
    std::fs::write(\"made\", data).unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).unwrap();
}
",
    );
    let mut run = project.command("run");
    run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let mut to_run = run.stdin.take().unwrap();
    let fed = input.clone();
    let feeding = std::thread::spawn(move || to_run.write_all(&fed));
    let found = run.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    let errors = String::from_utf8(found.stderr).unwrap();
    assert!(found.status.success(), "{errors}\n{}", logs(&simulator, &sandbox));
    assert!(found.stdout == input, "{} bytes", found.stdout.len());
    let made = fs::read(project.root.join("made")).unwrap();
    assert!(made.iter().eq(data.iter().rev()), "{} bytes", made.len());
    assert_eq!((chosen(&sandbox, "Quic"), chosen(&sandbox, "Tcp")), (1, 0));
    // The keeper stays with it. What it knows once UDP had its time is told once.
    wait_for_verdict(&sandbox);
    let told = ok(&project, &simulator, "check");
    assert_eq!((errors + &told.stderr).matches(NOTICE).count(), 1, "{}", told.stderr);
    let again = ok(&project, &simulator, "check");
    assert!(!again.stderr.contains("UDP"), "{}", again.stderr);
    assert_eq!((chosen(&sandbox, "Quic"), chosen(&sandbox, "Tcp")), (1, 0));
    // The next keeper tries it first.
    sandbox.kill_keeper();
    let again = ok(&project, &simulator, "check");
    assert!(!again.stderr.contains("UDP"), "{}", again.stderr);
    assert_eq!((chosen(&sandbox, "Quic"), chosen(&sandbox, "Tcp")), (1, 1));
    // After an hour QUIC gets its head start again, in vain.
    let_an_hour_pass(&sandbox);
    ok(&project, &simulator, "check -q");
    assert_eq!((chosen(&sandbox, "Quic"), chosen(&sandbox, "Tcp")), (2, 1));
    // And then UDP passes.
    block(&simulator, &[]);
    let_an_hour_pass(&sandbox);
    ok(&project, &simulator, "check -q");
    assert_eq!((chosen(&sandbox, "Quic"), chosen(&sandbox, "Tcp")), (2, 1));
    assert_eq!(remembered(&sandbox).len(), 0);
    block(&simulator, &["tcp"]);
    ok(&project, &simulator, "check -q");
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}

/// A run that answers lines.
pub(crate) struct Talk {
    run: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talk {
    pub(crate) fn begin(project: &Project<'_>) -> Self {
        project.write(
            "src/main.rs",
            "use std::io::Write;
fn main() {
    println!(\"begun\");
    for line in std::io::stdin().lines() {
        println!(\"got {}\", line.unwrap());
        std::io::stdout().flush().unwrap();
    }
    std::fs::write(\"made\", \"0123456789abcdef\".repeat(1_000_000)).unwrap();
    std::process::exit(3);
}
",
        );
        let mut run = project.command("run -q");
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let (input, output) = (run.stdin.take().unwrap(), run.stdout.take().unwrap());
        let mut talk = Self { run, input, output: BufReader::new(output) };
        assert_eq!(talk.line(), "begun\n");
        talk
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Ends the input, and expects the end of the program and nothing more.
    pub(crate) fn end(mut self, project: &Project<'_>) {
        drop(self.input);
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        let found = ended(self.run.wait_with_output().unwrap());
        assert_eq!(found.code, Some(3), "{found:#?}");
        assert!(project.read("made") == "0123456789abcdef".repeat(1_000_000));
    }
}

/// How often the client has come back over TCP, and in all.
pub(crate) fn came_back(simulator: &Simulator) -> (usize, usize) {
    let log = agent_log(simulator);
    let mut lines = log.lines().filter(|line| line.contains("the client has come back from "));
    let over_tcp = lines.clone().filter(|line| line.ends_with(" over TCP")).count();
    (over_tcp, lines.by_ref().count())
}

/// The keeper closes the stream of a command that was killed: its run ends at once, and is not
/// waited for.
#[test]
fn a_killed_command_ends_its_run_over_tcp() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_RECONNECT_SECS", "3600");
    let project = sandbox.hello("app");
    let mut talk = Talk::begin(&project);
    assert_eq!(alive(&project), 1);
    talk.run.kill().unwrap();
    talk.run.wait().unwrap();
    wait_until("the end of the run", || alive(&project) == 0);
    let log = agent_log(&simulator);
    assert!(!log.contains("the connection of a client broke"), "{log}");
}

#[test]
fn a_port_is_forwarded_over_tcp() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = ports::server(&sandbox);
    let here = ports::free_port();
    let mut run = project.start(&format!("run -q --forward {here}:8080 -- 8080"));
    ports::listening(&mut run);
    // Each direction ends by itself.
    assert_eq!(ports::answer(here, "a\nb\n"), "A\nB\n");
    assert_eq!(ports::answer(here, "end\n"), "END\n");
    let found = ended(run.wait_with_output().unwrap());
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
}

#[test]
fn a_server_that_is_gone_is_replaced_over_tcp() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    ok(&project, &simulator, "check -q");
    let gone = server(&simulator);
    let now = simulator.shared().now_secs() * 1000;
    lock(&simulator.shared().world).delete_server(gone, now).unwrap();
    wait_until("the deletion", || lock(&simulator.shared().world).servers.is_empty());
    ok(&project, &simulator, "check -q");
    assert_ne!(server(&simulator), gone);
    // The next host may be in another network than the one before.
    assert_eq!(chosen(&sandbox, "Quic") + chosen(&sandbox, "Tcp"), 2);
}

#[test]
fn the_firewall_of_an_earlier_version_gets_tcp() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    ok(&project, &simulator, "check -q");
    let rules = |protocols: &[&str]| -> Vec<serde_json::Value> {
        let rule = |protocol: &&str| {
            serde_json::json!({
                "direction": "in", "protocol": protocol, "port": SERVER_PORT.to_string(),
                "source_ips": ["0.0.0.0/0", "::/0"],
            })
        };
        protocols.iter().map(rule).collect()
    };
    let found = || {
        let world = lock(&simulator.shared().world);
        world.firewalls.values().map(|firewall| firewall.rules.clone()).collect::<Vec<_>>()
    };
    let is_labelled = || {
        let world = lock(&simulator.shared().world);
        world.firewalls.values().all(|one| one.labels.contains_key("cargo-burst.tcp-rules"))
    };
    assert_eq!(found(), [rules(&["udp", "tcp"])]);
    assert!(is_labelled());
    let set_back = |is_old: bool| {
        let mut world = lock(&simulator.shared().world);
        for firewall in world.firewalls.values_mut() {
            firewall.rules = rules(&["udp"]);
            if is_old {
                firewall.labels.remove("cargo-burst.tcp-rules");
            }
        }
    };
    // With a server that exists, and with one that is created.
    for end in ["", "down"] {
        let next = |is_old| {
            match end {
                "" => sandbox.kill_keeper(),
                end => drop(ok(&project, &simulator, end)),
            }
            set_back(is_old);
            ok(&project, &simulator, "check -q");
        };
        next(true);
        wait_until("the label", is_labelled);
        assert_eq!(found(), [rules(&["udp", "tcp"])], "after {end:?}");
        // The user has removed the rule.
        simulator.shared().forget_calls();
        next(false);
        assert_eq!(found(), [rules(&["udp"])], "after {end:?}");
        let calls = names(&simulator.shared().calls());
        assert!(!calls.iter().any(|call| call.contains("set_rules")), "{calls:?}");
    }
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}
