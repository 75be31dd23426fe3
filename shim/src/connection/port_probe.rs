//! Whether packets to a server's port arrive and are answered, by UDP and by TCP, without keys.
//!
//! By TCP that is a connection. By UDP it is a packet of a version of QUIC that does not exist:
//! any server of QUIC has to answer it with the versions that it knows (RFC 9000, section 6), and
//! neither end keeps anything of it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How often the packet is sent again: some are lost on the way.
const AGAIN: Duration = Duration::from_millis(500);

/// Bytes of the packet: shorter ones need not be answered.
const PACKET_BYTES: usize = 1200;

/// A version that is reserved so that servers refuse it.
const NO_VERSION: [u8; 4] = [0x0a, 0x1a, 0x2a, 0x3a];

/// Bytes of a connection id.
const ID_BYTES: usize = 8;

/// What has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// An agent has answered by UDP.
    pub(crate) udp: bool,
    /// A connection by TCP was accepted.
    pub(crate) tcp: bool,
}

/// Tries both for so long at most.
pub(crate) async fn probe(address: SocketAddr, deadline: Duration) -> Answers {
    let udp = async { timeout(deadline, answers_udp(address)).await.unwrap_or(false) };
    let tcp = async { matches!(timeout(deadline, TcpStream::connect(address)).await, Ok(Ok(_))) };
    let (udp, tcp) = tokio::join!(udp, tcp);
    Answers { udp, tcp }
}

/// Sends the packet until it is answered. False where this machine cannot send it.
async fn answers_udp(address: SocketAddr) -> bool {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let Ok(socket) = UdpSocket::bind(any).await else { return false };
    if socket.connect(address).await.is_err() {
        return false;
    }
    let own_id = fastrand::u64(..).to_be_bytes();
    let packet = packet(own_id, fastrand::u64(..).to_be_bytes());
    let mut answer = [0; PACKET_BYTES];
    loop {
        // A host that refuses the port says so by an error of a later call. It may be booting.
        drop(socket.send(&packet).await);
        match timeout(AGAIN, socket.recv(&mut answer)).await {
            Ok(Ok(length)) if is_answer(&answer[..length], own_id) => return true,
            Ok(_) => tokio::time::sleep(AGAIN).await,
            Err(_) => {}
        }
    }
}

/// A first packet of a connection: a long header with the ids of both ends, and padding.
fn packet(own_id: [u8; ID_BYTES], their_id: [u8; ID_BYTES]) -> Vec<u8> {
    let mut packet = vec![0b1100_0000];
    packet.extend(NO_VERSION);
    for id in [their_id, own_id] {
        packet.push(ID_BYTES as u8);
        packet.extend(id);
    }
    packet.resize(PACKET_BYTES, 0);
    packet
}

/// Whether this is the answer: the version is zero, and the first id is that of our end.
fn is_answer(datagram: &[u8], own_id: [u8; ID_BYTES]) -> bool {
    match datagram {
        [first, 0, 0, 0, 0, length, rest @ ..] => {
            first & 0b1000_0000 != 0
                && usize::from(*length) == ID_BYTES
                && rest.starts_with(&own_id)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burst_agent::identity::{self, Identity};
    use burst_agent::transport::{IdleTimeout, endpoint};

    const LIMIT: Duration = Duration::from_secs(1);

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[tokio::test]
    async fn an_agent_answers_by_udp_without_keys() {
        let (shim, agent) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let timeout = IdleTimeout::default();
        let config = identity::server_config(&agent, shim.certificate().clone(), timeout).unwrap();
        let listening = endpoint(loopback(), Some(config)).unwrap();
        let address = listening.local_addr().unwrap();
        let found = probe(address, LIMIT).await;
        assert_eq!(found, Answers { udp: true, tcp: false });
    }

    #[tokio::test]
    async fn what_is_no_agent_does_not_answer_by_udp() {
        let tcp = tokio::net::TcpListener::bind(loopback()).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        // An echo is no answer.
        let echo = async {
            let mut datagram = [0; PACKET_BYTES];
            while let Ok((length, from)) = udp.recv_from(&mut datagram).await {
                drop(udp.send_to(&datagram[..length], from).await);
            }
        };
        let found = tokio::select! {
            found = probe(address, LIMIT) => found,
            () = echo => unreachable!("the socket is open"),
        };
        assert_eq!(found, Answers { udp: false, tcp: true });
    }

    #[test]
    fn only_an_answer_to_our_packet_counts() {
        let own = [7; ID_BYTES];
        let right = [&[0x80, 0, 0, 0, 0, 8][..], &own, &[8], &[9; 8], &[0, 0, 0, 1]].concat();
        assert!(is_answer(&right, own));
        assert!(!is_answer(&right, [6; ID_BYTES]));
        for length in 0..14 {
            assert!(!is_answer(&right[..length], own), "{length}");
        }
        assert!(!is_answer(&packet(own, own), own));
    }
}
