//! The local provider: an agent on this machine, for this user.
//!
//! The agent is this very program under its other name. It holds a lock on its
//! directory of keys for as long as it lives, so whether one is there is never
//! guessed from a process number. Starting is done under a lock of its own: two
//! commands that start at once share one agent.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burst_agent::host::passed_on;
use burst_agent::identity::{self, Identity};
use burst_agent::transport::IdleTimeout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::FlockOperation;
use tokio::runtime::Handle;

use super::keep_alive::KeepAlive;
use super::reached::ReachedAgent;
use super::route::AgentRoute;
use crate::background::{self, log_file};
use crate::connection::{CONNECT_DEADLINE, Connection, ConnectionError};
use crate::directories::{Directories, unusable};
use crate::environment;
use crate::error::{Error, ErrorKind};

/// How long an agent may take to end when it is told to.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// How often is looked whether an agent has come or gone.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The provider's name, in paths of the cache.
pub(crate) const NAME: &str = "local";

/// The agent on this machine.
#[derive(Debug)]
pub(crate) struct LocalAgent {
    keys: PathBuf,
    disk: PathBuf,
    keep_alive: KeepAlive,
}

impl LocalAgent {
    /// For these directories.
    pub(crate) fn new(directories: &Directories, keep_alive: KeepAlive) -> Self {
        Self { keys: directories.state.join(NAME), disk: directories.cache.join(NAME), keep_alive }
    }

    /// Connects to the agent, which is started if there is none.
    pub(crate) fn reach(&self, runtime: &Handle) -> Result<ReachedAgent, Error> {
        if let Some(connection) = self.reach_running(runtime)? {
            return Ok(reached(connection, false));
        }
        let _starting = self.lock_start()?;
        // Somebody else may have started it while we waited.
        if let Some(connection) = self.reach_running(runtime)? {
            return Ok(reached(connection, false));
        }
        let address = self.start()?;
        let connection = runtime.block_on(self.connecting(address)?)?;
        Ok(reached(connection, true))
    }

    /// Connects to the agent if one is there. One that is ending counts as none,
    /// when it has ended.
    pub(crate) fn reach_running(&self, runtime: &Handle) -> Result<Option<Connection>, Error> {
        let began = Instant::now();
        loop {
            match self.described()? {
                None => return Ok(None),
                Some((Some(address), _)) => {
                    if let Some(connection) = self.connect_while_there(runtime, address)? {
                        return Ok(Some(connection));
                    }
                }
                // It is starting or ending: either is soon over.
                Some((None, _)) if began.elapsed() < END_DEADLINE => {
                    std::thread::sleep(POLL_INTERVAL);
                }
                Some((None, _)) => return Err(ConnectionError::Ending.into()),
            }
        }
    }

    /// Ends an agent that cannot be talked to; nothing if there is none.
    pub(crate) fn stop(&self) -> Result<Option<u32>, Error> {
        let Some(pid) = self.described()?.and_then(|(_, pid)| pid) else { return Ok(None) };
        if let Ok(raw) = i32::try_from(pid) {
            // Gone already is as good.
            kill(Pid::from_raw(raw), Signal::SIGTERM).ok();
        }
        self.wait_until_ended()?;
        Ok(Some(pid))
    }

