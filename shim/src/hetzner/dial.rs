//! Connections to the agent of a server, and single questions to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use burst_agent::transport::{IdleTimeout, SERVER_PORT};
use burst_protocol::message::FromShim;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::error;
use super::keys::KeyPair;
use crate::connection::ConnectionError;
use crate::connection::server::ServerConnection;
use crate::connection::tcp_networks::TcpNetworks;
use crate::error::Error;

/// How long a server may take from its creation until its agent answers. Servers from
/// snapshots boot slowly: two minutes are usual, several have been seen.
pub(super) const BOOT_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How long an agent that has answered before may take to answer again, before the API is
/// asked whether its server still exists.
pub(super) const RETURN_DEADLINE: Duration = Duration::from_secs(5);

/// How long the agent of a running server may take that should have booted long ago.
pub(super) const SILENCE_DEADLINE: Duration = Duration::from_secs(60);

/// How long an agent may take to answer a question, such as ending its runs and
/// unmounting a volume.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// How long each attempt to connect may take, over one transport or the other. QUIC itself
/// would double its pauses while the server boots; short attempts notice soon that the agent
/// answers.
const ATTEMPT: Duration = Duration::from_secs(1);

/// One of this number of attempts is a long one, for slow networks.
const LONG_ATTEMPT_EACH: u32 = 4;

/// How long a long attempt may take.
const LONG_ATTEMPT: Duration = Duration::from_secs(4);

/// The pause after an attempt that failed at once, as while the host is up and the agent
/// does not listen yet. No event announces a remote host.
const PAUSE: Duration = Duration::from_millis(50);

/// Connects to the agent of a server; repeats attempts without an answer until the
/// deadline.
pub(super) async fn connect(
    address: IpAddr,
    keys: &KeyPair,
    idle_timeout: IdleTimeout,
    deadline: Duration,
    networks: &TcpNetworks,
) -> Result<ServerConnection, Error> {
    let address = SocketAddr::new(address, SERVER_PORT);
    let began = Instant::now();
    let mut attempt: u32 = 0;
    loop {
        attempt = attempt.wrapping_add(1);
        let limit = if attempt.is_multiple_of(LONG_ATTEMPT_EACH) { LONG_ATTEMPT } else { ATTEMPT };
        let (own, pinned) = (&keys.shim, &keys.agent);
        match ServerConnection::open(address, own, pinned, idle_timeout, limit, networks).await {
            Ok(opened) => return Ok(opened),
            Err(unreached) if unreached.may_pass() && began.elapsed() <= deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(unreached) => return Err(error::connection(ConnectionError::from(unreached))),
        }
    }
}

/// Sends the agent one message and waits for its answer, at most 20 seconds. The thread
/// that waits may outlive this call by the connection's own deadlines.
pub(super) async fn ask(agent: &Arc<ServerConnection>, question: FromShim) -> Result<(), Error> {
    let (agent, runtime) = (agent.clone(), Handle::current());
    let asked = tokio::task::spawn_blocking(move || agent.ask(&runtime, &question).map(drop));
    match tokio::time::timeout(ANSWER_DEADLINE, asked).await {
        Ok(Ok(answered)) => answered.map_err(error::connection),
        Ok(Err(_)) => Err(error::silent("the request to the server's agent was cancelled")),
        Err(_) => Err(error::silent(format!(
            "the agent of the server did not answer within {} s",
            ANSWER_DEADLINE.as_secs()
        ))),
    }
}
