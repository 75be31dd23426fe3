//! The agent as a server: its port, its connections, its streams.
//!
//! Invariant: its end, however it comes, ends every run: each run's init holds a socket
//! to this process. What it serves is [`crate::agent`]'s, when to end too.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burst_protocol::hello::{Preface, Reason};
use burst_sync::wire::{self, Opening};
use rustix::fs::FlockOperation;

use crate::agent::{Agent, Disks, VERSION};
use crate::atomic_file;
use crate::boot::Boot;
use crate::client::Client;
use crate::error::{AgentError, FileOperation};
use crate::identity::{self, Identity};
use crate::session;
use crate::transport::{self, IdleTimeout};
use crate::volume::Volumes;

/// How long a client may take for its first bytes.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// How long clients may take to hear that the agent is ending.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// zstd's level towards the client.
const COMPRESSION_LEVEL: i32 = 1;

/// How an agent is started.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where it is.
    pub(crate) deployment: Deployment,
    /// The UDP address.
    pub(crate) listen: SocketAddr,
}

/// Where an agent is.
#[derive(Debug)]
pub(crate) enum Deployment {
    /// Beside its user, for a while.
    Local {
        /// Where projects are kept.
        disk: PathBuf,
        /// Where `agent.cert`, `agent.key` and `shim.cert` are, and where the agent
        /// writes its address.
        keys: PathBuf,
        /// How long to stay when idle.
        keep_alive: Duration,
        /// Silence after which a client counts as gone.
        idle_timeout: IdleTimeout,
    },
    /// On a server that is there for nothing else, until that is deleted.
    Server(Boot),
}

/// What only an agent beside its user has.
struct Local {
    _lock: OwnedFd,
    address_file: PathBuf,
}

/// Runs an agent until it ends. `ready` is told the address once it listens.
pub(crate) async fn serve(
    options: Options,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), AgentError> {
    let (config, local) = prepare(&options.deployment)?;
    let listening = |source| AgentError::Listen { address: options.listen, source };
    let endpoint = transport::endpoint(options.listen, Some(config)).map_err(listening)?;
    let address = endpoint.local_addr().map_err(listening)?;
    let (disks, keep_alive) = match options.deployment {
        Deployment::Local { disk, keep_alive, .. } => (Disks::Shared(disk), Some(keep_alive)),
        Deployment::Server(boot) => (Disks::Volumes(Volumes::new(boot.build_user)), None),
    };
    let agent = Arc::new(Agent::new(disks, keep_alive)?);
    if local.is_none() {
        agent.watch_lease();
    }
    if let Some(local) = &local {
        write_address(&local.address_file, address)?;
    }
    ready(address);
    tokio::select! {
        () = accept(&agent, &endpoint) => {}
        () = agent.until_idle() => tracing::info!("idle: ending"),
        () = termination_signal() => tracing::info!("asked by a signal: ending"),
    }
    agent.refuse_work();
    if let Some(local) = &local {
        // Gone already, or a later start replaces it.
        drop(std::fs::remove_file(&local.address_file));
    }
    agent.kill_runs();
    // Those who are served get a moment to hear how it ends.
    drop(tokio::time::timeout(CLOSE_DEADLINE, endpoint.wait_idle()).await);
    endpoint.close(0_u32.into(), transport::ENDING);
    drop(tokio::time::timeout(CLOSE_DEADLINE, endpoint.wait_idle()).await);
    Ok(())
}

/// The keys of the connection, and what is taken where the agent is.
fn prepare(deployment: &Deployment) -> Result<(quinn::ServerConfig, Option<Local>), AgentError> {
    match deployment {
        Deployment::Local { keys, idle_timeout, .. } => {
            let _lock = lock_directory(keys)?;
            let address_file = keys.join("address");
            // One that crashed may have left its own.
            drop(std::fs::remove_file(&address_file));
            let own = Identity::load(keys, "agent")?;
            let client = identity::load_certificate(keys, "shim")?;
            let config = identity::server_config(&own, client, *idle_timeout)?;
            Ok((config, Some(Local { _lock, address_file })))
        }
        Deployment::Server(boot) => {
            let (own, client) = boot.user_data.keys()?;
            let gone_after = Duration::from_secs(boot.user_data.gone_after_secs.max(1));
            Ok((identity::server_config(&own, client, IdleTimeout { gone_after })?, None))
        }
    }
}

/// Tells whoever looks where we listen; whole from the first moment on.
fn write_address(path: &Path, address: SocketAddr) -> Result<(), AgentError> {
    let line = format!("{address} {} {VERSION}\n", std::process::id());
    atomic_file::replace(path, atomic_file::SHARED, line.as_bytes())
        .map_err(AgentError::file(FileOperation::Write, path))
}

/// Takes the directory for this process alone.
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

async fn accept(agent: &Arc<Agent>, endpoint: &quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let agent = agent.clone();
        tokio::spawn(async move {
            match incoming.await {
                Ok(connection) => serve_connection(&agent, connection).await,
                Err(error) => tracing::warn!("a connection was not made: {error}"),
            }
        });
    }
}

async fn serve_connection(agent: &Arc<Agent>, connection: quinn::Connection) {
    let client = Arc::new(Client::default());
    while let Ok((send, receive)) = connection.accept_bi().await {
        let (agent, client) = (agent.clone(), client.clone());
        tokio::spawn(async move {
            if let Err(error) = serve_stream(&agent, send, receive, client).await {
                tracing::warn!("a stream was not served: {error}");
            }
        });
    }
    client.leave();
}

async fn serve_stream(
    agent: &Arc<Agent>,
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    client: Arc<Client>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let read = tokio::time::timeout(HELLO_DEADLINE, wire::read_preface(&mut receive));
    let Preface::Hello { lowest, highest, .. } = read.await?? else {
        return Err("the client did not begin with a hello".into());
    };
    let mut answer = Preface::answer(lowest, highest, VERSION);
    if agent.is_ending() {
        answer = Preface::refuse(Reason::Ending, VERSION);
    }
    if matches!(answer, Preface::Refuse { .. }) {
        send.write_all(&answer.to_bytes()).await?;
        send.finish()?;
        // Until the client has it or has gone.
        drop(send.stopped().await);
        return Ok(());
    }
    let (incoming, outgoing, writing) =
        wire::connect(receive, send, COMPRESSION_LEVEL, Opening::Read)?;
    let agent = agent.clone();
    std::thread::Builder::new().name("session".into()).stack_size(8 << 20).spawn(move || {
        if outgoing.preface(&answer).is_ok() {
            session::serve(&agent, incoming, &outgoing, &client);
        }
    })?;
    Ok(writing.await??)
}

/// Tells whoever started us, on standard output, where we listen.
pub(crate) fn print_ready(address: SocketAddr) {
    let mut stdout = std::io::stdout();
    // Nobody may be reading any more; the address file says it too.
    drop(writeln!(stdout, "ready {address}").and_then(|()| stdout.flush()));
}
