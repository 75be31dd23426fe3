//! Strangers at the TCP port of a server, and streams that are replayed.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use burst_agent::identity::{Identity, client_tls};
use burst_agent::tcp;
use burst_agent::transport::IdleTimeout;
use burst_protocol::hello::Preface;
use burst_protocol::link::{Control, Refusal, StreamId};
use burst_tests::{Sandbox, lacks, wait_until};
use hetzner_sim::Simulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::hetzner::{logs, sandbox_on};
use crate::tcp::{Talk, agent, agent_log, came_back, cloud_without, noise, ok, server};

/// What the agent has logged that is not of a run.
fn log_beside_runs(simulator: &Simulator) -> Vec<String> {
    let log = agent_log(simulator);
    log.lines().filter(|line| !line.contains(" run{run=")).map(str::to_owned).collect()
}

#[test]
fn strangers_cannot_keep_the_client_out_nor_fill_the_log() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    ok(&project, &simulator, "check -q");
    let (address, before) = (agent(&simulator), log_beside_runs(&simulator));
    // More than the agent keeps.
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100_000], &noise(3, 100_000)] {
        let mut socket = TcpStream::connect(address).unwrap();
        // The agent may have closed it before all of it was written.
        socket.write_all(garbage).and_then(|()| socket.shutdown(Shutdown::Write)).ok();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).ok();
        assert!(answer.len() < 100, "{answer:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [own, pinned] = [(); 2].map(|()| Identity::generate().unwrap());
        let tls = Arc::new(client_tls(&own, pinned.certificate().clone()).unwrap());
        let connected = tcp::connect(address, tls, IdleTimeout::default()).await;
        assert!(connected.is_err(), "{connected:?}");
    });
    ok(&project, &simulator, "check -q");
    for mut socket in silent {
        socket.shutdown(Shutdown::Write).ok();
        // It may end as a connection that breaks.
        socket.read_to_end(&mut Vec::new()).ok();
    }
    // The agent has closed them all, and serves others behind them.
    ok(&project, &simulator, "check -q");
    assert_eq!(log_beside_runs(&simulator), before);
}

/// Too many open files neither end the agent nor fill its log.
#[test]
fn an_agent_without_file_descriptors_goes_on_when_there_are_some() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    if lacks(&["prlimit"]) {
        return;
    }
    const FAILED: &str = "cannot accept a TCP connection: ";
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    ok(&project, &simulator, "check -q");
    let address = agent(&simulator);
    let process = agent_process(&simulator);
    let limit = |files: usize| {
        let limit = format!("--nofile={files}:");
        let set = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status();
        assert!(set.unwrap().success());
    };
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    limit(open + 10);
    let silent: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
    wait_until(FAILED, || agent_log(&simulator).contains(FAILED));
    drop(silent);
    limit(1024);
    ok(&project, &simulator, "check -q");
    assert_eq!(agent_log(&simulator).matches(FAILED).count(), 1);
    assert_eq!(agent_process(&simulator), process);
}

/// The process of the agent.
fn agent_process(simulator: &Simulator) -> u32 {
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server(simulator)).unwrap();
    let listed = Command::new("ip").args(["netns", "pids", &namespace]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let is_agent = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        line.starts_with(b"burst-agent\0serve\0")
    };
    listed.lines().filter_map(|line| line.parse().ok()).find(is_agent).unwrap()
}

/// The certificate of the agent is no secret: a client that has it, but not the key of the shim, is
/// refused after the handshake.
#[test]
fn a_client_without_the_pinned_certificate_is_refused() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    ok(&project, &simulator, "check -q");
    let (address, before) = (agent(&simulator), log_beside_runs(&simulator));
    let pinned = fs::read(path_of(&sandbox, "agent.cert")).unwrap().into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let own = Identity::generate().unwrap();
        let tls = Arc::new(client_tls(&own, pinned).unwrap());
        let (mut reader, mut writer) =
            tcp::connect(address, tls, IdleTimeout::default()).await.unwrap();
        let hello = Preface::hello("test").to_bytes();
        writer.write_all(&hello).await.ok();
        let mut answer = Vec::new();
        let read = reader.read_to_end(&mut answer).await;
        assert!(read.is_err() && answer.is_empty(), "{read:?} {answer:?}");
    });
    // Served behind that one, which the agent has closed.
    ok(&project, &simulator, "check -q");
    assert_eq!(log_beside_runs(&simulator), before);
}

/// A file of the keeper's keys.
fn path_of(sandbox: &Sandbox, name: &str) -> PathBuf {
    let mut directories = vec![sandbox.path().join("state/cargo-burst/hetzner")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().is_some_and(|found| found == name) {
                return path;
            }
        }
    }
    panic!("the keeper has no {name}");
}

/// What a command records of its stream: name, disk, boot and lock file.
type Recorded = (StreamId, Vec<u8>, Vec<u8>, (u64, u64));

/// The name of the only stream that is recorded.
fn recorded_stream(sandbox: &Sandbox) -> StreamId {
    let states = fs::read_dir(sandbox.path().join("cache/cargo-burst/workspaces")).unwrap();
    let mut found = states.filter_map(|state| {
        let record = state.unwrap().path().join("stream-0");
        burst_sync::stat_cache::read_record::<Recorded>(&record)
    });
    found.next().unwrap().0
}

/// What the agent sends on a new stream of the client, whose first words are these, until its end.
fn answer_to(sandbox: &Sandbox, address: SocketAddr, control: &Control) -> Vec<u8> {
    let certificate = path_of(sandbox, "agent.cert");
    let own = Identity::load(certificate.parent().unwrap(), "shim").unwrap();
    let pinned = fs::read(certificate).unwrap().into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tls = Arc::new(client_tls(&own, pinned).unwrap());
        let (mut reader, mut writer) =
            tcp::connect(address, tls, IdleTimeout::default()).await.unwrap();
        let control = burst_sync::wire::control_frame(control).unwrap();
        writer.write_all(&[Preface::hello("test").to_bytes(), control].concat()).await.unwrap();
        let mut answer = Vec::new();
        // It may end as a connection that breaks.
        reader.read_to_end(&mut answer).await.ok();
        answer
    })
}

#[test]
fn a_replayed_stream_neither_ends_nor_takes_a_run() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let mut talk = Talk::begin(&project);
    talk.say("one");
    assert_eq!(talk.line(), "got one\n");
    let (id, address) = (recorded_stream(&sandbox), agent(&simulator));
    // A second opening, and an attempt to go on that is no later one.
    assert_eq!(answer_to(&sandbox, address, &Control::Open { id, grace_secs: 60 }), b"");
    let resumed = burst_sync::wire::control_frame(&Control::Resumed { received: 0 }).unwrap();
    let again = answer_to(&sandbox, address, &Control::Resume { id, received: 0, attempt: 0 });
    // A welcome, and no more.
    assert!(again.len() < 64 && again.windows(resumed.len()).all(|part| part != resumed));
    talk.say("two");
    assert_eq!(talk.line(), "got two\n", "{}", logs(&simulator, &sandbox));
    talk.end(&project);
    assert_eq!(came_back(&simulator), (0, 0));
    // Once it has ended it is unknown.
    let unknown = Control::Refused(Refusal::Unknown);
    let refused = answer_to(&sandbox, address, &Control::Resume { id, received: 0, attempt: 9 });
    assert!(refused.ends_with(&burst_sync::wire::control_frame(&unknown).unwrap()));
    ok(&project, &simulator, "check -q");
}
