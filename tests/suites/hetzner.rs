//! The Hetzner provider against the simulator, whose servers are real hosts.

use std::path::PathBuf;
use std::process::Command;

use burst_tests::{
    Project, Sandbox, assert_lines, assert_progress, ended, is_root, lacks, skip, wait_until,
};
use hetzner_sim::log::{Call, sequential_waits};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Backend, Options, Scenario, Simulator};

use crate::sandbox;

pub(crate) const TOKEN: &str = "a-token-of-this-test";

/// A simulator with real hosts; `None`, with a message, where they cannot be created.
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

/// The status of an account without servers and volumes.
pub(crate) const NOTHING: &str = "server: none; the next command creates one\nimage 1001: created [..] ago, \
                       2.3 GB, EUR 0.03 per month\ncost so far: EUR 0.00\nthis month: EUR [..]\n";

/// The logs of keeper and agents, for the messages of failed tests.
pub(crate) fn logs(simulator: &Simulator, sandbox: &Sandbox) -> String {
    let keeper = sandbox.path().join("state/cargo-burst/keeper/keeper.log");
    let mut text = std::fs::read_to_string(keeper).unwrap_or_default();
    let hosts = simulator.shared().hosts();
    for server in lock(&simulator.shared().world).servers.keys() {
        text += &hosts.map(|hosts| hosts.log_of(*server)).unwrap_or_default();
    }
    text
}

/// Waits for the last call that is made beside a command with a new volume: whether it is attached.
pub(crate) fn wait_for_verified_volume(simulator: &Simulator) {
    wait_until("the verified volume", || {
        names(&simulator.shared().calls()).iter().any(|name| name == "GET /volumes/{id}")
    });
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
fn cold_and_warm_builds_of_a_workspace() {
    // Slow calls, so that concurrent ones overlap in the record.
    let slow = Scenario { call_millis: 150, ..Scenario::default() };
    let Some(simulator) = cloud(slow) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_KEEP_PAID_HOUR", "false");
    let project = workspace(&sandbox);
    let cold = project.burst("build");
    assert_eq!(cold.code, Some(0), "{cold:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(project.output_of("target/debug/app"), "42\n");
    assert!(cold.stderr.contains("Compiling itoa"), "{}", cold.stderr);
    // Said before it costs anything: what, where, the price, and until when it stays.
    let announced = "burst: creating a cx53 server in hel1 for EUR 0.05 per started hour and a \
                     volume of 10 GB for EUR 0.57 per month; it is deleted when idle for 5 min\n";
    assert_eq!(cold.stderr.matches(announced).count(), 1, "{}", cold.stderr);
    assert!(cold.stderr.contains("on cx53 in hel1 (EUR 0.05 so far"), "{}", cold.stderr);
    // The attachment is verified beside the run, by the last call.
    wait_for_verified_volume(&simulator);
    let calls = simulator.shared().calls();
    // The deletion of the SSH key is not waited for.
    let is_waited_for = |call: &&Call| call.name() != "DELETE /ssh_keys/{id}";
    let attached = names(&calls).iter().position(|name| name.ends_with("/actions/attach"));
    let waited_for: Vec<Call> =
        calls[..=attached.unwrap()].iter().filter(is_waited_for).cloned().collect();
    assert!(sequential_waits(&waited_for) <= 5, "{:#?}", names(&calls));
    // A warm build makes no call.
    project.write("lib/src/lib.rs", "pub fn answer() -> u32 { 43 }\n");
    let warm = project.burst("build");
    assert_eq!(warm.code, Some(0), "{warm:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(project.output_of("target/debug/app"), "43\n");
    let compiled = warm.stderr.lines().filter_map(|line| line.trim().strip_prefix("Compiling "));
    let compiled: Vec<&str> = compiled.filter_map(|unit| unit.split(' ').next()).collect();
    assert_eq!(compiled, ["lib", "app"]);
    assert!(!warm.stderr.contains("creating"), "{}", warm.stderr);
    assert_eq!(simulator.shared().calls().len(), calls.len());
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}

/// A program that looks for secrets of the agent, as a build script could.
const SPY: &str = r#"
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// PTRACE_ATTACH, by hand: there is no libc crate here.
fn attach(pid: u64) -> i64 {
    let mut result: i64 = 101;
    unsafe {
        std::arch::asm!(
            "syscall", inout("rax") result, in("rdi") 16, in("rsi") pid, in("rdx") 0, in("r10") 0,
            out("rcx") _, out("r11") _,
        );
    }
    result
}

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
    let own = std::process::id().to_string();
    let parent = std::os::unix::process::parent_id().to_string();
    let mut opened = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.parse::<u32>().is_ok() && name != own && name != parent {
            opened += usize::from(std::fs::File::open(entry.path().join("mem")).is_ok());
            opened += usize::from(std::fs::read(entry.path().join("environ")).is_ok());
        }
    }
    println!("memories {opened}");
    // The control: a process of one's own can be traced.
    let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    println!("control {}", attach(u64::from(child.id())));
    println!("traces {}", (1..std::process::id()).filter(|pid| attach(u64::from(*pid)) >= 0).count());
    let needle = std::env::var("NEEDLE").unwrap();
    let mut found = 0;
    let mut directories = ["/tmp", "/run", "/mnt", "/var", "/home", "/etc"].map(Into::into).to_vec();
    while let Some(directory) = directories.pop() {
        let directory: std::path::PathBuf = directory;
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                found += usize::from(bytes.windows(needle.len()).any(|at| at == needle.as_bytes()));
            }
        }
    }
    println!("files with the token {found}");
}
"#;

