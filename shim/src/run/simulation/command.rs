//! One command of a world, and the places on disk that it works in.
//!
//! A command is the session of [`crate::run`] from the scan to the results; in front of it there
//! is no command line, and in place of a provider a connection over the simulated network.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use burst_agent::identity::client_config;
use burst_agent::transport::IdleTimeout;
use burst_protocol::ByteBuf;
use burst_protocol::message::Ending;
use burst_sync::wire::Pending;
use tokio::runtime::Handle;

use super::disk::Disk;
use super::keys::Keys;
use super::network::Network;
use super::program::{COMMAND, SHARED, UNIQUE};
use crate::agent::reached::ReachedAgent;
use crate::agent::route::AgentRoute;
use crate::connection::reconnect::{Dial, DialError, Dialled, failed};
use crate::connection::{CONNECT_DEADLINE, Connection, ConnectionError};
use crate::directories::Directories;
use crate::error::Error;
use crate::run::Session;
use crate::run::port_forwarding::ForwardedPorts;
use crate::run::prepare::Prepared;
use crate::run::request::{CargoVerb, Flags, RunArguments};
use crate::run::time_limit::TimeLimits;
use crate::terminal::signals::Signals;
use crate::terminal::{Terminal, Verbosity};
use crate::transfer::process_record::simulated::Process;
use crate::transfer::target::TargetDirectory;

/// The directories of a world. They are the same for all worlds of a process, one after the
/// other, so that cargo is asked about the workspace once.
pub(super) struct Place {
    base: PathBuf,
    output: PathBuf,
    prepared: OnceLock<Prepared>,
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Place").field(&self.base).finish()
    }
}

impl Place {
    /// A place below `base`, of a process whose standard output goes to `output`.
    pub(super) fn new(base: &Path, output: PathBuf) -> Self {
        Self { base: base.to_owned(), output, prepared: OnceLock::new() }
    }

