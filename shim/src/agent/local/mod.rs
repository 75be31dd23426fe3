//! The local provider: an agent on this machine, for this user.
//!
//! The agent is this program under another name. Invariants: it holds a lock on its
//! directory of keys until it exits, so [`presence`] never guesses from a process id
//! whether it runs; and agents are started under a lock of their own, so two commands that
//! start at the same time share one agent.

mod dial;
mod presence;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burst_agent::host::passed_on;
use burst_agent::identity::Identity;
use burst_agent::{ProjectCopy, project_copies};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::dial::{LocalDial, connecting, grace_secs};
use self::presence::Presence;
use super::keep_alive::KeepAlive;
use super::reached::ReachedAgent;
use super::route::AgentRoute;
use crate::background::{self, lock, log_file};
use crate::connection::{CONNECT_DEADLINE, Connection, ConnectionError};
use crate::directories::{Directories, create_private, unusable};
use crate::error::{Error, ErrorKind};
use crate::terminal::Terminal;

/// How long an agent may take to start or to shut down.
const TRANSITION_DEADLINE: Duration = Duration::from_secs(10);

/// Lines of its log that the error of an agent shows that does not start.
const SHOWN_LOG_LINES: usize = 3;

/// The provider's name, in paths of the cache.
pub(crate) const NAME: &str = "local";

/// Bytes of a GB.
const GB: u64 = 1_000_000_000;

/// The agent on this machine.
#[derive(Debug)]
pub(crate) struct LocalAgent {
    keys: PathBuf,
    disk: PathBuf,
    keep_alive: KeepAlive,
    disk_gb: u64,
}

impl LocalAgent {
    /// The agent with these directories. `keep_alive`, and the GB that it may use on the disk,
    /// apply if it is started.
    pub(crate) fn new(directories: &Directories, keep_alive: KeepAlive, disk_gb: u64) -> Self {
        let (keys, disk) = (directories.state.join(NAME), directories.cache.join(NAME));
        Self { keys, disk, keep_alive, disk_gb }
    }

    /// The copies of projects on its disk.
    pub(crate) fn copies(&self) -> Vec<ProjectCopy> {
        project_copies(&self.disk)
    }

    /// Connects to the agent, which is started if none runs. Blocks: not for async code.
    pub(crate) fn reach(
        &self,
        runtime: &Handle,
        terminal: &Arc<Terminal>,
    ) -> Result<ReachedAgent, Error> {
        let reached = |connection, started| {
            let dial = LocalDial::new(&self.keys, terminal);
            let connection = AgentRoute::direct(connection, Arc::new(dial));
            ReachedAgent { connection, started, device: None, lease: None }
        };
        if let Some(connection) = self.reach_running(runtime)? {
            return Ok(reached(connection, false));
        }
        let _starting = self.lock_start()?;
        // Another command may have started it meanwhile.
        if let Some(connection) = self.reach_running(runtime)? {
            return Ok(reached(connection, false));
        }
        let address = self.start()?;
        let connection = runtime.block_on(connecting(&self.keys, address, CONNECT_DEADLINE)?)?;
        Ok(reached(connection, true))
    }

    /// Connects to the agent; `None` if none runs. Waits for one that is starting, and for
    /// the exit of one that is shutting down. Blocks: not for async code.
    pub(crate) fn reach_running(&self, runtime: &Handle) -> Result<Option<Connection>, Error> {
        runtime.block_on(self.connect_to_running())
    }

    async fn connect_to_running(&self) -> Result<Option<Connection>, Error> {
        let deadline = Instant::now() + TRANSITION_DEADLINE;
        let mut presence = Presence::read(&self.keys)?;
        loop {
            presence = match presence {
                Presence::Absent => return Ok(None),
                Presence::NotListening => {
                    let changed = presence.changed(&self.keys);
                    let changed = tokio::time::timeout_at(deadline, changed).await;
                    changed.map_err(|_| ConnectionError::Ending)??
                }
                Presence::Listening { address, .. } => {
                    tokio::select! {
                        biased;
                        connected = connecting(&self.keys, address, CONNECT_DEADLINE)? => match connected {
                            Ok(connection) => return Ok(Some(connection)),
                            // An agent that has begun to shut down is not at fault.
                            Err(error) => match Presence::read(&self.keys)? {
                                now if now == presence => return Err(error.into()),
                                now => now,
                            },
                        },
                        changed = presence.changed(&self.keys) => changed?,
                    }
                }
            };
        }
    }