/// The build user of a server cannot read secrets of the agent.
#[test]
fn secrets_stay_with_the_agent() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    // The token itself is in the agent's memory, for the dead man's switch.
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.write("src/main.rs", SPY);
    let found = project.burst(&format!("run -q --env NEEDLE={TOKEN}"));
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    for line in [
        "memories 0",
        "control 0",
        "traces 0",
        "files with the token 0",
        "metadata false",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
        "root false",
        "agents 0",
        "volumes 0",
    ] {
        assert!(found.stdout.contains(line), "{line}: {}", found.stdout);
    }
    // The control: root on the same host can read the user data.
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server).unwrap();
    let script = "exec 3<>/dev/tcp/169.254.169.254/80 && \
                  printf 'GET /hetzner/v1/userdata HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
    // The agent's memory reaches no disk: no core dump, no swap.
    let agent = ended(
        Command::new("sh")
            .args([
                "-c",
                "for pid in $(ip netns pids \"$1\"); do grep -q burst-agent /proc/$pid/comm && \
                    grep -h -e 'Max core' -e VmLck /proc/$pid/limits /proc/$pid/status; done",
                "sh",
            ])
            .arg(&namespace)
            .output()
            .unwrap(),
    );
    let line = |name: &str| agent.stdout.lines().find(|line| line.starts_with(name));
    let words = |name: &str| line(name).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(words("Max core")[4], "0", "{agent:?}");
    assert!(words("VmLck")[1].parse::<u64>().unwrap() > 0, "{agent:?}");
    let mut told = Command::new("ip");
    told.args(["netns", "exec", &namespace, "timeout", "5", "bash", "-c", script]);
    let told = String::from_utf8(told.output().unwrap().stdout).unwrap();
    assert!(told.contains("agent_key"), "{told}");
}

#[test]
fn idle_servers_and_volumes_are_deleted() {
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
    // On a new server with the old volume nothing is compiled again.
    simulator.shared().forget_calls();
    let again = project.ok("build");
    assert_eq!(again.stderr.matches("Compiling").count(), 0, "{}", again.stderr);
    let calls = simulator.shared().calls();
    let made = names(&calls).into_iter().filter(|call| call == "POST /volumes").count();
    assert_eq!(made, 0, "{calls:#?}");
    wait_until("the idle server's deletion", || servers() == 0);
    let down = project.ok("down --with-volumes --yes").stdout;
    assert_lines(&down, "deleted the volume cargo-burst-[..]-hel1\n");
    assert_eq!(lock(&simulator.shared().world).volumes.len(), 0);
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}

