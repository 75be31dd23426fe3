//! Streams over TCP with TLS, for networks that block UDP: each is a connection of its own.
//!
//! Certificates, ALPN and the bytes of a stream are those of QUIC; they travel in
//! [pieces](burst_protocol::piece).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::identity;
use crate::pieces::{self, Ending};
pub use crate::pieces::{Reader, Writer};
use crate::transport::IdleTimeout;

/// The other end of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: SocketAddr,
    ending: Ending,
}

impl Peer {
    /// Its address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has ended its direction of the stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.has_come()
    }
}

/// A stream that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The direction from the client.
    pub(crate) reader: Reader,
    /// The direction to the client.
    pub(crate) writer: Writer,
    /// The client.
    pub(crate) peer: Peer,
    /// Ends when all was sent, and the connection is closed or lost.
    pub(crate) carrying: JoinHandle<()>,
}

/// Opens a stream to an agent whose certificate the settings of TLS pin. The agent may still
/// refuse ours: the first read tells. May be dropped.
pub async fn connect(
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    idle_timeout: IdleTimeout,
) -> io::Result<(Reader, Writer)> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(identity::server_name()).map_err(io::Error::other)?;
    let connection = TlsConnector::from(tls).connect(name, socket).await?;
    let (reader, writer, ..) = pieces::carry(connection, idle_timeout);
    Ok((reader, writer))
}

/// Accepts a stream from a client that proves who it is. May be dropped.
pub(crate) async fn accept(
    socket: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    idle_timeout: IdleTimeout,
) -> io::Result<Accepted> {
    socket.set_nodelay(true)?;
    let address = socket.peer_addr()?;
    let connection = TlsAcceptor::from(tls).accept(socket).await?;
    let (reader, writer, ending, carrying) = pieces::carry(connection, idle_timeout);
    Ok(Accepted { reader, writer, peer: Peer { address, ending }, carrying })
}

#[cfg(test)]
pub(crate) use self::tests::{Client, connected};

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::identity::{Identity, client_tls, server_tls};
    use crate::pieces::ByHand;

    /// The end of a client, whose connection breaks when it is dropped, as that of a killed
    /// process.
    pub(crate) type Client = ByHand<tokio_rustls::client::TlsStream<TcpStream>>;

    /// What both ends know of each other.
    fn settings() -> (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>) {
        let [shim, agent] = [(); 2].map(|()| Identity::generate().unwrap());
        let client = client_tls(&shim, agent.certificate().clone()).unwrap();
        let server = server_tls(&agent, shim.certificate().clone()).unwrap();
        (Arc::new(client), Arc::new(server))
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn accepted(
        listener: &TcpListener,
        tls: Arc<rustls::ServerConfig>,
    ) -> io::Result<Accepted> {
        accept(listener.accept().await?.0, tls, IdleTimeout::default()).await
    }

    /// A connection.
    pub(crate) async fn connected() -> (Client, Accepted) {
        let (client, server) = settings();
        let (listener, address) = listen().await;
        let name = ServerName::try_from(identity::server_name()).unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        let connecting = TlsConnector::from(client).connect(name, socket);
        let (client, accepted) = tokio::join!(connecting, accepted(&listener, server));
        (ByHand(client.unwrap()), accepted.unwrap())
    }

    #[tokio::test]
    async fn a_stream_carries_bytes_both_ways_and_ends() {
        let (client, server) = settings();
        let (listener, address) = listen().await;
        let connecting = connect(address, client, IdleTimeout::default());
        let (near, far) = tokio::join!(connecting, accepted(&listener, server));
        let ((mut reader, mut writer), mut far) = (near.unwrap(), far.unwrap());
        let sent = vec![7; 20 << 20];
        let near = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
            let mut back = Vec::new();
            reader.read_to_end(&mut back).await.unwrap();
            back
        };
        let echo = async {
            let mut all = Vec::new();
            far.reader.read_to_end(&mut all).await.unwrap();
            far.writer.write_all(&all).await.unwrap();
            drop((far.reader, far.writer));
        };
        let (back, ()) = tokio::join!(near, echo);
        assert!(back == sent && far.peer.has_ended());
        far.carrying.await.unwrap();
    }

    #[tokio::test]
    async fn a_killed_client_breaks_the_connection() {
        let (mut client, mut accepted) = connected().await;
        client.say(b"half").await;
        drop(client);
        let mut all = Vec::new();
        assert!(accepted.reader.read_to_end(&mut all).await.is_err());
        assert_eq!(all, b"half");
        assert!(!accepted.peer.has_ended());
    }

    #[tokio::test]
    async fn a_stranger_is_refused_by_either_end() {
        let ((client, server), (strange_client, strange_server)) = (settings(), settings());
        for (client, server) in [(strange_client, server), (client, strange_server)] {
            let (listener, address) = listen().await;
            let talking = async {
                let (mut reader, _writer) =
                    connect(address, client, IdleTimeout::default()).await?;
                reader.read_u8().await
            };
            let (told, accepted) = tokio::join!(talking, accepted(&listener, server));
            assert!(told.is_err(), "{told:?}");
            assert!(accepted.is_err());
        }
    }
}
