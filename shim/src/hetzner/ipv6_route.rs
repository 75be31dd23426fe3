//! Whether this machine can reach a server that has IPv6 alone, as far as its routes tell.

use std::io;
use std::net::{Ipv6Addr, UdpSocket};

use burst_agent::transport::SERVER_PORT;

use super::request::ServerRequest;
use crate::error::{Error, ErrorKind};

/// An address in a network of Hetzner's servers. Nothing is sent to it.
const AT_HETZNER: Ipv6Addr = Ipv6Addr::new(0x2a01, 0x04f8, 0, 0, 0, 0, 0, 1);

/// Checks that a new server of this request can be reached.
pub(super) fn check(request: &ServerRequest) -> Result<(), Error> {
    match (request.public_ipv4, route()) {
        (false, Err(source)) => Err(unreachable(&source)),
        _ => Ok(()),
    }
}

/// Asks the kernel for the route; nothing is sent.
fn route() -> io::Result<()> {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?.connect((AT_HETZNER, SERVER_PORT))
}

fn unreachable(source: &io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "this machine has no IPv6, and `public_ipv4 = false` asks for a server without IPv4",
        "set `public_ipv4 = true`, or run the command in a network with IPv6",
    )
    .caused_by(source)
}
