//! The port of the agent, its connections and their streams.
//!
//! Connections are served by tasks of the runtime; each stream that passes the handshake
//! gets a thread with a session. The state that sessions share, and the decision when to
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

use burst_protocol::hello::{Preface, Reason};
use burst_protocol::link::Control;
use burst_sync::SyncError;
use burst_sync::wire::{self, Beginning, Incoming, Link, Opening, Outgoing, Writing};
use rustix::fs::FlockOperation;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::agent::{Agent, Disks, VERSION};
use crate::atomic_file;
use crate::boot::Boot;
use crate::client::Client;
use crate::collection;
use crate::error::{AgentError, FileOperation};
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::session;
use crate::transport::{self, IdleTimeout};
use crate::volume::Volumes;

/// How long a client may take to send its hello, and what it wants of the stream.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// How long the agent waits, twice, for connections to close before it ends.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// Characters of an error that are logged if a peer can influence its text.
const PEER_TEXT_CHARACTERS_MAX: usize = 120;

/// The mode of a directory that only its owner may use.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The zstd level of what is sent to the client.
const COMPRESSION_LEVEL: i32 = 1;

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

/// Runs an agent at the UDP address `listen` until it ends. Prints its address once it
/// listens.
pub(crate) async fn serve(deployment: Deployment, listen: SocketAddr) -> Result<(), AgentError> {
    let (config, local) = prepare(&deployment)?;
    let listening = |source| AgentError::Listen { address: listen, source };
    let endpoint = transport::endpoint(listen, Some(config)).map_err(listening)?;
    let address = endpoint.local_addr().map_err(listening)?;
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
    drop(tokio::time::timeout(CLOSE_DEADLINE, endpoint.wait_idle()).await);
    endpoint.close(0_u32.into(), transport::ENDING);
    drop(tokio::time::timeout(CLOSE_DEADLINE, endpoint.wait_idle()).await);
    if is_shutdown {
        // The machine may end next, which is no power cut to these disks.
        drop(tokio::task::spawn_blocking(move || agent.settle_disks()).await);
    }
    Ok(())
}

