//! Servers as real hosts: network, mount, PID and other namespaces over the root file system
//! of this machine.
//!
//! Each host has addresses on a veth pair, a metadata service at 169.254.169.254, the API
//! at the address that the client uses, volumes as loop devices below `/dev/disk/by-id`, and
//! an agent, started as in the image. `undertaker.sh` waits for the end of the simulator and
//! removes everything that it has left behind.

mod commands;
mod control_groups;
mod filter;
mod machine;
mod metadata;
mod network;
mod pulled;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use crate::simulator::{Shared, lock};
use crate::world::{Effect, Family, Rule};
use control_groups::HostGroups;
use machine::{Machines, Order};
use network::Network;

/// The port of the agent, of UDP and of TCP, as in the image.
pub const AGENT_PORT: u16 = 7777;

/// The script that cleans up after a simulator, however it ends.
const UNDERTAKER: &str = include_str!("undertaker.sh");

/// The hosts of a simulator.
#[derive(Debug)]
pub struct Hosts {
    directory: PathBuf,
    agent: PathBuf,
    networks: Mutex<Option<BTreeMap<u64, Arc<Network>>>>,
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    undertaker: Mutex<Option<Child>>,
}

impl Hosts {
    /// Prepares for hosts that run this agent. Needs root.
    pub fn start(agent: PathBuf) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "hosts need root"));
        }
        let agent = fs::canonicalize(agent)?;
        let directory = tempfile::Builder::new().prefix("hetzner-sim-").tempdir()?.keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(directory.join("volumes"))?;
        fs::create_dir(directory.join("networks"))?;
        let undertaker = Command::new("setsid")
            .args(["sh", "-c", UNDERTAKER, "undertaker"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            directory,
            agent,
            networks: Mutex::new(Some(BTreeMap::new())),
            orders: Mutex::default(),
            worker: Mutex::default(),
            undertaker: Mutex::new(Some(undertaker)),
        })
    }

    /// Starts the worker. Hosts reach the API at `api_port` of their loopback.
    pub(crate) fn begin(
        &self,
        shared: &Arc<Shared>,
        runtime: &tokio::runtime::Handle,
        api_port: u16,
    ) {
        let (orders, ordered) = mpsc::channel();
        *lock(&self.orders) = Some(orders);
        let machines = Machines::new(
            self.directory.clone(),
            self.agent.clone(),
            Arc::downgrade(shared),
            runtime.clone(),
            api_port,
            lock(&shared.world).scenario.control_groups.clone(),
        );
        *lock(&self.worker) = Some(std::thread::spawn(move || machines.work(&ordered)));
    }

    /// Gives a server's host addresses of these families, and returns them as the API writes
    /// them; creates its network, which drops the `blocked` protocols, if necessary.
    pub(crate) fn addresses_of(
        &self,
        server: u64,
        families: &[Family],
        blocked: &[String],
    ) -> Vec<String> {
        match self.show(server, families, blocked) {
            Ok(addresses) => addresses,
            Err(error) => {
                eprintln!("hetzner-sim: no network for a host: {error}");
                Vec::new()
            }
        }
    }

    fn show(
        &self,
        server: u64,
        families: &[Family],
        blocked: &[String],
    ) -> io::Result<Vec<String>> {
        let mut networks = lock(&self.networks);
        // After the end there are none.
        let Some(networks) = networks.as_mut() else { return Ok(Vec::new()) };
        let network = match networks.get(&server) {
            Some(network) => network.clone(),
            None => {
                let network = Arc::new(Network::make(&self.directory)?);
                network.block(blocked)?;
                networks.insert(server, network.clone());
                network
            }
        };
        network.show(families)?;
        Ok(families.iter().map(|family| network.address(*family)).collect())
    }

    /// The directory with the files that a host's processes have changed, for tests.
    pub fn files_of(&self, server: u64) -> PathBuf {
        self.directory.join(format!("server-{server}/upper"))
    }

    /// The file with the content of a volume.
    pub fn image_of(&self, volume: u64) -> PathBuf {
        self.directory.join(format!("volumes/{volume}.img"))
    }

    /// The log file of a host's agent.
    pub fn log_of(&self, server: u64) -> String {
        fs::read_to_string(self.files_of(server).join("host.log")).unwrap_or_default()
    }

    /// The control groups of a host, as this machine has them: one of version 2, or those for
    /// memory and for processes of version 1. Empty where this machine has none.
    pub fn control_groups_of(&self, server: u64) -> Vec<PathBuf> {
        HostGroups::of(&self.directory, server).directories
    }

    /// The name of the network namespace of a host.
    pub fn namespace_of(&self, server: u64) -> Option<String> {
        self.network(server).ok().map(|network| network.name.clone())
    }

    /// From now on the network of a host drops these protocols on the agent's port, and no
    /// others.
    pub fn block(&self, server: u64, protocols: &[&str]) -> io::Result<()> {
        self.network(server)?.block(protocols)
    }

    /// From now on the rules of firewalls count for a host; without any, everything passes.
    pub(crate) fn filter(&self, server: u64, rules: Option<&[Rule]>) {
        // A server that is deleted has none any more.
        let Ok(network) = self.network(server) else { return };
        if let Err(error) = network.filter(rules) {
            eprintln!("hetzner-sim: no firewall for a host: {error}");
        }
    }

    /// Listens on a TCP port of a host, on all its addresses.
    pub fn listen(&self, server: u64, port: u16) -> io::Result<TcpListener> {
        self.network(server)?.within(move || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))
    }

    /// Receives from a UDP port of a host, on all its addresses.
    pub fn receive(&self, server: u64, port: u16) -> io::Result<UdpSocket> {
        self.network(server)?.within(move || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))
    }

    fn network(&self, server: u64) -> io::Result<Arc<Network>> {
        let networks = lock(&self.networks);
        let network = networks.as_ref().and_then(|networks| networks.get(&server).cloned());
        network.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// From now on a host has another address, which the API tells.
    pub fn move_address(&self, server: u64) -> io::Result<()> {
        self.network(server)?.move_to_second_address()
    }

    /// Orders an effect, with the parameters that some need: user data and the size of a volume.
    pub(crate) fn push(&self, effect: Effect, user_data: String, gb: u64) {
        let network = match effect {
            Effect::Forget(server) => {
                if let Some(networks) = lock(&self.networks).as_mut() {
                    // The worker keeps it until the host is off.
                    networks.remove(&server);
                }
                return;
            }
            Effect::Boot { server, .. } => self.network(server).ok(),
            _ => None,
        };
        if let Some(orders) = &*lock(&self.orders) {
            // Fails only if the worker has panicked, which was reported.
            drop(orders.send(Order { effect, user_data, gb, network }));
        }
    }

    /// Stops all hosts.
    pub(crate) fn end(&self) {
        drop(lock(&self.orders).take());
        if let Some(worker) = lock(&self.worker).take() {
            drop(worker.join());
        }
        drop(lock(&self.networks).take());
        if let Some(mut undertaker) = lock(&self.undertaker).take() {
            drop(undertaker.stdin.take());
            drop(undertaker.wait());
        }
    }
}