    /// Removes what is left of the last world.
    pub(super) fn clear(&self) {
        for name in ["here", "there"] {
            for entry in fs::read_dir(self.base.join(name)).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => fs::remove_dir_all(path).unwrap(),
                    false => fs::remove_file(path).unwrap(),
                }
            }
        }
        drop(fs::remove_file(self.journal()));
        fs::write(&self.output, "").unwrap();
    }

    /// Makes the workspace.
    pub(super) fn populate(&self, random: &mut fastrand::Rng) {
        let root = self.workspace();
        // A repository of Jujutsu, in which ignore files count and no git is started.
        for name in ["src", "junk", "editor", ".jj"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let manifest = "[package]\nname = \"app\"\nedition = \"2024\"\n\n[workspace]\n";
        let ignored = format!("/{}\n/editor\n", UNIQUE[1]);
        for (name, text) in [
            ("Cargo.toml", manifest),
            (".gitignore", ignored.as_str()),
            ("src/lib.rs", ""),
            (SHARED, "shared\n"),
            ("shape", "file\n"),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        for number in 0..4 {
            fs::write(root.join(format!("junk/{number}")), "junk\n").unwrap();
        }
        let mut blob = vec![0; random.usize(0..300_000)];
        random.fill(&mut blob);
        fs::write(root.join("blob"), blob).unwrap();
    }

    /// The workspace.
    pub(super) fn workspace(&self) -> PathBuf {
        self.base.join("here/workspace")
    }

    /// The disk of an agent.
    pub(super) fn agent(&self, number: u32) -> PathBuf {
        self.base.join(format!("there/{number}"))
    }

    /// The numbers of the agents that there have been.
    pub(super) fn agents(&self) -> impl Iterator<Item = u32> {
        let entries = fs::read_dir(self.base.join("there")).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
    }

    /// Gives the next agent what this one has on its disk.
    pub(super) fn copy_agent(&self, number: u32) {
        let mut copy = std::process::Command::new("cp");
        copy.arg("--archive").args([self.agent(number), self.agent(number + 1)]);
        assert!(copy.status().unwrap().success());
    }

    /// The file of the journal.
    pub(super) fn journal(&self) -> PathBuf {
        self.base.join("journal")
    }

    /// What has happened, for someone who wants to know why something does not hold.
    pub(super) fn story(&self) -> String {
        const CHARACTERS_MAX: usize = 150;
        let journal = fs::read_to_string(self.journal()).unwrap_or_default();
        let lines = journal.lines().map(|line| line.chars().take(CHARACTERS_MAX).collect());
        lines.collect::<Vec<String>>().join("\n")
    }

    /// The disks that can be filled: the user's and the agent's.
    pub(super) fn disks(&self) -> Vec<Disk> {
        ["here", "there"].iter().filter_map(|name| Disk::at(&self.base.join(name))).collect()
    }

    /// Standard output in this world.
    pub(super) fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// What is prepared for a command of the workspace, which exists. Asks cargo the first time:
    /// not while the clock can move.
    pub(super) fn prepared(&self) -> Prepared {
        let known = self.prepared.get_or_init(|| {
            let terminal = Terminal::new(Verbosity::Quiet);
            Prepared::new(&build(), &self.workspace(), &self.directories(), &terminal).unwrap()
        });
        Prepared {
            browser: None,
            compiler: String::new(),
            ports: ForwardedPorts::default(),
            workspace: known.workspace.clone(),
            settings: known.settings.clone(),
            plan: known.plan.clone(),
            environment: Vec::new(),
            unsent: None,
            keep_alive: known.keep_alive,
            limits: TimeLimits::default(),
            target: TargetDirectory::find(&known.workspace.target_directory).unwrap(),
        }
    }

    fn directories(&self) -> Directories {
        let below = |name: &str| self.base.join("here").join(name);
        Directories { config_home: below("config"), cache: below("cache"), state: below("state") }
    }
}

/// `cargo burst build`
fn build() -> RunArguments {
    RunArguments {
        verb: CargoVerb::Build,
        alias: None,
        arguments: Vec::new(),
        options: 0,
        flags: Flags::default(),
    }
}

/// One command.
pub(super) struct Command {
    pub(super) number: u32,
    pub(super) place: Arc<Place>,
    pub(super) keys: Arc<Keys>,
    pub(super) network: Network,
    /// The address of the agent that is alive.
    pub(super) agent: Arc<Mutex<SocketAddr>>,
    pub(super) runtime: Handle,
}

impl Command {
    /// Runs it to its end. Blocks.
    pub(super) fn run(self) -> Result<Ending, Error> {
        let _process = Process::begin(self.number);
        let terminal = Arc::new(Terminal::new(Verbosity::Quiet));
        let directories = self.place.directories();
        for path in [&directories.cache, &directories.state] {
            fs::create_dir_all(path).unwrap();
        }
        let workspace = self.place.workspace();
        let run = build();
        let mut prepared = self.place.prepared();
        let bytes = |text: &str| ByteBuf::from(text.as_bytes());
        prepared.environment = vec![(bytes(COMMAND), bytes(&self.number.to_string()))];
        let provider = prepared.provider(&directories);
        let session = Session {
            directory: workspace,
            terminal: &terminal,
            runtime: self.runtime.clone(),
            directories,
            run: &run,
            detached: None,
        };
        let dial = Arc::new(SimulatedDial {
            keys: self.keys.clone(),
            network: self.network.clone(),
            agent: self.agent.clone(),
        });
        let connection = self.runtime.block_on(dial.connect(CONNECT_DEADLINE))?;
        let reached = ReachedAgent {
            connection: AgentRoute::direct(connection, dial),
            started: false,
            device: None,
            lease: None,
        };
        let scanned = session.scanner(&prepared).scan(&provider);
        let exchanged = scanned.and_then(|mut scanned| {
            session.exchange(&prepared, &mut scanned, &reached, &Signals::default())
        });
        // As `Connection::close` does, which waits for the system to send.
        if let Some(current) = reached.connection.current() {
            current.get().quic().close(0_u32.into(), b"done");
        }
        exchanged.map(|exchanged| exchanged.ending)
    }
}

/// Dials the agent of a world.
struct SimulatedDial {
    keys: Arc<Keys>,
    network: Network,
    agent: Arc<Mutex<SocketAddr>>,
}

impl fmt::Debug for SimulatedDial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SimulatedDial")
    }
}

impl SimulatedDial {
    async fn connect(&self, deadline: Duration) -> Result<Connection, ConnectionError> {
        let pinned = self.keys.agent.certificate().clone();
        let (endpoint, _) = self.network.endpoint(None).unwrap();
        let timeout = IdleTimeout::default();
        let agent = *self.agent.lock().unwrap();
        let config = client_config(&self.keys.shim, pinned, timeout);
        let config = config.map_err(ConnectionError::Keys)?;
        Connection::over(endpoint, agent, config, timeout, deadline).await
    }
}

impl Dial for SimulatedDial {
    fn dial(&self) -> Pending<'_, Result<Dialled, DialError>> {
        Box::pin(async {
            let connection = self.connect(Duration::from_secs(3)).await.map_err(failed)?;
            Dialled::on(connection).await
        })
    }

    fn broke(&self, _grace: Duration) {}

    fn over(&self) {}

    fn random(&self) -> f64 {
        0.5
    }
}