/// The QUIC settings with the agent's keys and, for a local agent, the lock of its keys
/// directory.
fn prepare(deployment: &Deployment) -> Result<(quinn::ServerConfig, Option<Local>), AgentError> {
    match deployment {
        Deployment::Local { keys, idle_timeout, .. } => {
            let _lock = lock_directory(keys)?;
            let address_file = keys.join("address");
            // An agent that crashed has left its address.
            drop(std::fs::remove_file(&address_file));
            let own = Identity::load(keys, "agent")?;
            let client = identity::load_certificate(keys, "shim")?;
            let config = identity::server_config(&own, client, *idle_timeout)?;
            Ok((config, Some(Local { _lock, address_file })))
        }
        Deployment::Server(boot) => {
            let (own, client) = boot.user_data.keys()?;
            Ok((identity::server_config(&own, client, deployment.idle_timeout())?, None))
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

/// The text of an error on one short line; it can quote what a peer sent.
fn shortened(error: &impl std::fmt::Display) -> String {
    let text: String = error.to_string().chars().take(PEER_TEXT_CHARACTERS_MAX).collect();
    text.escape_debug().to_string()
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

async fn serve_connection(agent: &Arc<Agent>, connection: quinn::Connection) {
    let client = Arc::new(Client::default());
    while let Ok((send, receive)) = connection.accept_bi().await {
        let (agent, client, connection) = (agent.clone(), client.clone(), connection.clone());
        tokio::spawn(async move {
            if let Err(error) = serve_stream(&agent, connection, send, receive, client).await {
                tracing::warn!("cannot serve a stream: {}", shortened(&error));
            }
        });
    }
    client.leave();
}

/// An error of a stream.
type StreamError = Box<dyn std::error::Error + Send + Sync>;

async fn serve_stream(
    agent: &Arc<Agent>,
    connection: quinn::Connection,
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    client: Arc<Client>,
) -> Result<(), StreamError> {
    let (answer, beginning) = first_words(&mut receive, agent.is_ending()).await?;
    let Some(beginning) = beginning else {
        return say_last(send, &answer.to_bytes()).await;
    };
    match beginning {
        Beginning::Control(Control::Open { id, grace_secs }) => {
            let next = agent.resumptions().open(id, grace_secs, connection.clone())?;
            let link = link_of(&connection, receive, send);
            // The client of this stream may come back on another connection.
            let client = Arc::new(Client::default());
            let (level, opening) = (COMPRESSION_LEVEL, Opening::Read);
            let stream = wire::connect_resumable(link, level, opening, None, Box::new(next))?;
            let ended = serve_session(agent, stream, &answer, client.clone());
            until_left(ended, &client).await
        }
        Beginning::Control(Control::Resume { id, received, attempt }) => {
            match agent.resumptions().find(id) {
                Ok(latest) => {
                    send.write_all(&answer.to_bytes()).await?;
                    let link = link_of(&connection, receive, send).resuming_at(received);
                    // If the stream has just ended, the client sees the end of this one.
                    if !latest.offer(attempt, (link, connection)) {
                        tracing::info!("attempt {attempt} of a client to come back is too late");
                    }
                    Ok(())
                }
                Err(refusal) => {
                    tracing::info!("a client comes back for a run that has ended: {refusal:?}");
                    let refused = wire::control_frame(&Control::Refused(refusal))?;
                    say_last(send, &[answer.to_bytes(), refused].concat()).await
                }
            }
        }
        Beginning::Control(Control::Abandon { id }) => {
            if agent.resumptions().abandon(id) {
                tracing::info!("the client of a run has ended");
            }
            say_last(send, &answer.to_bytes()).await
        }
        Beginning::Control(other) => Err(SyncError::out_of_turn(&other).into()),
        Beginning::Frame(header) => {
            let receive = std::io::Cursor::new(header).chain(receive);
            let stream = wire::connect(receive, send, COMPRESSION_LEVEL, Opening::Read)?;
            serve_session(agent, stream, &answer, client).await
        }
    }
}

/// Reads how a stream begins, in time. Returns the answer to the hello and, unless that refuses the
/// client, what follows the hello.
async fn first_words<R: AsyncRead + Unpin>(
    receive: &mut R,
    is_ending: bool,
) -> Result<(Preface, Option<Beginning>), StreamError> {
    let deadline = Instant::now() + HELLO_DEADLINE;
    let hello = timeout_at(deadline, wire::read_preface(receive)).await??;
    let Preface::Hello { lowest, highest, .. } = hello else {
        return Err("the stream does not begin with a hello".into());
    };
    let answer = match is_ending {
        true => Preface::refuse(Reason::Ending, VERSION),
        false => Preface::answer(lowest, highest, VERSION),
    };
    if matches!(answer, Preface::Refuse { .. }) {
        return Ok((answer, None));
    }
    let beginning = timeout_at(deadline, wire::read_beginning(receive)).await??;
    Ok((answer, Some(beginning)))
}

/// Waits until a session or the process of its client has ended. However that comes, the client
/// has left.
async fn until_left(
    ended: impl Future<Output = Result<(), StreamError>>,
    client: &Client,
) -> Result<(), StreamError> {
    let ended = tokio::select! {
        ended = ended => ended,
        () = client.process_ended() => Ok(()),
    };
    client.leave();
    ended
}

/// Sends the last bytes of a stream, and waits until the client has received them or is gone.
async fn say_last(mut send: quinn::SendStream, bytes: &[u8]) -> Result<(), StreamError> {
    send.write_all(bytes).await?;
    send.finish()?;
    drop(send.stopped().await);
    Ok(())
}

/// A stream as a link, which also knows when its connection is closed.
fn link_of(
    connection: &quinn::Connection,
    receive: quinn::RecvStream,
    send: quinn::SendStream,
) -> Link {
    let connection = connection.clone();
    Link::new(receive, send).closed_by(async move { drop(connection.closed().await) })
}

/// Serves a stream on a thread of its own. Completes when the stream has ended; dropped, it ends
/// the stream.
async fn serve_session(
    agent: &Arc<Agent>,
    (incoming, outgoing, writing): (Incoming, Outgoing, Writing),
    answer: &Preface,
    client: Arc<Client>,
) -> Result<(), StreamError> {
    let (agent, runtime, answer) = (agent.clone(), Handle::current(), answer.clone());
    let mut ends = AbortOnDrop(writing);
    std::thread::Builder::new().name("session".into()).stack_size(8 << 20).spawn(move || {
        if outgoing.preface(&answer).is_ok() {
            session::serve(runtime, &agent, incoming, &outgoing, &client);
        }
    })?;
    if let Err(error) = (&mut ends.0).await? {
        // The session reports it, unless it was the client that had heard enough.
        tracing::debug!("a stream has ended: {}", shortened(&error));
    }
    Ok(())
}

/// A task that ends with this.
struct AbortOnDrop(Writing);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Prints the address on standard output, for the process that started the agent.
fn print_ready(address: SocketAddr) {
    let mut stdout = std::io::stdout();
    // The reader may have ended; the address file has the address too.
    drop(writeln!(stdout, "ready {address}").and_then(|()| stdout.flush()));
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_more_is_not_waited_for() {
        let hello = Preface::hello("test").to_bytes();
        let header = [0, 9, 0, 0, 0];
        for said in [&[][..], &hello[..3], &hello, &[&hello[..], &header[..4]].concat()] {
            let (mut near, mut far) = tokio::io::duplex(1000);
            near.write_all(said).await.unwrap();
            let began = Instant::now();
            let error = first_words(&mut far, false).await.unwrap_err();
            assert_eq!(error.to_string(), "deadline has elapsed");
            assert!(began.elapsed() >= HELLO_DEADLINE, "{:?}", began.elapsed());
        }
        let (mut near, mut far) = tokio::io::duplex(1000);
        near.write_all(&[&hello[..], &header].concat()).await.unwrap();
        let (answer, beginning) = first_words(&mut far, false).await.unwrap();
        assert!(matches!(answer, Preface::Welcome { .. }), "{answer:?}");
        assert!(matches!(beginning, Some(Beginning::Frame(found)) if found == header));
        // A client that is refused need not say what it wants.
        near.write_all(&hello).await.unwrap();
        let (answer, beginning) = first_words(&mut far, true).await.unwrap();
        assert!(matches!(answer, Preface::Refuse { reason: Reason::Ending, .. }), "{answer:?}");
        assert!(beginning.is_none());
    }

    #[tokio::test]
    async fn a_client_has_left_however_its_session_ends() {
        let ends: [Result<(), StreamError>; 2] = [Ok(()), Err("a task panicked".into())];
        for end in ends {
            let (client, is_ok) = (Client::default(), end.is_ok());
            let ended = until_left(std::future::ready(end), &client).await;
            assert_eq!((ended.is_ok(), client.is_gone()), (is_ok, true));
        }
    }

    #[test]
    fn an_error_with_text_of_a_peer_stays_one_short_line() {
        let reason = format!("closed: {}\u{1b}[31m\n{}", "x".repeat(5), "y".repeat(1000));
        let line = shortened(&reason);
        assert!(line.starts_with("closed: xxxxx\\u{1b}[31m\\nyyy"), "{line}");
        assert!(line.len() < 140, "{}", line.len());
    }
}
