//! The network of a host: a namespace, a veth pair, an address and a route to this machine.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::AGENT_PORT;
use super::commands::succeed;

/// Most hosts on one machine: each has four addresses of 10.201.0.0/16.
const HOSTS_MAX: u32 = 1 << 14;

/// The address of the metadata service on every host.
pub(super) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The network of a host. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Network {
    /// The name of the namespace and of this machine's end of the veth pair.
    pub(super) name: String,
    number: u32,
    mark: PathBuf,
    is_moved: AtomicBool,
}

impl Network {
    /// Creates a network with the next free number. The name of the link reserves it.
    pub(super) fn make(directory: &Path) -> io::Result<Self> {
        let first = std::process::id().wrapping_mul(61) % HOSTS_MAX;
        for step in 0..HOSTS_MAX {
            let number = (first + step) % HOSTS_MAX;
            let name = format!("hsim{number}");
            let mark = directory.join("networks").join(&name);
            let peer = format!("{name}p");
            let added =
                succeed("ip", ["link", "add", &name, "type", "veth", "peer", "name", &peer]);
            match added {
                Err(error) if error.to_string().contains("File exists") => continue,
                other => other?,
            };
            fs::write(&mark, "")?;
            let network = Self { name, number, mark, is_moved: AtomicBool::new(false) };
            network.connect(&peer)?;
            return Ok(network);
        }
        Err(io::Error::other("too many hosts on this machine"))
    }

    fn connect(&self, peer: &str) -> io::Result<()> {
        let name = self.name.as_str();
        succeed("ip", ["netns", "add", name])?;
        succeed("ip", ["link", "set", peer, "netns", name])?;
        let outer = format!("{}/30", self.host(1));
        succeed("ip", ["address", "add", &outer, "dev", name])?;
        succeed("ip", ["link", "set", name, "up"])?;
        let script = format!(
            "ip link set lo up && ip address add {METADATA}/32 dev lo \
             && ip link set {peer} name eth0 && ip address add {}/30 dev eth0 \
             && ip link set eth0 up && ip route add default via {}",
            self.host(2),
            self.host(1)
        );
        succeed("ip", ["netns", "exec", name, "sh", "-c", &script])?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let rules = format!(
            "add table ip {name}\n\
             add chain ip {name} out {{ type nat hook postrouting priority srcnat; }}\n\
             add rule ip {name} out ip saddr {} oifname != \"{name}\" masquerade\n",
            self.host(2)
        );
        succeed("nft", [rules.as_str()]).map(drop)
    }

    /// From now on packets of these protocols to the agent's port are dropped, and no others.
    pub(super) fn block(&self, protocols: &[impl AsRef<str>]) -> io::Result<()> {
        let mut rules = "add table inet wall\ndelete table inet wall\nadd table inet wall\n\
             add chain inet wall in { type filter hook input priority filter; }\n"
            .to_owned();
        for protocol in protocols {
            let protocol = protocol.as_ref();
            rules += &format!("add rule inet wall in {protocol} dport {AGENT_PORT} drop\n");
        }
        succeed("ip", ["netns", "exec", self.name.as_str(), "nft", rules.as_str()]).map(drop)
    }

    fn host(&self, last: u32) -> Ipv4Addr {
        let base = u32::from(Ipv4Addr::new(10, 201, 0, 0));
        Ipv4Addr::from(base + self.number * 4 + last)
    }

    /// The address of the host.
    pub(super) fn address(&self) -> String {
        match self.is_moved.load(Ordering::Relaxed) {
            false => self.host(2).to_string(),
            true => self.second_address().to_string(),
        }
    }

    /// Gives the host another address instead of its first one.
    pub(super) fn move_to_second_address(&self) -> io::Result<()> {
        let (name, new) = (self.name.as_str(), self.second_address().to_string());
        let script = format!(
            "ip address del {}/30 dev eth0 && ip address add {new} peer {} dev eth0",
            self.host(2),
            self.host(1)
        );
        succeed("ip", ["netns", "exec", name, "sh", "-c", &script])?;
        succeed("ip", ["route", "add", &new, "dev", name])?;
        self.is_moved.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn second_address(&self) -> Ipv4Addr {
        let [first, _, third, fourth] = self.host(2).octets();
        Ipv4Addr::from([first, 202, third, fourth])
    }

    /// Creates a listener in the namespace.
    pub(super) fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let namespace = File::open(Path::new("/run/netns").join(&self.name))?;
        // Only this thread enters the namespace, and then ends; the socket stays in it.
        let bound = std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(kind),
            )?;
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            io::Result::Ok(listener)
        });
        bound.join().map_err(|_| io::Error::other("the thread that binds the socket panicked"))?
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let name = self.name.as_str();
        // If this fails, it is already removed or `undertaker.sh` removes it.
        drop(succeed("ip", ["netns", "delete", name]));
        drop(succeed("ip", ["link", "delete", name]));
        drop(succeed("nft", ["delete", "table", "ip", name]));
        drop(fs::remove_file(&self.mark));
    }
}
