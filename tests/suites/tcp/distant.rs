//! A server that is far away.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use hetzner_sim::Simulator;

use super::{chosen, cloud_without, ok, server};
use crate::hetzner::{logs, sandbox_on};

/// What a proxy has seen of one connection.
#[derive(Default)]
struct Carried {
    /// Bytes from the client, once the agent has answered.
    after_answer: AtomicUsize,
    has_answer: AtomicBool,
}

/// A proxy before the TCP port of the only server, in the network of that. Each direction takes
/// half of `round_trip` longer, and a connection a round trip, as of a distant server.
fn delay(simulator: &Simulator, round_trip: Duration) -> Arc<Mutex<Vec<Arc<Carried>>>> {
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server(simulator)).unwrap();
    let rules = "table ip far { chain pre { type nat hook prerouting priority dstnat; \
                 iifname \"eth0\" tcp dport 7777 redirect to :7778; }; }";
    let set = Command::new("ip").args(["netns", "exec", &namespace, "nft", rules]).status();
    assert!(set.unwrap().success());
    let network = fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    let (seen, listening) = (Arc::<Mutex<Vec<Arc<Carried>>>>::default(), mpsc::channel());
    let connections = seen.clone();
    // The threads that it starts are in that network, too. They end with this process.
    std::thread::spawn(move || {
        nix::sched::setns(&network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind("0.0.0.0:7778").unwrap();
        listening.0.send(()).unwrap();
        for client in listener.incoming() {
            let carried = Arc::<Carried>::default();
            connections.lock().unwrap().push(carried.clone());
            let client = client.unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(round_trip);
                let agent = TcpStream::connect("127.0.0.1:7777").unwrap();
                let up = (client.try_clone().unwrap(), agent.try_clone().unwrap());
                let answered = carried.clone();
                std::thread::spawn(move || {
                    carry(up, round_trip / 2, |bytes| {
                        if answered.has_answer.load(Ordering::SeqCst) {
                            answered.after_answer.fetch_add(bytes, Ordering::SeqCst);
                        }
                    });
                });
                carry((agent, client), round_trip / 2, |_| {
                    carried.has_answer.store(true, Ordering::SeqCst);
                });
            });
        }
    });
    listening.1.recv().unwrap();
    seen
}

/// Carries one direction to its end. What comes meanwhile waits as long.
fn carry((mut from, mut to): (TcpStream, TcpStream), takes: Duration, saw: impl Fn(usize)) {
    let mut buffer = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        saw(count);
        std::thread::sleep(takes);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Either may be closed.
    to.shutdown(Shutdown::Write).ok();
}

/// The first connection is not given up for another one before its handshake is complete.
#[test]
fn a_distant_server_is_reached_at_the_first_attempt_where_udp_is_blocked() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    ok(&project, &simulator, "check -q");
    sandbox.kill_keeper();
    // What a slow machine may have found out by now.
    fs::remove_file(sandbox.path().join("state/cargo-burst/hetzner/tcp-networks.json")).ok();
    let seen = delay(&simulator, Duration::from_millis(800));
    ok(&project, &simulator, "check -q");
    assert_eq!(chosen(&sandbox, "Quic"), 2);
    let first = seen.lock().unwrap()[0].clone();
    assert!(first.after_answer.load(Ordering::SeqCst) > 0, "{}", logs(&simulator, &sandbox));
}
