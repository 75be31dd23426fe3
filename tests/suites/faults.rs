use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use burst_agent::identity::Identity;
use burst_protocol::Digest;
use burst_protocol::message::{FromAgent, Want};
use burst_tests::{Sandbox, assert_explained, carry_over, ended, is_root, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox;
use crate::scripted::{Says, Scripted};
use crate::terminals::{alive, start_waiter, waiter};

#[test]
fn agents_of_other_versions_are_told_apart() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let newer = Scripted::start(&sandbox, Says::Refusal { lowest: 8, highest: 9 }, true);
    let found = project.burst("build");
    assert_explained(
        &found,
        122,
        "error: the agent (9.9.9) and this cargo-burst ([..]) have no protocol version in common\n\
         caused by: the agent speaks versions 8 to 9, this program 1 to 1\n\
         hint: update this program: `cargo install cargo-burst`\n",
    );
    drop(newer);
    let _older = Scripted::start(&sandbox, Says::Refusal { lowest: 0, highest: 0 }, true);
    let found = project.burst("build");
    assert_explained(
        &found,
        122,
        "error: the agent (9.9.9) and this cargo-burst ([..]) have no protocol version in common\n\
         caused by: the agent speaks versions 0 to 0, this program 1 to 1\n\
         hint: `cargo burst down` ends the old agent; the next command starts a new one\n",
    );
}

#[test]
fn a_silent_agent_is_given_up() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let silent = Scripted::start(&sandbox, Says::Nothing, true);
    let found = project.burst("build");
    assert_explained(
        &found,
        113,
        "error: the agent at 127.0.0.1:[..] does not answer\n\
         caused by: no answer from the other end within 10 seconds\n\
         hint: run the command again; if that does not help, `cargo burst down` ends the agent \
         and the next command starts a new one\n",
    );
    drop(silent);
    // A port where nobody speaks QUIC at all.
    let _holder = Scripted::start(&sandbox, Says::Nothing, true);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    fs::write(sandbox.keys().join("address"), socket.local_addr().unwrap().to_string()).unwrap();
    assert_explained(
        &project.burst("build"),
        113,
        "error: the agent at 127.0.0.1:[..] does not answer\n\
         caused by: timed out\n\
         hint: run the command again; if that does not help, `cargo burst down` ends the agent \
         and the next command starts a new one\n",
    );
}

#[test]
fn strangers_get_nothing() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let stranger = Scripted::start(&sandbox, Says::Nothing, false);
    let found = project.burst("build");
    assert_explained(
        &found,
        122,
        "error: the process that answers at 127.0.0.1:[..] is not our agent\n\
         caused by: the cryptographic handshake failed: error 49: invalid peer certificate: \
         ApplicationVerificationFailure\n\
         hint: stop the process that listens on 127.0.0.1:[..], or run `cargo burst down`; then \
         run the command again\n",
    );
    drop(stranger);
    let talker = Scripted::start(&sandbox, Says::Nonsense, true);
    assert_explained(
        &project.burst("build"),
        122,
        "error: the process that answers at 127.0.0.1:[..] is not our agent\n\
         caused by: the other end does not speak cargo-burst's protocol\n\
         hint: stop the process that listens on 127.0.0.1:[..], or run `cargo burst down`; then \
         run the command again\n",
    );
    drop(talker);
    // An agent that pins another shim.
    let _agent = Scripted::start(&sandbox, Says::Nothing, true);
    Identity::generate().unwrap().save(&sandbox.keys(), "shim").unwrap();
    assert_explained(
        &project.burst("build"),
        122,
        "error: the process that answers at 127.0.0.1:[..] is not our agent\n\
         caused by: aborted by peer: the cryptographic handshake failed: error 49: invalid peer \
         certificate: ApplicationVerificationFailure\n\
         hint: stop the process that listens on 127.0.0.1:[..], or run `cargo burst down`; then \
         run the command again\n",
    );
}

