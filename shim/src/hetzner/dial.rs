//! Connections to the agent of a server, and single questions to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use burst_agent::transport::{IdleTimeout, SERVER_PORT};
use burst_protocol::message::{FromAgent, FromShim};
use tokio::runtime::Handle;

use super::error;
use super::keys::KeyPair;
use crate::connection::ConnectionError;
use crate::connection::server::ServerConnection;
use crate::connection::tcp_networks::TcpNetworks;
use crate::error::Error;

/// How long a server may take from its creation until the API says that it runs. Servers from
/// snapshots boot slowly: two minutes are usual, several have been seen.
pub(super) const BOOT_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How long an agent that has answered before may take to answer again, before the API is
/// asked whether its server still exists.
pub(super) const RETURN_DEADLINE: Duration = Duration::from_secs(5);

/// The last attempt to reach the agent of a server whose port seems to be blocked: it tells why.
pub(super) const LAST_ATTEMPT: Duration = Duration::from_secs(1);

/// How long an agent may take to answer a question, such as ending its runs and
/// unmounting a volume.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// Connects to the agent of a server; repeats attempts without an answer until the
/// deadline.
pub(super) async fn connect(
    address: IpAddr,
    keys: &KeyPair,
    idle_timeout: IdleTimeout,
    deadline: Duration,
    networks: &Arc<TcpNetworks>,
) -> Result<ServerConnection, Error> {
    attempt(address, keys, idle_timeout, deadline, networks).await.map_err(error::connection)
}

/// Like [`connect`], with the error of the connection.
pub(super) async fn attempt(
    address: IpAddr,
    keys: &KeyPair,
    idle_timeout: IdleTimeout,
    deadline: Duration,
    networks: &Arc<TcpNetworks>,
) -> Result<ServerConnection, ConnectionError> {
    let address = SocketAddr::new(address, SERVER_PORT);
    ServerConnection::open(address, &keys.shim, &keys.agent, idle_timeout, deadline, networks).await
}

/// Sends the agent one message and waits for its answer, at most 20 seconds. The thread
/// that waits may outlive this call by the connection's own deadlines.
pub(super) async fn ask(
    agent: &Arc<ServerConnection>,
    question: FromShim,
) -> Result<FromAgent, Error> {
    let (agent, runtime) = (agent.clone(), Handle::current());
    let asked = tokio::task::spawn_blocking(move || agent.ask(&runtime, &question));
    match tokio::time::timeout(ANSWER_DEADLINE, asked).await {
        Ok(Ok(answered)) => answered.map_err(error::connection),
        Ok(Err(_)) => Err(error::silent("the request to the server's agent was cancelled")),
        Err(_) => Err(error::silent(format!(
            "the agent of the server did not answer within {} s",
            ANSWER_DEADLINE.as_secs()
        ))),
    }
}
