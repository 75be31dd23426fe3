//! How a QUIC connection moves bytes: its windows, its patience and its socket.
//!
//! Both ends use the same settings, so both halves are here. Invariant: whatever the
//! network drops, what one stream may have in flight stays below the number of gaps
//! that the receiving end is willing to remember (see `STREAM_WINDOW_BYTES`). Who
//! may connect is [`crate::identity`]'s.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// What one stream may have in flight, in bytes.
///
/// quinn ends a connection whose receive buffer holds more than 2,048 pieces of a stream
/// of which more than 1,024 do not join. So many packets a window must not have: the
/// worst that a network can do is to lose every second one, and it does where a sender is
/// twice as fast as the narrowest link. Packets carry 1,150 bytes or more when there is
/// much to send: 3 MiB are 2,735 of them, too few for both numbers. At 30 ms there and
/// back they are 830 Mbit/s. Small packets are the sender's care (`burst_sync::wire` and
/// `burst_sync::flow_control`).
const STREAM_WINDOW_BYTES: u32 = 3 << 20;

/// What all streams of a connection may have in flight, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// What one end keeps of what the other has not acknowledged, in bytes.
const SEND_WINDOW_BYTES: u64 = 4 << 20;

/// What may be sent before anything was acknowledged, in bytes.
const INITIAL_WINDOW_BYTES: u64 = 512 << 10;

/// What the kernel is asked to keep of a socket's datagrams, in bytes: a window, so that
/// a reader who is late for a moment costs no packet. Linux grants `net.core.rmem_max`
/// at most, often 208 KiB, and more only to root.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The UDP port of the agent on a server: the image starts the agent with it, and the
/// firewall opens it.
pub const SERVER_PORT: u16 = 7777;

/// How patient a connection is.
#[derive(Clone, Copy, Debug)]
pub struct IdleTimeout {
    /// Silence after which the other end counts as gone.
    pub gone_after: Duration,
}

impl Default for IdleTimeout {
    fn default() -> Self {
        Self { gone_after: Duration::from_secs(15) }
    }
}

/// The settings of a connection, for both ends.
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

/// An endpoint on a socket of its own; one that accepts if it has `server` settings.
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

/// Asks for a larger buffer. Without it we go on, with more packets to repeat.
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

    /// One way through the proxy, in the time of a long line.
    const DELAY: Duration = Duration::from_millis(10);
    /// Datagrams from here on are full of data.
    const FULL_BYTES: usize = 1_000;
    /// Full datagrams until the sender has opened its window, and how many are thinned.
    const OPENED_AFTER: usize = 10_500;
    const THINNED: usize = 2_600;
    const CONTENT_BYTES: usize = 32 << 20;

    fn loopback() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    /// Passes datagrams on after a delay, in their order, if `passes` says so.
    async fn one_way(
        mut arrived: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
        to: Arc<tokio::net::UdpSocket>,
        mut passes: impl FnMut(&[u8]) -> bool,
    ) {
        while let Some((at, datagram)) = arrived.recv().await {
            if passes(&datagram) {
                tokio::time::sleep_until(at + DELAY).await;
                // The peer's buffer may be full: a loss like any other.
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

    /// A line to `server` that drops every second of a window's full datagrams.
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
            !(OPENED_AFTER..OPENED_AFTER + THINNED).contains(&full) || full % 2 == 0
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

    /// What a sender does to itself who is twice as fast as the narrowest link.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_passes_a_line_that_loses_every_second_packet_arrives() {
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
        assert!(lost > 100, "the line was too good: {lost}");
    }
}
