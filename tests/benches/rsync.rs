//! cargo-burst against `rsync -az` over ssh, on loopback, interleaved, on the same
//! trees: a cold sync, one without changes, one of a one-line edit. Prints a table
//! with wall time (median of the rounds), bytes each way, and the peak memory of
//! both ends; then what `cargo burst check` adds to the agent's own `cargo check`.
//!
//! `cargo bench -p burst-tests --bench rsync`. Needs rsync, sshd and
//! `/usr/bin/time`; makes keys and a server of its own and ends it.
//!
//! Bytes are those of the ssh and QUIC streams' users: neither includes the
//! handshakes. Nothing here is a test: figures differ from machine to machine.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench that is its own harness"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use burst_tests::{Project, Sandbox};

/// Rounds of the syncs after the cold one.
const ROUNDS: usize = 7;

fn main() {
    let trees: &[usize] =
        if std::env::args().any(|word| word == "--quick") { &[2_000] } else { &[2_000, 100_000] };
    println!("| files | sync | tool | wall | sent | received | memory here | memory there |");
    println!("|--:|---|---|--:|--:|--:|--:|--:|");
    for files in trees {
        compare(*files);
    }
    overhead();
}

/// One measured sync.
struct Figure {
    wall: Duration,
    sent: u64,
    received: u64,
    here_kb: u64,
    there_kb: u64,
}

fn compare(files: usize) {
    let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_cargo-burst-under-test"));
    let project = make_tree(&sandbox, files);
    let rsync = Rsync::start(&sandbox);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    ours.push(burst(&project));
    theirs.push(rsync.sync(&project.root));
    report(files, "cold", &ours, &theirs);
    for (name, edits) in [("no change", false), ("one line", true)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            if edits {
                let path = "src/part7/file7.rs";
                let text = project.read(path);
                let (first, rest) = text.split_once('\n').unwrap();
                drop(first.to_owned());
                project.write(path, format!("// edit number {round}\n{rest}"));
            }
            ours.push(burst(&project));
            theirs.push(rsync.sync(&project.root));
        }
        report(files, name, &ours, &theirs);
    }
}

fn report(files: usize, name: &str, ours: &[Figure], theirs: &[Figure]) {
    for (tool, figures) in [("cargo burst sync", ours), ("rsync -az, ssh", theirs)] {
        let median = |value: &dyn Fn(&Figure) -> u64| {
            let mut values: Vec<u64> = figures.iter().map(value).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let most = |value: &dyn Fn(&Figure) -> u64| figures.iter().map(value).max().unwrap();
        println!(
            "| {files} | {name} | {tool} | {} ms | {} | {} | {} MB | {} MB |",
            median(&|figure| figure.wall.as_millis() as u64),
            median(&|figure| figure.sent),
            median(&|figure| figure.received),
            most(&|figure| figure.here_kb) / 1024,
            most(&|figure| figure.there_kb) / 1024,
        );
    }
}

/// Words that make up text which compresses as sources do.
const WORDS: [&str; 24] = [
    "let", "mut", "self", "fn", "pub", "struct", "impl", "for", "match", "Result", "Option",
    "return", "value", "index", "buffer", "length", "error", "context", "stream", "offset", "&str",
    "u64", "Vec<u8>", "async",
];

/// A package with many files of 1 to 16 KB, most of which cargo never reads.
fn make_tree(sandbox: &Sandbox, files: usize) -> Project<'_> {
    let project = sandbox.hello("tree");
    project.write("src/lib.rs", "");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for number in 0..files {
        let size = 1000 + (next() % 15_000) as usize / if files > 10_000 { 4 } else { 1 };
        let mut text = String::with_capacity(size + 32);
        while text.len() < size {
            text += WORDS[(next() % 24) as usize];
            text.push(if next() % 8 == 0 { '\n' } else { ' ' });
            if next() % 4 == 0 {
                text += &format!("x{:x} ", next() % 4096);
            }
        }
        text.push('\n');
        project.write(&format!("src/part{}/file{number}.rs", number % 150), text);
    }
    project
}