    /// Waits until no agent holds the lock.
    pub(crate) fn wait_until_ended(&self) -> Result<(), Error> {
        let asked = Instant::now();
        while self.is_running()? {
            if asked.elapsed() > END_DEADLINE {
                return Err(ConnectionError::Ending.into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Where the agent keeps its projects.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    /// Connects, unless the agent of this address ends meanwhile.
    fn connect_while_there(
        &self,
        runtime: &Handle,
        address: SocketAddr,
    ) -> Result<Option<Connection>, Error> {
        let is_gone = || {
            let there = self.described();
            !matches!(there, Ok(Some((Some(other), _))) if other == address)
        };
        let gone = async {
            while !is_gone() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let connecting = self.connecting(address)?;
        let connected = runtime.block_on(async {
            tokio::select! {
                biased;
                connected = connecting => Some(connected),
                () = gone => None,
            }
        });
        match connected {
            Some(Err(_)) | None if is_gone() => Ok(None),
            Some(connected) => Ok(connected.map(Some)?),
            None => Ok(None),
        }
    }

    /// Address and process of the agent that holds the lock, if there is one; it
    /// has an address from when it listens until it begins to end.
    #[expect(clippy::type_complexity, reason = "two facts, each of which may be missing")]
    fn described(&self) -> Result<Option<(Option<SocketAddr>, Option<u32>)>, Error> {
        if !self.is_running()? {
            return Ok(None);
        }
        let text = std::fs::read_to_string(self.keys.join("address")).unwrap_or_default();
        let mut words = text.split_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        Ok(Some((address, words.next().and_then(|word| word.parse().ok()))))
    }

    /// Whether an agent holds the lock.
    fn is_running(&self) -> Result<bool, Error> {
        let path = self.keys.join("lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(unusable("open", &path, &source)),
        };
        // Shared, so that two who ask at once do not take each other for an agent.
        Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    fn connecting(
        &self,
        address: SocketAddr,
    ) -> Result<impl Future<Output = Result<Connection, ConnectionError>>, Error> {
        let own = Identity::load(&self.keys, "shim").map_err(ConnectionError::Keys)?;
        let pinned =
            identity::load_certificate(&self.keys, "agent").map_err(ConnectionError::Keys)?;
        let gone_after = Duration::from_secs(grace_secs());
        let idle_timeout = IdleTimeout { gone_after };
        Ok(
            async move { Connection::open(address, &own, pinned, idle_timeout, CONNECT_DEADLINE).await },
        )
    }

    /// Makes the directory, private, and takes the lock of those who start.
    fn lock_start(&self) -> Result<File, Error> {
        let failed = |source| unusable("use", &self.keys, &source);
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.keys).map_err(failed)?;
        let file = File::create(self.keys.join("start.lock")).map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        Ok(file)
    }

    fn start(&self) -> Result<SocketAddr, Error> {
        std::fs::create_dir_all(&self.disk)
            .map_err(|source| unusable("create", &self.disk, &source))?;
        for name in ["shim", "agent"] {
            if Identity::load(&self.keys, name).is_err() {
                Identity::generate()
                    .and_then(|identity| identity.save(&self.keys, name))
                    .map_err(ConnectionError::Keys)?;
            }
        }
        let log_path = self.keys.join("agent.log");
        let failed = |cause: String| {
            let hint = format!("its log is `{}`", log_path.display());
            let error =
                Error::new(ErrorKind::AgentStart, "the agent on this machine does not start", hint);
            cause.lines().fold(error, Error::cause)
        };
        let mut log = log_file(&log_path).map_err(|source| unusable("open", &log_path, &source))?;
        let log_begin = log.seek(SeekFrom::End(0)).unwrap_or_default();
        let stderr = log.try_clone().map_err(|error| failed(error.to_string()))?;
        let mut command = background::program("burst-agent");
        command.args(["serve", "--detach", "--disk"]).arg(&self.disk);
        command.arg("--keys").arg(&self.keys);
        command.args(["--keep-alive-secs", &self.keep_alive.as_secs().to_string()]);
        command.args(["--grace-secs", &grace_secs().to_string()]);
        command.envs(passed_on());
        let ready =
            background::start(&mut command, stderr).map_err(|error| failed(error.to_string()))?;
        let address =
            ready.as_deref().and_then(|line| line.strip_prefix("ready ")?.trim().parse().ok());
        address.ok_or_else(|| {
            let mut words = String::new();
            // Without a log the exit is all there is to tell.
            drop(log.seek(SeekFrom::Start(log_begin)).and_then(|_| log.read_to_string(&mut words)));
            failed(match last_lines(&words) {
                lines if lines.is_empty() => "it was not ready in time and wrote nothing".into(),
                lines => lines,
            })
        })
    }
}

fn reached(connection: Connection, started: bool) -> ReachedAgent {
    let connection = AgentRoute::Direct(connection);
    ReachedAgent { connection, started, device: None, lease: None }
}

/// Seconds of silence after which an end of the connection considers the other one gone.
fn grace_secs() -> u64 {
    environment::grace_secs(IdleTimeout::default().gone_after.as_secs())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}
