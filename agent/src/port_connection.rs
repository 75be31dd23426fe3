//! A TCP connection to a port of this machine, carried on one stream of a client.
//!
//! The client has accepted a connection on its machine, and asks for the same port here: its
//! bytes come as `Input`, those of the port go back as `Output`. Each direction ends on its own
//! (`InputEnd`, `OutputEnd`), as those of TCP do. QUIC's flow control of the stream bounds what
//! is on its way, so there is no credit here.
//!
//! Only programs that listen on the loopback interface or on all interfaces can be reached. The
//! client has proved that it is the owner of this agent, so it may connect to any of them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::time::Duration;

use burst_protocol::limit::OUTPUT_BYTES_MAX;
use burst_protocol::message::{FromAgent, FromShim, Stream};
use burst_sync::SyncError;
use burst_sync::wire::{Incoming, Outgoing};

use crate::error::AgentError;
use crate::log;

/// The addresses on which a local program may listen, in the order of most resolvers.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];

/// How long a connection to this machine itself may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Connects to a port and carries bytes until both directions have ended or the client is gone.
/// Blocks.
pub(crate) fn serve(
    port: NonZeroU16,
    incoming: &mut Incoming,
    outgoing: &Outgoing,
) -> Result<(), AgentError> {
    let failed = |source| AgentError::Connect { port: port.get(), source };
    let socket = connect(port.get()).map_err(failed)?;
    let reading = socket.try_clone().map_err(failed)?;
    let sender = outgoing.clone();
    let sending = log::spawn(move || send(reading, &sender));
    let received = receive(&socket, incoming);
    // Whoever still waits for the program does so in vain: the client is gone.
    drop(socket.shutdown(Shutdown::Both));
    drop(sending.join());
    received
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

/// Sends what the program writes, until it closes its end or the client is gone.
fn send(mut socket: TcpStream, outgoing: &Outgoing) {
    let mut piece = vec![0; OUTPUT_BYTES_MAX];
    loop {
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = piece[..length].to_vec().into();
                if outgoing.message(&FromAgent::Output { stream: Stream::Output, bytes }).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // The program has reset the connection: it says no more.
            Err(_) => break,
        }
    }
    // An error says that the client is gone.
    drop(outgoing.message(&FromAgent::OutputEnd));
}

/// Writes what the client sends, until it says that it is done or is gone.
fn receive(mut socket: &TcpStream, incoming: &mut Incoming) -> Result<(), AgentError> {
    let mut is_open = true;
    loop {
        match incoming.message() {
            // What a program does not take is lost, as on any connection.
            Ok(FromShim::Input(bytes)) => is_open = is_open && socket.write_all(&bytes).is_ok(),
            Ok(FromShim::InputEnd) => drop(socket.shutdown(Shutdown::Write)),
            Ok(FromShim::Done) | Err(SyncError::Gone) => return Ok(()),
            Ok(other) => return Err(SyncError::out_of_turn(&other).into()),
            Err(error) => return Err(error.into()),
        }
    }
}
