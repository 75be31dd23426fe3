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

/// The port of the agent on a server, of UDP and of TCP: the image starts the agent with it,
/// and the firewall opens it.
pub const SERVER_PORT: u16 = 7777;

/// The timeout of a connection.
#[derive(Clone, Copy, Debug)]
pub struct IdleTimeout {
    /// The silence after which the other end counts as gone; packets that keep the
    /// connection alive are sent five times as often.
    pub gone_after: Duration,
}

impl IdleTimeout {
    /// How often a packet keeps an idle connection alive.
    pub fn keep_alive_interval(self) -> Duration {
        self.gone_after / 5
    }

    /// How long an agent whose connection is alive may say nothing about a request before the
    /// client gives it up: 30 seconds by default.
    pub fn mute_after(self) -> Duration {
        self.gone_after * 2
    }

    /// How often an agent says that it works on a request: four times in that time.
    pub fn report_interval(self) -> Duration {
        self.mute_after() / 4
    }
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
    transport.keep_alive_interval(Some(idle_timeout.keep_alive_interval()));
    transport.max_concurrent_uni_streams(0_u8.into());
    transport.stream_receive_window(STREAM_WINDOW_BYTES.into());
    transport.receive_window(CONNECTION_WINDOW_BYTES.into());
    transport.send_window(SEND_WINDOW_BYTES);
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    transport.congestion_controller_factory(Arc::new(congestion));
    transport
}

/// Whether a connection has broken: it was lost, and neither end has closed it.
pub fn is_broken(connection: &quinn::Connection) -> bool {
    use quinn::ConnectionError::{ApplicationClosed, LocallyClosed};
    match connection.close_reason() {
        None | Some(ApplicationClosed(_) | LocallyClosed) => false,
        Some(_) => true,
    }
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