#[test]
fn an_agent_that_lies_does_no_harm() {
    let unknown = || vec![FromAgent::Want(Want::Blobs(vec![Digest::from_bytes([7; 32])]))];
    let early = || vec![FromAgent::BlobsEnd];
    for (says, cause) in [
        (Says::Messages(unknown), "the blob 0707070707070707 is missing"),
        (Says::Messages(early), "the other end broke the protocol: unexpected message BlobsEnd"),
        (Says::HugeFrame, "a frame of 4294967295 bytes exceeds the limit of 33554432 bytes"),
    ] {
        let sandbox = sandbox();
        let project = sandbox.hello("app");
        let _liar = Scripted::start(&sandbox, says, true);
        let found = project.burst("build");
        let expected = format!(
            "error: the agent broke the protocol\ncaused by: {cause}\nhint: run the command again; \
             if that does not help, `cargo burst down` ends the agent and the next command starts \
             a new one\n"
        );
        assert_explained(&found, 114, &expected);
        assert!(!project.has("target") && !project.has("Cargo.lock"));
    }
}

#[test]
fn a_full_disk_on_the_agent_loses_nothing() {
    if burst_tests::lacks(&["unshare"]) {
        return;
    }
    if !is_root() {
        return skip("needs root, to mount a small disk");
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let disk = sandbox.path().join("cache/cargo-burst/local");
    fs::create_dir_all(&disk).unwrap();
    // Seen by the agent alone; it ends with the agent.
    let run = |arguments: &str| {
        let inner = project.command(arguments);
        let mut outer = Command::new("unshare");
        outer.args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o size=4m none \"$1\" && shift && exec \"$@\"",
            "sh",
        ]);
        outer.arg(&disk).arg(inner.get_program());
        carry_over(&mut outer, &inner);
        ended(outer.output().unwrap())
    };
    let noise: Vec<u8> =
        (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    project.write("data", &noise);
    let found = run("build");
    assert_explained(
        &found,
        114,
        "error: cannot use the store `[..]/staging/[..]`\n\
         caused by: No space left on device (os error 28)\n\
         hint: free disk space on the agent's machine, or delete its copies of projects with \
         `cargo burst down --with-volumes`\n",
    );
    assert!(fs::read(project.root.join("data")).unwrap() == noise);
    // The disk fills while cargo runs: cargo's own trouble, told by cargo.
    fs::remove_file(project.root.join("data")).unwrap();
    let found = run("build");
    assert_eq!(found.code, Some(101), "{found:?}");
    project.ok("down");
    project.ok("build");
    assert_eq!(project.output_of("target/debug/hello"), "hello\n");
}

#[test]
fn a_full_disk_here_leaves_no_half_file() {
    if burst_tests::lacks(&["unshare"]) {
        return;
    }
    if !is_root() {
        return skip("needs root, to mount a small disk");
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let target = sandbox.path().join("small");
    fs::create_dir(&target).unwrap();
    let run = |size: &str| {
        let inner = project.command(&format!("build --target-dir {}", target.display()));
        let mut outer = Command::new("unshare");
        let script = format!(
            "mount -t tmpfs -o size={size} none \"$1\" && shift && \"$@\"; code=$?; find {}; exit $code",
            target.display()
        );
        outer.args(["--mount", "sh", "-c", &script, "sh"]);
        outer.arg(&target).arg(inner.get_program());
        carry_over(&mut outer, &inner);
        ended(outer.output().unwrap())
    };
    project.ok("check");
    let found = run("64k");
    assert_eq!(found.code, Some(115), "{found:?}");
    assert!(
        found.stderr.contains(
            "hint: free disk space here, then run the command again: the agent has kept the results"
        ),
        "{}",
        found.stderr
    );
    let listed = |below: &str| found.stdout.lines().any(|line| line.ends_with(below));
    assert_eq!(
        ["small", "debug", "debug/hello", ".from-burst"].map(listed),
        [true, true, false, false]
    );
    let found = run("100m");
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.stdout.contains("debug/hello"), "{}", found.stdout);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_sent_whole_or_not_at_all() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let path = project.root.join("busy");
    fs::write(&path, vec![0; 4 << 20]).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::unix::fs::FileExt;
            let file = fs::File::options().write(true).open(&path).unwrap();
            for round in 1_u64.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                file.write_all_at(&round.to_le_bytes(), (round * 8) % (4 << 20)).unwrap();
            }
        });
        let found = project.burst("check");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if found.code != Some(0) {
            assert_explained(
                &found,
                112,
                "error: the workspace keeps changing while it is read\n\
                 caused by: `[..]/app/busy` changed while it was read\n\
                 hint: wait until no program writes to the workspace, or add the files that \
                 change to `extra_excludes` in .config/cargo-burst.toml\n",
            );
        }
    });
    project.ok("check");
    let there = sandbox.agent_tree(&project.root).join("busy");
    assert!(fs::read(there).unwrap() == fs::read(&path).unwrap());
}