    /// Stops an agent that cannot be connected to, by a signal, and kills one that does not
    /// follow. Returns its process id; `None` if none runs. Blocks: not for async code.
    pub(crate) fn stop(&self) -> Result<Option<u32>, Error> {
        let Some(pid) = Presence::read(&self.keys)?.pid() else { return Ok(None) };
        let signal = |signal| {
            if let Ok(raw) = i32::try_from(pid) {
                // It may have exited since.
                kill(Pid::from_raw(raw), signal).ok();
            }
        };
        signal(Signal::SIGTERM);
        match self.wait_until_ended() {
            Err(error) if error.kind() == ErrorKind::AgentEnding => {
                // It holds its lock, so the id is still its own. A paused process takes no other
                // signal.
                signal(Signal::SIGKILL);
                self.wait_until_ended()?;
            }
            ended => ended?,
        }
        Ok(Some(pid))
    }

    /// Waits until no agent runs, at most 10 seconds. Blocks: not for async code.
    pub(crate) fn wait_until_ended(&self) -> Result<(), Error> {
        let path = self.keys.join(presence::LOCK);
        match lock::wait_until_released(&path, TRANSITION_DEADLINE)? {
            true => Ok(()),
            false => Err(ConnectionError::Ending.into()),
        }
    }

    /// The directory with the agent's projects.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    /// Creates the directory of keys, for the user alone, and waits for the lock of commands
    /// that start an agent.
    fn lock_start(&self) -> Result<File, Error> {
        create_private(&self.keys)?;
        lock::take(&self.keys.join("start.lock"))
    }

    /// Starts the agent; returns its address once it listens.
    fn start(&self) -> Result<SocketAddr, Error> {
        create_private(&self.disk)?;
        for name in ["shim", "agent"] {
            if Identity::load(&self.keys, name).is_err() {
                Identity::generate()
                    .and_then(|identity| identity.save(&self.keys, name))
                    .map_err(ConnectionError::Keys)?;
            }
        }
        let log_path = self.keys.join("agent.log");
        let failed = |cause: String| {
            let hint = format!(
                "its log `{}` may show more; if its keys are damaged, delete the directory `{}` \
                 and run the command again",
                log_path.display(),
                self.keys.display()
            );
            let error =
                Error::new(ErrorKind::AgentStart, "the agent on this machine does not start", hint);
            cause.lines().fold(error, Error::cause)
        };
        let mut log = log_file(&log_path).map_err(|source| unusable("open", &log_path, &source))?;
        let log_begin = log.seek(SeekFrom::End(0)).unwrap_or_default();
        let stderr = log.try_clone().map_err(|error| failed(error.to_string()))?;
        let mut command = background::program("burst-agent");
        command.args(["serve", "--detach", "--disk"]).arg(&self.disk);
        command.arg("--keys").arg(&self.keys).arg("--log").arg(&log_path);
        command.args(["--keep-alive-secs", &self.keep_alive.as_secs().to_string()]);
        command.args(["--grace-secs", &grace_secs().to_string()]);
        let disk_bytes = self.disk_gb.saturating_mul(GB);
        command.args(["--disk-bytes", &disk_bytes.to_string()]);
        command.envs(passed_on());
        let ready =
            background::start(&mut command, stderr).map_err(|error| failed(error.to_string()))?;
        let address =
            ready.as_deref().and_then(|line| line.strip_prefix("ready ")?.trim().parse().ok());
        address.ok_or_else(|| {
            let mut text = String::new();
            // Without its log only the exit is known.
            drop(log.seek(SeekFrom::Start(log_begin)).and_then(|_| log.read_to_string(&mut text)));
            failed(match last_lines(&text) {
                lines if lines.is_empty() => {
                    "it exited, or was not ready in time, without a message".into()
                }
                lines => lines,
            })
        })
    }
}

/// The last lines of a log.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..].join("\n")
}
