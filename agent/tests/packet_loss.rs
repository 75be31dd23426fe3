//! The transport settings on a network that loses packets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use burst_agent::identity::{self, Identity};
use burst_agent::transport::{IdleTimeout, endpoint};
use rustix::net::sockopt;
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

/// Bytes of the proxy's receive buffers.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

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
        // Without the right to exceed the limit of the system, the limit applies.
        if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES).unwrap();
        }
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
    let config = identity::server_config(&agent, shim.certificate().clone(), idle_timeout).unwrap();
    let listening = endpoint(loopback(), Some(config)).unwrap();
    let line = lossy_line(listening.local_addr().unwrap()).await;
    let received = tokio::spawn(async move {
        let connection = listening.accept().await.unwrap().await.unwrap();
        let (_send, mut receive) = connection.accept_bi().await.unwrap();
        receive.read_to_end(CONTENT_BYTES).await.map(|bytes| bytes.len())
    });
    let config = identity::client_config(&shim, agent.certificate().clone(), idle_timeout).unwrap();
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
