//! The port of the agent and its connections, whose streams are served by [`crate::stream`].
//!
//! Connections are tasks of the runtime. An agent on a server listens on the same port of TCP,
//! too ([`crate::tcp_port`]), for networks that block UDP; one on its clients' machine does
//! not: nothing blocks UDP on the loopback. The state that sessions share, and the decision when to
//! end, belong to [`crate::agent`]. When this process ends, for whatever reason, every run
//! ends, because each run's init holds a socket to it.

use std::fs::{DirBuilder, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use crate::agent::{Agent, Disks, VERSION};
use crate::atomic_file;
use crate::boot::Boot;
use crate::carrier::Carrier;
use crate::client::Client;
use crate::collection;
use crate::error::{AgentError, FileOperation};
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::stream::{self, shortened};
use crate::tcp_port::TcpPort;
use crate::transport::{self, IdleTimeout};
use crate::volume::Volumes;

/// How long the agent waits, twice, for connections to close before it ends.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The mode of a directory that only its owner may use.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The two ways in which an agent is deployed.
#[derive(Debug)]
pub(crate) enum Deployment {
    /// On the user's machine, until it is idle.
    Local {
        /// The directory for projects.
        disk: PathBuf,
        /// The bytes that projects may take there.
        disk_bytes: Option<u64>,
        /// The directory with `agent.cert`, `agent.key` and `shim.cert`, into which the agent
        /// writes its address.
        keys: PathBuf,
        /// The idle time after which the agent ends.
        keep_alive: Duration,
        /// The silence after which a client counts as gone.
        idle_timeout: IdleTimeout,
    },
    /// On a server of its own, until the server is deleted.
    Server(Boot),
}

impl Deployment {
    fn idle_timeout(&self) -> IdleTimeout {
        match self {
            Self::Local { idle_timeout, .. } => *idle_timeout,
            Self::Server(boot) => {
                let gone_after = Duration::from_secs(boot.user_data.gone_after_secs.max(1));
                IdleTimeout { gone_after }
            }
        }
    }
}

/// What only a local agent has.
struct Local {
    _lock: OwnedFd,
    address_file: PathBuf,
}

/// Runs an agent at the address `listen` until it ends. Prints its address once it
/// listens.
pub(crate) async fn serve(deployment: Deployment, listen: SocketAddr) -> Result<(), AgentError> {
    let Prepared { quic, tls, local } = prepare(&deployment)?;
    let listening = |source| AgentError::Listen { address: listen, source };
    let endpoint = transport::endpoint(listen, Some(quic)).map_err(listening)?;
    let address = endpoint.local_addr().map_err(listening)?;
    let tcp = match tls {
        Some(tls) => {
            let port = TcpPort::listen(address, tls, deployment.idle_timeout());
            Some(port.await.map_err(listening)?)
        }
        None => None,
    };
    let report_interval = deployment.idle_timeout().report_interval();
    let (disks, keep_alive, disk_bytes) = match deployment {
        Deployment::Local { disk, keep_alive, disk_bytes, .. } => {
            private_directory(&disk)?;
            collection::collect(&disk, SystemTime::now());
            (Disks::Shared(disk), Some(keep_alive), disk_bytes)
        }
        Deployment::Server(boot) => (Disks::Volumes(Volumes::new(boot.build_user)), None, None),
    };
    let host = Host::probe(match &disks {
        Disks::Shared(_) => None,
        Disks::Volumes(volumes) => Some(volumes.owner().clone()),
    });
    let agent = Arc::new(Agent::new(host, disks, keep_alive, report_interval)?);
    if local.is_none() {
        agent.watch_lease();
    }
    agent.watch_clock();
    if let Some(limit) = disk_bytes {
        agent.limit_copies(limit);
    }
    if let Some(local) = &local {
        write_address(&local.address_file, address)?;
    }
    tracing::info!("burst-agent {VERSION} listens on {address}");
    print_ready(address);
    let is_shutdown = tokio::select! {
        () = accept(&agent, &endpoint) => false,
        () = accept_tcp(&agent, tcp.as_ref()) => false,
        () = agent.until_idle() => {
            tracing::info!("ending: idle for the keep-alive time, or asked to end");
            false
        }
        () = termination_signal() => {
            tracing::info!("ending: received a signal");
            true
        }
    };
    agent.refuse_work();
    if let Some(local) = &local {
        // If this fails, the next agent replaces the file.
        drop(std::fs::remove_file(&local.address_file));
    }
    agent.kill_runs();
    // Sessions report to their clients how killed runs ended.
    let sessions = async {
        endpoint.wait_idle().await;
        if let Some(tcp) = tcp {
            tcp.wait_idle().await;
        }
    };
    drop(tokio::time::timeout(CLOSE_DEADLINE, sessions).await);
    endpoint.close(0_u32.into(), transport::ENDING);
    drop(tokio::time::timeout(CLOSE_DEADLINE, endpoint.wait_idle()).await);
    if is_shutdown {
        // The machine may end next, which is no power cut to these disks.
        drop(tokio::task::spawn_blocking(move || agent.settle_disks()).await);
    }
    Ok(())
}

/// What an agent needs before it listens.
struct Prepared {
    /// The settings of QUIC with the agent's keys.
    quic: quinn::ServerConfig,
    /// Those of TLS over TCP, on a server.
    tls: Option<rustls::ServerConfig>,
    local: Option<Local>,
}

fn prepare(deployment: &Deployment) -> Result<Prepared, AgentError> {
    match deployment {
        Deployment::Local { keys, idle_timeout, .. } => {
            let _lock = lock_directory(keys)?;
            let address_file = keys.join("address");
            // An agent that crashed has left its address.
            drop(std::fs::remove_file(&address_file));
            let own = Identity::load(keys, "agent")?;
            let client = identity::load_certificate(keys, "shim")?;
            let quic = identity::server_config(&own, client, *idle_timeout)?;
            Ok(Prepared { quic, tls: None, local: Some(Local { _lock, address_file }) })
        }
        Deployment::Server(boot) => {
            let (own, client) = boot.user_data.keys()?;
            let quic = identity::server_config(&own, client.clone(), deployment.idle_timeout())?;
            let tls = Some(identity::server_tls(&own, client)?);
            Ok(Prepared { quic, tls, local: None })
        }
    }
}

/// Creates the directory for projects, for the user alone, and the one inside with all of
/// them. Those of an earlier version are closed to other users.
fn private_directory(disk: &Path) -> Result<(), AgentError> {
    let projects = disk.join("projects");
    let created = DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(&projects);
    created.map_err(AgentError::file(FileOperation::CreateDirectory, &projects))?;
    for path in [disk, &projects] {
        let private = Permissions::from_mode(PRIVATE_DIRECTORY);
        std::fs::set_permissions(path, private)
            .map_err(AgentError::file(FileOperation::Write, path))?;
    }
    Ok(())
}

/// Writes the address file, from which shims learn address, process id and version.
fn write_address(path: &Path, address: SocketAddr) -> Result<(), AgentError> {
    let line = format!("{address} {} {VERSION}\n", std::process::id());
    atomic_file::replace(path, atomic_file::SHARED, line.as_bytes())
        .map_err(AgentError::file(FileOperation::Write, path))
}

/// Locks the directory for this process. The lock ends with the result.
fn lock_directory(directory: &Path) -> Result<OwnedFd, AgentError> {
    let path = directory.join("lock");
    let file =
        std::fs::File::create(&path).map_err(AgentError::file(FileOperation::Write, &path))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| AgentError::DirectoryInUse(directory.to_owned()))?;
    Ok(file.into())
}