fn burst(project: &Project<'_>) -> Figure {
    let memory = project.sandbox.path().join("memory");
    let inner = project.command("-v sync");
    let mut command = timed(project.sandbox, &memory, &project.root);
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    let began = Instant::now();
    let ended = burst_tests::ended(command.output().unwrap());
    let wall = began.elapsed();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = ended.stderr.lines().find(|line| line.starts_with("burst: stream: ")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    Figure {
        wall,
        sent: numbers.next().unwrap(),
        received: numbers.next().unwrap(),
        here_kb: read_number(&memory),
        there_kb: peak_kb(project.sandbox.agent().unwrap()),
    }
}

/// The most memory that a living process has had.
fn peak_kb(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn timed(sandbox: &Sandbox, memory: &Path, directory: &Path) -> Command {
    let mut command = sandbox.command("/usr/bin/time", directory);
    command.args(["-f", "%M", "-o"]).arg(memory);
    command
}

fn read_number(path: &Path) -> u64 {
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// An ssh server of this user on loopback, and rsync through it.
struct Rsync<'a> {
    sandbox: &'a Sandbox,
    server: Child,
    shell: String,
    there: PathBuf,
    memory: PathBuf,
    wrapper: PathBuf,
}

impl<'a> Rsync<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let directory = sandbox.path().join("ssh");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        for key in ["host", "user"] {
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.join(key))
                .status()
                .expect("ssh-keygen");
            assert!(status.success());
        }
        fs::copy(directory.join("user.pub"), directory.join("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let shown = directory.display();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        );
        fs::write(directory.join("sshd.conf"), config).unwrap();
        // Where sshd separates privileges, it wants this directory.
        drop(fs::create_dir_all("/run/sshd"));
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(directory.join("sshd.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "sshd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        let memory = sandbox.path().join("rsync-memory");
        let wrapper = directory.join("rsync");
        let script =
            format!("#!/bin/sh\nexec /usr/bin/time -f %M -o {} rsync \"$@\"\n", memory.display());
        fs::write(&wrapper, script).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let shell = format!(
            "ssh -p {port} -i {shown}/user -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        );
        let there = sandbox.path().join("there");
        Self { sandbox, server, shell, there, memory, wrapper }
    }

    fn sync(&self, root: &Path) -> Figure {
        let memory = self.sandbox.path().join("memory");
        let mut command = timed(self.sandbox, &memory, root);
        command.args(["rsync", "-az", "--delete", "--exclude", "/target", "--stats"]);
        command.arg("--rsync-path").arg(&self.wrapper).args(["-e", &self.shell]);
        command.arg("./").arg(format!("127.0.0.1:{}/", self.there.display()));
        let began = Instant::now();
        let ended = burst_tests::ended(command.output().unwrap());
        let wall = began.elapsed();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let bytes = |name: &str| -> u64 {
            let line = ended.stdout.lines().find(|line| line.starts_with(name)).unwrap();
            line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        Figure {
            wall,
            sent: bytes("Total bytes sent"),
            received: bytes("Total bytes received"),
            here_kb: read_number(&memory),
            there_kb: read_number(&self.memory),
        }
    }
}

impl Drop for Rsync<'_> {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// What a check without changes takes through the agent and plainly.
fn overhead() {
    let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_cargo-burst-under-test"));
    let project = sandbox.hello("app");
    let plain = || {
        let mut command = sandbox.command("cargo", &project.root);
        command.args(["check", "-q", "--target-dir"]).arg(sandbox.path().join("plain"));
        command
    };
    let time = |mut command: Command| {
        let began = Instant::now();
        assert!(command.status().unwrap().success());
        began.elapsed().as_micros()
    };
    time(plain());
    time(project.command("-q check -q"));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..3 * ROUNDS {
        ours.push(time(project.command("-q check -q")));
        theirs.push(time(plain()));
    }
    for values in [&mut ours, &mut theirs] {
        values.sort_unstable();
    }
    let (ours, theirs) = (ours[ours.len() / 2], theirs[theirs.len() / 2]);
    println!(
        "\n`cargo burst check` without changes: {:.0} ms; `cargo check`: {:.0} ms; difference {:.0} ms",
        ours as f64 / 1000.0,
        theirs as f64 / 1000.0,
        (ours as f64 - theirs as f64) / 1000.0
    );
}
