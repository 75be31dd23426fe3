//! The settings of QUIC: flow control windows, timeouts and the socket.
//!
//! Both ends use the same settings. Invariant: whatever packets the network drops, one
//! stream never has more in flight than the receiving end accepts in unordered pieces (see
//! `STREAM_WINDOW_BYTES`). TLS is in [`crate::identity`].

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that one stream may have in flight.
///
/// quinn closes a connection whose receive buffer holds more than 2,048 pieces of a stream
/// of which more than 1,024 are not contiguous. The worst case is the loss of every second
/// packet, which happens if the sender is twice as fast as the narrowest link. Full packets
/// carry 1,150 bytes or more, so 3 MiB are at most 2,735 packets: too few to exceed both
/// limits. With a round trip of 30 ms, this window allows 830 Mbit/s. `burst_sync::wire`
/// and `burst_sync::flow_control` limit small packets.
const STREAM_WINDOW_BYTES: u32 = 3 << 20;

/// Bytes that all streams of a connection may have in flight.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes that one end keeps until the other has acknowledged them.
const SEND_WINDOW_BYTES: u64 = 4 << 20;

/// Bytes that may be sent before the first acknowledgement.
const INITIAL_WINDOW_BYTES: u64 = 512 << 10;

/// Bytes of the socket's receive buffer that are asked for, so that a short delay of the
/// reader loses no packet. Linux grants at most `net.core.rmem_max`, often 208 KiB, and
/// more only to root.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The reason that the agent gives when it closes connections because it ends.
pub const ENDING: &[u8] = b"ending";

/// The timeout of a connection.
#[derive(Clone, Copy, Debug)]
pub struct IdleTimeout {
    /// The silence after which the other end counts as gone; packets that keep the
    /// connection alive are sent five times as often.
    pub gone_after: Duration,
}

impl Default for IdleTimeout {
    fn default() -> Self {
        Self { gone_after: Duration::from_secs(15) }
    }
}

/// The transport settings of a connection, for both ends.
pub fn settings(idle_timeout: IdleTimeout) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(quinn::IdleTimeout::try_from(idle_timeout.gone_after).ok());
    transport.keep_alive_interval(Some(idle_timeout.gone_after / 5));
    transport.max_concurrent_uni_streams(0_u8.into());
    transport.stream_receive_window(STREAM_WINDOW_BYTES.into());
    transport.receive_window(CONNECTION_WINDOW_BYTES.into());
    transport.send_window(SEND_WINDOW_BYTES);
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    transport.congestion_controller_factory(Arc::new(congestion));
    transport
}

/// An endpoint on a new socket, which accepts connections if there are `server` settings.
/// Has to be called within a tokio runtime.
pub fn endpoint(
    address: SocketAddr,
    server: Option<quinn::ServerConfig>,
) -> io::Result<quinn::Endpoint> {
    let socket = UdpSocket::bind(address)?;
    enlarge(&socket);
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(quinn::EndpointConfig::default(), server, socket, runtime)
}

/// Asks for a larger receive buffer. If it is not granted, more packets are sent again.
fn enlarge(socket: &UdpSocket) {
    use rustix::net::sockopt;
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES).is_err() {
        let asked = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER_BYTES);
        tracing::debug!(?asked, "receive buffer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{self, Identity};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    /// The one-way delay of the proxy.
    const DELAY: Duration = Duration::from_millis(10);
    /// The size from which a datagram counts as full.
    const FULL_BYTES: usize = 1_000;
    /// Full datagrams before the loss begins, and those during which every second is lost.
    const LOSS_BEGINS_AFTER: usize = 10_500;
    const LOSSY: usize = 2_600;
    const CONTENT_BYTES: usize = 32 << 20;

    fn loopback() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    /// Forwards the datagrams for which `passes` is true, delayed and in order.
    async fn one_way(
        mut arrived: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
        to: Arc<tokio::net::UdpSocket>,
        mut passes: impl FnMut(&[u8]) -> bool,
    ) {
        while let Some((at, datagram)) = arrived.recv().await {
            if passes(&datagram) {
                tokio::time::sleep_until(at + DELAY).await;
                // A full buffer of the peer is one more loss.
                drop(to.send(&datagram).await);
            }
        }
    }

    async fn arrivals(
        from: Arc<tokio::net::UdpSocket>,
        queue: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
    ) {
        let mut datagram = [0; 2_048];
        while let Ok(length) = from.recv(&mut datagram).await {
            drop(queue.send((Instant::now(), datagram[..length].to_vec())));
        }
    }

    /// A proxy to `server` that drops every second full datagram of one window.
    async fn lossy_line(server: SocketAddr) -> SocketAddr {
        let bind = || {
            let socket = UdpSocket::bind(loopback()).unwrap();
            enlarge(&socket);
            socket.set_nonblocking(true).unwrap();
            Arc::new(tokio::net::UdpSocket::from_std(socket).unwrap())
        };
        let (front, back) = (bind(), bind());
        back.connect(server).await.unwrap();
        let address = front.local_addr().unwrap();
        let mut full = 0;
        let (to_server, for_server) = mpsc::unbounded_channel();
        tokio::spawn(one_way(for_server, back.clone(), move |datagram| {
            full += usize::from(datagram.len() >= FULL_BYTES);
            !(LOSS_BEGINS_AFTER..LOSS_BEGINS_AFTER + LOSSY).contains(&full) || full % 2 == 0
        }));
        tokio::spawn(async move {
            let mut datagram = [0; 2_048];
            let (length, client) = front.recv_from(&mut datagram).await.unwrap();
            front.connect(client).await.unwrap();
            drop(to_server.send((Instant::now(), datagram[..length].to_vec())));
            let (to_client, for_client) = mpsc::unbounded_channel();
            tokio::spawn(one_way(for_client, front.clone(), |_| true));
            tokio::spawn(arrivals(back, to_client));
            arrivals(front, to_server).await;
        });
        address
    }

    /// The loss that a sender causes which is twice as fast as the narrowest link.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_transfer_survives_the_loss_of_every_second_packet() {
        let (shim, agent) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let idle_timeout = IdleTimeout::default();
        let config =
            identity::server_config(&agent, shim.certificate().clone(), idle_timeout).unwrap();
        let listening = endpoint(loopback(), Some(config)).unwrap();
        let line = lossy_line(listening.local_addr().unwrap()).await;
        let received = tokio::spawn(async move {
            let connection = listening.accept().await.unwrap().await.unwrap();
            let (_send, mut receive) = connection.accept_bi().await.unwrap();
            receive.read_to_end(CONTENT_BYTES).await.map(|bytes| bytes.len())
        });
        let config =
            identity::client_config(&shim, agent.certificate().clone(), idle_timeout).unwrap();
        let calling = endpoint(loopback(), None).unwrap();
        let connection =
            calling.connect_with(config, line, identity::server_name()).unwrap().await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        let sent = send.write_all(&vec![7; CONTENT_BYTES]).await;
        send.finish().ok();
        let lost = connection.stats().path.lost_packets;
        assert!(sent.is_ok(), "{sent:?} after {lost} lost packets");
        assert_eq!(received.await.unwrap().unwrap(), CONTENT_BYTES, "{lost} lost packets");
        assert!(lost > 100, "the proxy dropped too few packets: {lost}");
    }
}