#[test]
fn status_and_audit_show_resources_and_costs() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("build");
    project.ok("check");
    let status = project.ok("status").stdout;
    assert_lines(
        &status,
        "server cargo-burst-[..]: cx53 in hel1, running, up [..], last used [..] ago, paid for \
         [..] more, deleted in [..] if it stays idle; EUR 0.05 so far, 0.05 per \
         started hour\n\
         volume of app: 10 GB in hel1, attached, last used [..] ago, deleted in [..] if it stays \
         idle; EUR 0.00 so far\n\
         image 1001: created [..] ago, 2.3 GB, EUR 0.03 per month\n\
         cost so far: EUR 0.05\n\
         this month: EUR [..]\n",
    );
    let json = |arguments: &str| -> serde_json::Value {
        serde_json::from_str(&project.ok(arguments).stdout).unwrap()
    };
    let report = json("status --json");
    assert_eq!(report["hetzner"]["servers"][0]["server_type"], "cx53");
    assert_eq!(report["hetzner"]["volumes"][0]["gb"], 10.0);
    let audit = json("audit --json --rate 2");
    assert_eq!(
        (&audit["servers"], &audit["commands"], &audit["cold"]["commands"], &audit["cost"]),
        (&1.into(), &2.into(), &1.into(), &2.0.into())
    );
    let rules = "  keep_alive_secs = [..] keep_paid_hour = [..], EUR [..]\n".repeat(10);
    assert_lines(
        &project.ok("audit").stdout,
        &format!(
            "1 server, 1 started hour, EUR 0.05; optimum with perfect foresight: 1 hour\n\
             this month: EUR [..], EUR 0.00 in the one before\n\
             cold              1 command, on average [..] s: server [..], sync [..], cargo [..]\n\
             warm              1 command, on average [..] s: server [..], sync [..], cargo [..]\n\
             build             1 command, on average [..] s: server [..], sync [..], cargo [..]\n\
             check             1 command, on average [..] s: server [..], sync [..], cargo [..]\n\
             cost with other settings:\n{rules}"
        ),
    );
    // The last use is written to the labels, for other machines.
    let last_use = || {
        let world = lock(&simulator.shared().world);
        let server = world.servers.values().next().unwrap();
        server.labels["cargo-burst.last-use"].parse::<i64>().unwrap()
    };
    let first = last_use();
    simulator.shared().advance(400.0);
    project.ok("reap");
    project.ok("sync");
    project.ok("reap");
    assert!(last_use() >= first + 400, "{first} {}", last_use());
    // Another owner with the same token sees it with `--all`.
    let other = sandbox_on(&simulator);
    let others = other.hello("app");
    assert!(others.ok("status").stdout.starts_with("server: none; the next command creates one\n"));
    let all = others.ok("status --all").stdout;
    assert_eq!(all.matches("(created by ").count(), 2, "{all}");
    assert_eq!(others.ok("reap").stdout, "nothing to delete at Hetzner\n");
    // Long after its expiry another owner deletes it and its volume.
    simulator.shared().advance(2.0 * 86_400.0 - 500.0);
    let reaped: serde_json::Value = serde_json::from_str(&others.ok("reap --json").stdout).unwrap();
    assert_eq!(reaped["servers"].as_array().unwrap().len(), 1, "{reaped}");
    assert_eq!(reaped["volumes"].as_array().unwrap().len(), 1, "{reaped}");
    assert_eq!(json("down --json")["hetzner"]["servers"].as_array().unwrap().len(), 0);
}

