//! A TCP connection to a port of this machine, carried on one stream of a client.
//!
//! The client has accepted a connection on its machine, and asks for a port here: its bytes come
//! as `Input`, those of the port go back as `Output`, each with credit. Each direction ends on its
//! own (`InputEnd`, `OutputEnd`); after both the agent says `Done`.
//!
//! Only programs that listen on the loopback interface or on all interfaces can be reached. The
//! client has proved that it is the owner of this agent, so it may connect to any of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::time::Duration;

use burst_protocol::message::{FromAgent, FromShim, Stream};
use burst_sync::SyncError;
use burst_sync::socket_relay::{SocketRelay, Words};
use burst_sync::wire::{Incoming, Outgoing};

use crate::error::AgentError;

/// The addresses on which a local program may listen, in the order of most resolvers.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];

/// How long a connection to this machine itself may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The messages of this end.
const WORDS: Words<FromAgent> = Words {
    data: |bytes| FromAgent::Output { stream: Stream::Output, bytes: bytes.into() },
    end: || FromAgent::OutputEnd,
    credit: FromAgent::InputCredit,
    done: Some(|| FromAgent::Done),
};

/// Connects to a port and carries bytes until the client is gone or done. Blocks.
pub(crate) fn serve(
    port: NonZeroU16,
    incoming: &mut Incoming,
    outgoing: &Outgoing,
) -> Result<(), AgentError> {
    let failed = |source| AgentError::Connect { port: port.get(), source };
    let socket = connect(port.get()).map_err(failed)?;
    let mut relay = SocketRelay::start(socket, outgoing, WORDS).map_err(failed)?;
    loop {
        match incoming.message() {
            Ok(FromShim::Input(bytes)) => relay.received(bytes.into_vec())?,
            Ok(FromShim::InputEnd) => relay.end(),
            Ok(FromShim::OutputCredit(cost)) => relay.credit(cost),
            Err(SyncError::Gone) => return Ok(()),
            Ok(other) => return Err(SyncError::out_of_turn(&other).into()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let mut outcome = Err(std::io::ErrorKind::AddrNotAvailable.into());
    for address in LOOPBACK {
        outcome = TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_DEADLINE);
        if let Ok(socket) = &outcome {
            socket.set_nodelay(true)?;
            break;
        }
    }
    outcome
}
