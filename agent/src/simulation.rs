//! An agent for simulations: on an endpoint over any transport, with programs of the test in
//! place of cargo. Only with the feature `simulation`.
//!
//! Server, sessions, queue, projects and disk are those of every agent. Programs get the agent's
//! own paths, as in every run without containment.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::agent::{Agent, Disks};
use crate::error::{AgentError, FileOperation};
use crate::host::Host;
use crate::run::simulated::Simulated;
pub use crate::run::simulated::{Call, Doing};
use crate::server;
use crate::transport::IdleTimeout;

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
        let simulated = Simulated::new(Handle::current(), program);
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
