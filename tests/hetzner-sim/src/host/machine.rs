//! The worker thread of the hosts: it switches them on and off and attaches volumes, one
//! order after the other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak, mpsc};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::AGENT_PORT;
use super::commands::succeed;
use super::control_groups::HostGroups;
use super::metadata;
use super::network::{METADATA, Network};
use super::pulled;
use crate::scenario::ControlGroups;
use crate::simulator::{self, Shared};
use crate::world::Effect;

/// The script of a host's first process.
const BOOT: &str = include_str!("boot.sh");

/// Enters the control groups in `$1` and becomes the program of the other arguments.
const JOIN: &str = "for group in $1; do echo 0 >\"$group\" || exit; done; shift; exec \"$@\"";

/// Device nodes of every host: name, major and minor number.
const DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("kmsg", 1, 11),
];

/// An order for the worker, with its parameters.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) effect: Effect,
    pub(super) user_data: String,
    pub(super) gb: u64,
    pub(super) network: Option<Arc<Network>>,
}

/// A running host.
struct Machine {
    process: Child,
    services: Vec<JoinHandle<()>>,
    network: Arc<Network>,
}

/// The running hosts and the attached volumes.
pub(super) struct Machines {
    directory: PathBuf,
    agent: PathBuf,
    shared: Weak<Shared>,
    runtime: Handle,
    api_port: u16,
    control_groups: ControlGroups,
    on: BTreeMap<u64, Machine>,
    /// The loop device of each attached volume.
    loops: BTreeMap<u64, String>,
}

impl Machines {
    pub(super) fn new(
        directory: PathBuf,
        agent: PathBuf,
        shared: Weak<Shared>,
        runtime: Handle,
        api_port: u16,
        control_groups: ControlGroups,
    ) -> Self {
        let (on, loops) = (BTreeMap::new(), BTreeMap::new());
        Self { directory, agent, shared, runtime, api_port, control_groups, on, loops }
    }

    pub(super) fn work(mut self, orders: &mpsc::Receiver<Order>) {
        for order in orders {
            let effect = order.effect.clone();
            if let Err(error) = self.carry_out(order) {
                eprintln!("hetzner-sim: {effect:?}: {error}");
            }
        }
        for server in self.on.keys().copied().collect::<Vec<_>>() {
            self.stop(server);
        }
        for device in self.loops.values() {
            // If this fails, `undertaker.sh` removes it.
            drop(succeed("losetup", ["--detach", device]));
        }
    }

    fn carry_out(&mut self, order: Order) -> io::Result<()> {
        match order.effect {
            Effect::Boot { server, runs_agent } => {
                let network = order.network.ok_or(io::ErrorKind::NotConnected)?;
                self.boot(server, network, order.user_data, runs_agent)?;
            }
            Effect::Wipe(server) => {
                for name in ["upper", "work"] {
                    fs::remove_dir_all(self.server(server).join(name)).or_else(missing_is_fine)?;
                }
            }
            Effect::Stop(server) => self.stop(server),
            Effect::Plug { volume, server } => self.plug(volume, server, order.gb)?,
            Effect::Unplug { volume, server } => self.unplug(volume, server)?,
            Effect::Forget(_) => {}
            Effect::Erase(volume) => {
                fs::remove_file(self.image(volume)).or_else(missing_is_fine)?
            }
        }
        Ok(())
    }

    fn image(&self, volume: u64) -> PathBuf {
        self.directory.join(format!("volumes/{volume}.img"))
    }

    fn server(&self, server: u64) -> PathBuf {
        self.directory.join(format!("server-{server}"))
    }

