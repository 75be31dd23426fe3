//! The network of a host: a namespace, a veth pair, addresses and routes to this machine.
//!
//! By IPv4 a host reaches what this machine reaches; by IPv6 it reaches only this machine, whose
//! forwarding of IPv6 stays as it is.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::AGENT_PORT;
use super::commands::succeed;
use super::filter;
use crate::simulator::lock;
use crate::world::{Family, Rule};

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
    /// The families of which the host has an address.
    families: Mutex<Vec<Family>>,
    /// The packet filter, as the input of `nft`.
    filter: Mutex<String>,
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
            let is_moved = AtomicBool::new(false);
            let (families, filter) = (Mutex::default(), Mutex::new(filter::script(None)));
            let network = Self { name, number, mark, is_moved, families, filter };
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
        if has_ipv6() {
            let outer = format!("{}ffff/64", self.prefix());
            succeed("ip", ["address", "add", &outer, "dev", name, "nodad"])?;
        }
        succeed("ip", ["link", "set", name, "up"])?;
        let script = format!(
            "ip link set lo up && ip address add {METADATA}/32 dev lo \
             && ip link set {peer} name eth0 && ip link set eth0 up"
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

    /// Gives the host addresses of these families, and of no others.
    pub(super) fn show(&self, families: &[Family]) -> io::Result<()> {
        let mut shown = lock(&self.families);
        if *shown == families {
            return Ok(());
        }
        let mut script = String::from("set -e\n");
        for family in Family::ALL {
            let number = if family == Family::V4 { 4 } else { 6 };
            match (shown.contains(&family), families.contains(&family)) {
                (false, true) => script += &self.addition(family),
                (true, false) => {
                    script += &format!("ip -{number} address flush dev eth0 scope global\n");
                }
                _ => {}
            }
        }
        succeed("ip", ["netns", "exec", self.name.as_str(), "sh", "-c", &script])?;
        *shown = families.to_vec();
        Ok(())
    }

    /// The commands that give the host its address of a family.
    fn addition(&self, family: Family) -> String {
        match family {
            Family::V4 => format!(
                "ip address add {}/30 dev eth0\nip route add default via {}\n",
                self.host(2),
                self.host(1)
            ),
            Family::V6 if has_ipv6() => {
                let prefix = self.prefix();
                format!(
                    "ip address add {prefix}1/64 dev eth0 nodad\n\
                     ip -6 route add default via {prefix}ffff\n"
                )
            }
            Family::V6 => String::new(),
        }
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

    /// From now on these rules of firewalls count; `None` lets everything pass.
    pub(super) fn filter(&self, rules: Option<&[Rule]>) -> io::Result<()> {
        let script = filter::script(rules);
        let mut filter = lock(&self.filter);
        if *filter != script {
            succeed("ip", ["netns", "exec", self.name.as_str(), "nft", script.as_str()])?;
            *filter = script;
        }
        Ok(())
    }

    fn host(&self, last: u32) -> Ipv4Addr {
        let base = u32::from(Ipv4Addr::new(10, 201, 0, 0));
        Ipv4Addr::from(base + self.number * 4 + last)
    }

    /// The beginning of the host's IPv6 addresses, which are unique local ones.
    fn prefix(&self) -> String {
        format!("fd68:7369:6d00:{:x}::", self.number)
    }

    /// The address of the host, as the API writes it.
    pub(super) fn address(&self, family: Family) -> String {
        match family {
            Family::V6 => format!("{}/64", self.prefix()),
            Family::V4 if self.is_moved.load(Ordering::Relaxed) => {
                self.second_address().to_string()
            }
            Family::V4 => self.host(2).to_string(),
        }
    }

    /// The IPv4 address, where the host has one.
    pub(super) fn public_v4(&self) -> Option<String> {
        lock(&self.families).contains(&Family::V4).then(|| self.address(Family::V4))
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
        let listener = self.within(move || TcpListener::bind(address))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Calls a function that creates a socket, which stays in the namespace.
    pub(super) fn within<T: Send + 'static>(
        &self,
        create: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let namespace = File::open(Path::new("/run/netns").join(&self.name))?;
        // Only this thread enters the namespace, and then ends.
        let created = std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(kind),
            )?;
            create()
        });
        created
            .join()
            .map_err(|_| io::Error::other("the thread that creates the socket panicked"))?
    }
}

/// Whether this machine has IPv6; without it the API shows addresses that no host has.
fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
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
