//! The way to a server's agent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use burst_agent::transport::IdleTimeout;
use tokio::time::Instant;

use super::error;
use super::keys::KeyPair;
use crate::connection::{Connection, ConnectionError};
use crate::error::Error;

/// The UDP port of the agent, as the image has it and the firewall opens it.
pub(crate) const AGENT_PORT: u16 = 7777;

/// How long a server may take from its creation until its agent answers. Snapshots are
/// slow: two minutes are usual, several have been seen.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How long an agent may take to answer that has answered before, until it is looked
/// whether its server is still there.
pub(crate) const RETURN_DEADLINE: Duration = Duration::from_secs(5);

/// How long the agent of a running server may take that should have booted long ago.
pub(crate) const SILENCE_DEADLINE: Duration = Duration::from_secs(60);

/// How long each try may take. QUIC itself would double its pauses while the server
/// boots; short tries find it soon after it is there.
const TRY: Duration = Duration::from_secs(1);

/// Of so many tries one is a long one, for slow links.
const LONG_TRY_EACH: u32 = 4;

/// A longer try.
const LONG_TRY: Duration = Duration::from_secs(4);

/// Connects, again and again until the deadline.
pub(crate) async fn connect(
    address: IpAddr,
    keys: &KeyPair,
    idle_timeout: IdleTimeout,
    deadline: Duration,
) -> Result<Connection, Error> {
    let address = SocketAddr::new(address, AGENT_PORT);
    let began = Instant::now();
    for tried in 1.. {
        let limit = if tried % LONG_TRY_EACH == 0 { LONG_TRY } else { TRY };
        let opening =
            Connection::open(address, &keys.shim, keys.agent.clone(), idle_timeout, limit).await;
        match opening {
            Ok(connection) => return Ok(connection),
            Err(failure @ ConnectionError::Silent { .. }) if began.elapsed() > deadline => {
                return Err(error::connection(failure));
            }
            // Between two boots it may answer that nobody listens.
            Err(ConnectionError::Silent { .. }) => tokio::time::sleep(TRY / 20).await,
            Err(failure) => return Err(error::connection(failure)),
        }
    }
    Err(error::silent("the agent of the server does not answer"))
}
