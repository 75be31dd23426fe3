//! An agent for simulations: on an endpoint over any transport, with programs of the test in
//! place of cargo. Only with the feature `simulation`.
//!
//! Server, sessions, queue, projects and disk are those of every agent. What is replaced is
//! the supervisor of a call: a thread of this process reads the spec from the socket, calls the
//! program, and reports. There is no containment: the program gets the agent's own paths.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::agent::{Agent, Disks};
use crate::error::{AgentError, FileOperation};
use crate::host::Host;
use crate::run::spec::{self, Report};
use crate::server;
use crate::transport::IdleTimeout;

/// One call of cargo, as the program sees it.
#[derive(Debug)]
pub struct Call {
    /// The working directory, in the agent's copy of the workspace.
    pub directory: PathBuf,
    /// All environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// Standard output, to which a write can block.
    pub output: File,
}

/// What a program does; the result is its exit code. Dropped early if the call is killed.
pub type Doing = Pin<Box<dyn Future<Output = i32> + Send>>;

/// The programs of an agent, and the runtime by whose clock they run.
#[derive(Clone)]
pub struct Simulated {
    runtime: Handle,
    program: Arc<dyn Fn(Call) -> Doing + Send + Sync>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Simulated")
    }
}

impl Simulated {
    /// Starts the thread that carries out the call on this socket.
    pub(crate) fn start(&self, socket: UnixStream) {
        let simulated = self.clone();
        std::thread::spawn(move || simulated.carry_out(&socket));
    }

    fn carry_out(&self, socket: &UnixStream) {
        let Ok((spec, [_input, output, _error])) = spec::receive(socket) else { return };
        let environment = spec.environment.iter();
        let call = Call {
            directory: spec::path(&spec.working_directory),
            environment: environment
                .map(|(name, value)| (spec::os_string(name), spec::os_string(value)))
                .collect(),
            output: output.into(),
        };
        let Some(killed) = killed(socket) else { return };
        let code = self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = killed => None,
                code = (self.program)(call) => Some(code),
            }
        });
        if let Some(code) = code {
            spec::write_report(socket, &Report::Exited(code));
        }
        // Ends the thread that reads commands.
        drop(socket.shutdown(std::net::Shutdown::Both));
    }
}

/// Completes when the agent ends the call, or is gone. Signals have no effect.
fn killed(socket: &UnixStream) -> Option<oneshot::Receiver<Infallible>> {
    let mut commands = socket.try_clone().ok()?;
    let (alive, killed) = oneshot::channel();
    std::thread::spawn(move || {
        let mut command = [1];
        while commands.read_exact(&mut command).is_ok() && command != [0] {}
        drop(alive);
    });
    Some(killed)
}

/// A running agent.
#[derive(Debug)]
pub struct SimulatedAgent {
    agent: Arc<Agent>,
    endpoint: quinn::Endpoint,
    accepting: JoinHandle<()>,
}

impl SimulatedAgent {
    /// Starts an agent whose projects are below `disk`, on an endpoint that accepts
    /// connections. Has to be called within a runtime.
    pub fn start(
        disk: &Path,
        endpoint: quinn::Endpoint,
        idle_timeout: IdleTimeout,
        program: impl Fn(Call) -> Doing + Send + Sync + 'static,
    ) -> Result<Self, AgentError> {
        let projects = disk.join("projects");
        std::fs::create_dir_all(&projects)
            .map_err(AgentError::file(FileOperation::CreateDirectory, &projects))?;
        let simulated = Simulated { runtime: Handle::current(), program: Arc::new(program) };
        let disks = Disks::Shared(disk.to_owned());
        let report_interval = idle_timeout.report_interval();
        let agent = Agent::new(Host::simulated(simulated), disks, None, report_interval)?;
        let agent = Arc::new(agent);
        let accepting = tokio::spawn({
            let (agent, endpoint) = (agent.clone(), endpoint.clone());
            async move { server::accept(&agent, &endpoint).await }
        });
        Ok(Self { agent, endpoint, accepting })
    }

    /// Ends all connections and runs, and returns when no session is left.
    pub async fn end(self) {
        const LOOK_INTERVAL: Duration = Duration::from_millis(10);
        self.endpoint.close(0_u32.into(), b"");
        self.agent.kill_runs();
        // Fails only if it has panicked.
        drop(self.accepting.await);
        while Arc::strong_count(&self.agent) > 1 {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
