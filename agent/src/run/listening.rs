//! On which TCP ports the programs of a run listen, so that the client can be told: a port of a
//! server is not one of the user's machine.
//!
//! The kernel reports no such event, so its tables are read once a second while a run is
//! active that asks for it: two short files, and the processes only when a new socket listens.
//! Ports that the kernel chooses itself are left out; tests and tools use them among themselves.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use burst_protocol::message::FromAgent;
use burst_sync::wire::Outgoing;

use super::processes;
use crate::log;

/// The pause between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// The most ports of one run that the client is told.
const PORTS_MAX: usize = 16;

/// Tells the client of ports until it is dropped. Dropping it waits for its thread.
#[derive(Debug)]
pub(crate) struct PortWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PortWatch {
    /// Watches the programs below the process `ancestor`.
    pub(crate) fn start(ancestor: u32, outgoing: Outgoing) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = log::spawn(move || {
            let mut seen = Seen::default();
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                for port in seen.look(ancestor) {
                    if outgoing.message(&FromAgent::Listening { port }).is_err() {
                        return;
                    }
                }
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for PortWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has only read tables.
            drop(thread.join());
        }
    }
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    /// The sockets whose owners were looked up.
    sockets: HashSet<u64>,
    /// The ports of the run.
    ports: BTreeSet<u16>,
}

impl Seen {
    /// The ports of the run that are new.
    fn look(&mut self, ancestor: u32) -> Vec<u16> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let tables = read("/proc/net/tcp") + &read("/proc/net/tcp6");
        let new: Vec<Socket> =
            listening(&tables).filter(|socket| self.sockets.insert(socket.inode)).collect();
        if new.is_empty() || self.ports.len() >= PORTS_MAX {
            return Vec::new();
        }
        let own = sockets_below(ancestor);
        let chosen = chosen_by_kernel(&read("/proc/sys/net/ipv4/ip_local_port_range"));
        let of_run = new.iter().filter(|socket| own.contains(&socket.inode));
        let told = of_run.map(|socket| socket.port).filter(|port| !chosen.contains(port));
        told.filter(|port| self.ports.insert(*port)).collect()
    }
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    port: u16,
    inode: u64,
}

/// The sockets that listen, in the text of `/proc/net/tcp` and `tcp6` (see proc(5)).
fn listening(tables: &str) -> impl Iterator<Item = Socket> {
    const LISTEN: &str = "0A";
    tables.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        if *state != LISTEN {
            return None;
        }
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        Some(Socket { port, inode: inode.parse().ok()? })
    })
}

/// The ports that the kernel gives to programs that ask for none.
fn chosen_by_kernel(range: &str) -> RangeInclusive<u16> {
    let mut bounds = range.split_whitespace().filter_map(|bound| bound.parse().ok());
    match (bounds.next(), bounds.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => 32768..=60999,
    }
}

/// The sockets of all processes below `ancestor`, by their inodes.
fn sockets_below(ancestor: u32) -> HashSet<u64> {
    processes::below(ancestor).into_iter().flat_map(sockets_of).collect()
}

fn sockets_of(pid: u32) -> Vec<u64> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inode = |target: &std::path::Path| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    descriptors.filter_map(|entry| inode(&std::fs::read_link(entry.path()).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::run::processes::parent_in;

    #[test]
    fn only_sockets_that_listen_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1
   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1
";
        let found: Vec<Socket> = listening(table).collect();
        assert_eq!(found, [Socket { port: 8080, inode: 4711 }, Socket { port: 80, inode: 99 }]);
    }

    #[test]
    fn the_kernel_says_which_ports_it_chooses() {
        assert_eq!(chosen_by_kernel("32768\t60999\n"), 32768..=60999);
        assert_eq!(chosen_by_kernel("1024 2000"), 1024..=2000);
        assert_eq!(chosen_by_kernel(""), 32768..=60999);
    }

    #[test]
    fn own_sockets_are_found_once() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = sockets_of(std::process::id());
        let port = socket.local_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let inode = listening(&table).find(|found| found.port == port).unwrap().inode;
        assert!(own.contains(&inode));
        // A port that the kernel has chosen is not told.
        let mut seen = Seen::default();
        assert_eq!(
            seen.look(parent_in(&std::fs::read_to_string("/proc/self/stat").unwrap()).unwrap()),
            Vec::<u16>::new()
        );
        assert!(seen.sockets.contains(&inode));
    }
}