#[test]
fn cost_limits_are_enforced() {
    let simulator = Simulator::start(Options::new(TOKEN, Scenario::default())).unwrap();
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let refused = project.burst("build --max-cost 0.01");
    assert_eq!(refused.code, Some(118), "{refused:?}");
    let hint = "hint: raise `--max-cost` or `monthly_budget`, or set a cheaper `server_type`; \
                `--yes` creates it all the same\n";
    let costs = "error: a cx53 in hel1 costs EUR 0.05 per started hour\n";
    assert_eq!(
        refused.stderr,
        format!(
            "{costs}caused by: the limit is EUR 0.01\ncaused by: `--max-cost` is EUR 0.01\n\
             caused by: EUR 0.00 are spent this month, without a `monthly_budget`\n{hint}"
        )
    );
    let sandbox = sandbox.with("CARGO_BURST_MONTHLY_BUDGET", "0.03");
    let refused = sandbox.hello("app").burst("build");
    let budget = "caused by: `monthly_budget` is EUR 0.03, of which EUR";
    assert_eq!(
        refused.stderr,
        format!("{costs}caused by: the limit is EUR 0.03\n{budget} 0.00 are spent\n{hint}")
    );
    assert!(lock(&simulator.shared().world).servers.is_empty());
    assert!(lock(&simulator.shared().world).volumes.is_empty());
    // Costs in the audit record count.
    let now = burst_hcloud::Timestamp::now().as_second();
    let spent = serde_json::json!({
        "event": "opened", "kind": "server", "id": 1, "name": "s", "account": "another",
        "own": true, "location": "y", "server_type": "x", "created": now,
        "rates": [{ "hourly": 0.5 }],
    });
    let record = sandbox.path().join("state/cargo-burst/hetzner/audit.jsonl");
    std::fs::write(record, format!("{spent}\n")).unwrap();
    let refused = sandbox.hello("app").burst("build");
    assert_eq!(refused.code, Some(118), "{refused:?}");
    assert_eq!(
        refused.stderr,
        format!("{costs}caused by: the limit is EUR 0.00\n{budget} 0.50 are spent\n{hint}")
    );
}

/// A systemctl that records its arguments takes the place of systemd.
#[test]
fn the_timer_of_systemd_runs_reap() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = sandbox();
    sandbox.private_settings(&format!("hetzner_token = '{TOKEN}'\n"));
    let project = sandbox.hello("app");
    let programs = sandbox.path().join("programs");
    let calls = sandbox.path().join("calls");
    std::fs::create_dir(&programs).unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\n", calls.display());
    std::fs::write(programs.join("systemctl"), script).unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(programs.join("systemctl"), executable).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let timer = project.command("reap --install-timer").env("PATH", &path).output().unwrap();
    let units = sandbox.path().join("config/systemd/user");
    let shown = units.join("cargo-burst-reap.timer");
    assert_eq!(
        String::from_utf8(timer.stdout).unwrap(),
        format!("enabled `{}`\n", shown.display())
    );
    assert_eq!(
        std::fs::read_to_string(calls).unwrap(),
        "--user daemon-reload\n--user enable --now cargo-burst-reap.timer\n"
    );
    // Without systemd the reason is part of the document.
    std::fs::write(programs.join("systemctl"), "#!/bin/sh\necho no bus >&2\nexit 1\n").unwrap();
    let mut timer = project.command("reap --install-timer --json");
    let timer = ended(timer.env("PATH", &path).output().unwrap());
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&timer.stdout).unwrap(),
        serde_json::json!({ "timer": shown, "enabled": false, "reason": "no bus" })
    );
    assert_progress(
        &timer,
        &format!(
            "warning: `{}` is written but not enabled (no bus): run `systemctl --user enable \
             --now cargo-burst-reap.timer`\n",
            shown.display()
        ),
    );
    let unit = std::fs::read_to_string(units.join("cargo-burst-reap.service")).unwrap();
    assert!(unit.contains("\" reap\n"), "{unit}");
}

/// While the server boots, all files are read and compressed. The boot takes an hour until
/// the test advances the clock.
#[test]
fn files_are_read_while_the_server_boots() {
    let action_secs = [("default".to_owned(), 0.05), ("create_server".to_owned(), 3600.0)].into();
    let Some(simulator) = cloud(Scenario { action_secs, ..Scenario::default() }) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    const BYTES: usize = 20 << 20;
    project.write("data", "all of it is the same ".repeat(BYTES / 22 + 1));
    let mut command = project.command("-v sync");
    let command = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let run = command.spawn().unwrap();
    // Once for the digest, and once for the transfer.
    let read = || {
        let text = std::fs::read_to_string(format!("/proc/{}/io", run.id())).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        count.and_then(|count| count.parse::<usize>().ok()).unwrap_or(0)
    };
    wait_until("the second read of all files", || read() > 2 * BYTES);
    simulator.shared().advance(3600.0);
    let found = ended(run.wait_with_output().unwrap());
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert!(found.stderr.contains("synced: 4 written"), "{}", found.stderr);
}
