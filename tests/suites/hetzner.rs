//! The Hetzner provider against the simulator, whose servers are real hosts.

use std::path::PathBuf;
use std::process::Command;

use burst_tests::{Project, Sandbox, is_root, lacks, skip, wait_until};
use hetzner_sim::log::{Call, sequential_waits};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Backend, Options, Scenario, Simulator};

use crate::sandbox;

pub(crate) const TOKEN: &str = "a-token-of-this-test";

/// A simulator with real hosts; none where that is not possible.
pub(crate) fn cloud(scenario: Scenario) -> Option<Simulator> {
    if lacks(&["ip", "nft", "losetup", "mkfs.ext4", "blkid", "e2fsck", "unshare"]) {
        return None;
    }
    if !is_root() {
        skip("needs root, to make hosts");
        return None;
    }
    let agent = PathBuf::from(env!("CARGO_BIN_EXE_cargo-burst-under-test"));
    let backend = Backend::Hosts { agent };
    Some(Simulator::start(Options { backend, ..Options::new(TOKEN, scenario) }).unwrap())
}

/// A sandbox whose commands use a simulator.
pub(crate) fn sandbox_on(simulator: &Simulator) -> Sandbox {
    sandbox()
        .with("HCLOUD_TOKEN", TOKEN)
        .with("HCLOUD_ENDPOINT", simulator.endpoint())
        .with("CARGO_BURST_SERVER_TYPE", "cx53")
        .with("CARGO_BURST_VOLUME_GB", "10")
}

/// What a test wants to know when it fails.
pub(crate) fn logs(simulator: &Simulator, sandbox: &Sandbox) -> String {
    let keeper = sandbox.path().join("state/cargo-burst/keeper/keeper.log");
    let mut text = std::fs::read_to_string(keeper).unwrap_or_default();
    let hosts = simulator.shared().hosts();
    for server in lock(&simulator.shared().world).servers.keys() {
        text += &hosts.map(|hosts| hosts.log_of(*server)).unwrap_or_default();
    }
    text
}

pub(crate) fn names(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::name).collect()
}

/// A workspace of two packages, one of which comes from the registry.
fn workspace(sandbox: &Sandbox) -> Project<'_> {
    sandbox.project(
        "work",
        &[
            ("Cargo.toml", "[workspace]\nmembers = ['app', 'lib']\nresolver = '3'\n"),
            (
                "app/Cargo.toml",
                "[package]\nname = 'app'\nversion = '0.1.0'\nedition = '2024'\n\
                 [dependencies]\nlib = { path = '../lib' }\nitoa = '1'\n",
            ),
            (
                "app/src/main.rs",
                "fn main() { println!(\"{}\", itoa::Buffer::new().format(lib::answer())); }\n",
            ),
            ("lib/Cargo.toml", "[package]\nname = 'lib'\nversion = '0.1.0'\nedition = '2024'\n"),
            ("lib/src/lib.rs", "pub fn answer() -> u32 { 42 }\n"),
            (".gitignore", "/target\n"),
        ],
    )
}

#[test]
fn a_workspace_is_built_from_nothing_and_again() {
    // So slow that calls which are sent at once are seen to be.
    let slow = Scenario { call_millis: 150, ..Scenario::default() };
    let Some(simulator) = cloud(slow) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_KEEP_PAID_HOUR", "false");
    let project = workspace(&sandbox);
    let cold = project.burst("build");
    assert_eq!(cold.code, Some(0), "{cold:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(project.output_of("target/debug/app"), "42\n");
    assert!(cold.stderr.contains("Compiling itoa"), "{}", cold.stderr);
    assert!(cold.stderr.contains("on cx53 in hel1 (EUR 0.05 so far"), "{}", cold.stderr);
    let calls = simulator.shared().calls();
    assert!(sequential_waits(&calls) <= 4, "{:#?}", names(&calls));
    // Warm: not one call.
    project.write("lib/src/lib.rs", "pub fn answer() -> u32 { 43 }\n");
    let warm = project.burst("build");
    assert_eq!(warm.code, Some(0), "{warm:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(project.output_of("target/debug/app"), "43\n");
    assert!(!warm.stderr.contains("itoa"), "{}", warm.stderr);
    assert_eq!(simulator.shared().calls().len(), calls.len());
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}

/// The build user of a server cannot read what is the agent's.
#[test]
fn secrets_stay_with_the_agent() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        r#"
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn main() {
    let address: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let told = TcpStream::connect_timeout(&address, Duration::from_secs(2)).and_then(|mut stream| {
        stream.write_all(b"GET /hetzner/v1/userdata HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    println!("metadata {}", told.is_ok());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    println!("{}", line("NoNewPrivs"));
    println!("{}", line("CapEff"));
    println!("root {}", line("Uid:").split_whitespace().any(|id| id == "0"));
    let others = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        command.contains("burst-agent\0serve")
    });
    println!("agents {}", others.count());
    println!("volumes {}", std::fs::read_dir("/mnt/burst").map_or(0, Iterator::count));
    println!("host log {}", std::fs::read("/root").is_ok());
}
"#,
    );
    let found = project.burst("run -q");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    for line in [
        "metadata false",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
        "root false",
        "agents 0",
        "volumes 0",
    ] {
        assert!(found.stdout.contains(line), "{line}: {}", found.stdout);
    }
    // The control: root on the same host is told.
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server).unwrap();
    let script = "exec 3<>/dev/tcp/169.254.169.254/80 && \
                  printf 'GET /hetzner/v1/userdata HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
    let mut told = Command::new("ip");
    told.args(["netns", "exec", &namespace, "timeout", "5", "bash", "-c", script]);
    let told = String::from_utf8(told.output().unwrap().stdout).unwrap();
    assert!(told.contains("agent_key"), "{told}");
}

#[test]
fn idle_servers_and_volumes_go() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator)
        .with("CARGO_BURST_KEEP_PAID_HOUR", "false")
        .with("CARGO_BURST_KEEP_ALIVE_SECS", "1")
        .with("CARGO_BURST_VOLUME_KEEP_ALIVE_SECS", "3600");
    let project = sandbox.hello("app");
    project.ok("build");
    let servers = || lock(&simulator.shared().world).servers.len();
    wait_until("the idle server's deletion", || servers() == 0);
    assert_eq!(lock(&simulator.shared().world).volumes.len(), 1);
    // From nothing, with the volume warm: nothing is compiled again.
    simulator.shared().forget_calls();
    let again = project.ok("build");
    assert!(!again.stderr.contains("Compiling"), "{}", again.stderr);
    let calls = simulator.shared().calls();
    assert!(!names(&calls).contains(&"POST /volumes".to_owned()), "{calls:#?}");
    wait_until("the idle server's deletion", || servers() == 0);
    let down = project.ok("down --with-volumes").stdout;
    assert!(down.contains("deleted the volume"), "{down}");
    assert_eq!(lock(&simulator.shared().world).volumes.len(), 0);
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}