    fn boot(
        &mut self,
        server: u64,
        network: Arc<Network>,
        user_data: String,
        runs_agent: bool,
    ) -> io::Result<()> {
        if self.on.contains_key(&server) {
            return Ok(());
        }
        let directory = self.server(server);
        for name in ["upper", "work", "root", "dev"] {
            fs::create_dir_all(directory.join(name))?;
        }
        make_devices(&directory.join("dev"))?;
        let api = network.listen(SocketAddr::from(([127, 0, 0, 1], self.api_port)))?;
        let told = network.listen(SocketAddr::from((METADATA, 80)))?;
        let entered = self.runtime.enter();
        let (api, told) = (TcpListener::from_std(api)?, TcpListener::from_std(told)?);
        drop(entered);
        let mut services = Vec::new();
        let address = network.public_v4();
        let task = self.runtime.spawn(metadata::serve(told, server, address, user_data));
        services.push(task);
        if let Some(shared) = self.shared.upgrade() {
            services.push(self.runtime.spawn(simulator::accept(shared, api)));
        }
        let log = File::create(directory.join("boot.log"))?;
        let groups = HostGroups::make(&self.directory, server, &self.control_groups)?;
        let process = Command::new("sh")
            .args(["-c", JOIN, "join", &groups.entrances()])
            .args(["ip", "netns", "exec", &network.name, "unshare", "--mount", "--pid", "--uts"])
            .args(["--ipc", "--cgroup", "--fork", "--kill-child", "sh", "-c", BOOT, "boot"])
            .arg(&directory)
            .arg(&self.agent)
            .arg(AGENT_PORT.to_string())
            .arg(home("RUSTUP_HOME", ".rustup"))
            .arg(home("CARGO_HOME", ".cargo").join("bin"))
            .arg(groups.version)
            .arg(if runs_agent { "agent" } else { "bare" })
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.on.insert(server, Machine { process, services, network });
        Ok(())
    }

    /// Switches a host off, as a power cut would.
    fn stop(&mut self, server: u64) {
        if let Some(mut machine) = self.on.remove(&server) {
            drop(machine.process.kill());
            drop(machine.process.wait());
            for service in machine.services {
                service.abort();
                // Its listener is closed when it has ended: the next boot needs the address.
                drop(self.runtime.block_on(service));
            }
        }
    }

    fn plug(&mut self, volume: u64, server: u64, gb: u64) -> io::Result<()> {
        let image = self.image(volume);
        if !image.exists() {
            File::create(&image)?.set_len(gb << 30)?;
        }
        let image = image.to_string_lossy().into_owned();
        let device = {
            let _lock = self.lock_loops()?;
            succeed("losetup", ["--find", "--show", &image])?
        };
        let number = fs::metadata(&device)?.rdev();
        let devices = self.server(server).join("dev");
        let by_id = devices.join("disk/by-id");
        fs::create_dir_all(&by_id)?;
        let name = Path::new(&device).file_name().unwrap_or_default();
        let node = devices.join(name);
        fs::remove_file(&node).or_else(missing_is_fine)?;
        mknod(&node, SFlag::S_IFBLK, Mode::from_bits_truncate(0o600), number)?;
        let link = by_id.join(format!("scsi-0HC_Volume_{volume}"));
        fs::remove_file(&link).or_else(missing_is_fine)?;
        symlink(Path::new("../..").join(name), link)?;
        self.loops.insert(volume, device);
        Ok(())
    }

    /// The lock of all simulators under which one takes a loop device, and `undertaker.sh` detaches
    /// those that it has found.
    fn lock_loops(&self) -> io::Result<File> {
        let path = self.directory.with_file_name("hetzner-sim-loops.lock");
        let file = File::options().append(true).create(true).open(path)?;
        file.lock()?;
        Ok(file)
    }

    fn unplug(&mut self, volume: u64, server: u64) -> io::Result<()> {
        let link = self.server(server).join(format!("dev/disk/by-id/scsi-0HC_Volume_{volume}"));
        fs::remove_file(link).or_else(missing_is_fine)?;
        if let Some(device) = self.loops.remove(&volume) {
            if let Some(machine) = self.on.get(&server) {
                pulled::fail(&machine.network.name, &fs::metadata(&device)?)?;
            }
            succeed("losetup", ["--detach", &device])?;
        }
        Ok(())
    }
}

fn make_devices(directory: &Path) -> io::Result<()> {
    for (name, major, minor) in DEVICES {
        let path = directory.join(name);
        if path.exists() {
            continue;
        }
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&path, SFlag::S_IFCHR, mode, makedev(major, minor))?;
        // `mknod` is subject to the umask, so set the mode again.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    let links =
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
    for (name, target) in links.into_iter().chain([("ptmx", "pts/ptmx")]) {
        let path = directory.join(name);
        if fs::symlink_metadata(&path).is_err() {
            symlink(target, path)?;
        }
    }
    Ok(())
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn home(name: &str, default: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    std::env::var_os(name).map_or_else(|| home.join(default), PathBuf::from)
}