async fn termination_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Serves every connection of an endpoint until that is closed.
pub(crate) async fn accept(agent: &Arc<Agent>, endpoint: &quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let agent = agent.clone();
        tokio::spawn(async move {
            match incoming.await {
                Ok(connection) => serve_connection(&agent, connection).await,
                // Any stranger can cause this, so the log must not grow by it.
                Err(error) => tracing::debug!("handshake failed: {}", shortened(&error)),
            }
        });
    }
}

/// Serves every connection of the TCP port, if there is one. Never returns.
async fn accept_tcp(agent: &Arc<Agent>, port: Option<&TcpPort>) {
    match port {
        Some(port) => port.accept(agent).await,
        None => std::future::pending().await,
    }
}

async fn serve_connection(agent: &Arc<Agent>, connection: quinn::Connection) {
    let client = Arc::new(Client::default());
    while let Ok((send, receive)) = connection.accept_bi().await {
        let (agent, client, connection) = (agent.clone(), client.clone(), connection.clone());
        tokio::spawn(async move {
            let carrier = Carrier::Quic(connection);
            if let Err(error) = stream::serve(&agent, carrier, send, receive, client).await {
                tracing::warn!("cannot serve a stream: {}", shortened(&error));
            }
        });
    }
    client.leave();
}

/// Prints the address on standard output, for the process that started the agent.
fn print_ready(address: SocketAddr) {
    let mut stdout = std::io::stdout();
    // The reader may have ended; the address file has the address too.
    drop(writeln!(stdout, "ready {address}").and_then(|()| stdout.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_projects_is_closed_to_other_users() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("cache/local");
        let projects = disk.join("projects");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        private_directory(&disk).unwrap();
        assert_eq!((mode(&disk), mode(&projects)), (0o700, 0o700));
        assert_eq!(mode(&directory.path().join("cache")), 0o700);
        for path in [&disk, &projects] {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        private_directory(&disk).unwrap();
        assert_eq!((mode(&disk), mode(&projects)), (0o700, 0o700));
    }
}