fn kill_agent(sandbox: &Sandbox) {
    let agent = sandbox.agent().expect("an agent");
    kill(Pid::from_raw(agent), Signal::SIGKILL).ok();
}

#[test]
fn an_agent_killed_while_cargo_runs() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    waiter(&project, "std::fs::write(\"half\", \"made\").unwrap();");
    let running = start_waiter(&project);
    kill_agent(&sandbox);
    let found = ended(running.wait_with_output().unwrap());
    assert_explained(
        &found,
        114,
        "error: the connection to the agent was lost while cargo ran\n\
         caused by: the agent has ended meanwhile, and the run with it\n\
         hint: run the command again: the agent kept the work that cargo had finished\n",
    );
    assert!(!project.has("half"));
    assert_eq!(alive(&project), 0);
    project.write("src/main.rs", "fn main() { println!(\"again\") }\n");
    project.ok("build");
    assert_eq!(project.output_of("target/debug/hello"), "again\n");
}

#[test]
fn an_agent_killed_at_any_moment_of_a_sync() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("check");
    for round in 0..8_u64 {
        for n in 0..400 {
            project.write(&format!("data/{}/{n}", n % 7), format!("{round} {n}").repeat(50));
        }
        let mut child = project
            .command("check -q")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments spread over the time that a sync takes.
        std::thread::sleep(Duration::from_millis(20 + 25 * round));
        if sandbox.agent().is_some() {
            kill_agent(&sandbox);
        }
        child.wait().unwrap();
        project.ok("check -q");
        crate::histories::assert_same_tree(&project);
    }
}

#[test]
fn an_agents_lost_disk_deletes_nothing_here() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build");
    let disk = sandbox.path().join("cache/cargo-burst/local/projects");
    fs::remove_dir_all(&disk).unwrap();
    project.ok("build");
    assert!(project.has("src/main.rs") && project.has("Cargo.toml"));
    // The same while cargo runs.
    let tree = sandbox.agent_tree(&project.root);
    project.write(
        "src/main.rs",
        format!("fn main() {{ std::fs::remove_dir_all({:?}).unwrap(); for name in [\"Cargo.toml\", \"Cargo.lock\", \".gitignore\"] {{ std::fs::remove_file(name).unwrap(); }} }}\n", tree.join("src")),
    );
    let ended = project.ok("run -q");
    assert!(ended.stderr.contains("nothing was deleted here"), "{ended:?}");
    for file in ["src/main.rs", "Cargo.toml", "Cargo.lock", ".gitignore"] {
        assert!(project.has(file), "{file}");
    }
    project.write("src/main.rs", "fn main() { println!(\"back\") }\n");
    assert_eq!(project.ok("run -q").stdout, "back\n");
    crate::histories::assert_same_tree(&project);
}
