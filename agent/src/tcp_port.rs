//! The TCP port of an agent on a server, beside that of UDP with the same number.
//!
//! A stranger can connect, and no more: each connection has to prove in time that it is of the
//! client whose certificate is pinned. Of those that have not only a limited number is kept, the
//! latest, and nothing is logged.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::agent::Agent;
use crate::carrier::Carrier;
use crate::client::Client;
use crate::lock::lock;
use crate::stream::{self, shortened};
use crate::tcp::{self, Accepted};
use crate::transport::IdleTimeout;

/// How long a client may take to prove who it is.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Connections whose TLS handshake is not complete. A client needs two round trips for it: only so
/// many further connections in that time keep it out.
const UNPROVEN_MAX: usize = 128;

/// The pause after an error of the port, such as too many open files, which ends by itself.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two errors of the port that are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(600);

/// The port.
pub(crate) struct TcpPort {
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    idle_timeout: IdleTimeout,
    handshake_deadline: Duration,
    unproven: Arc<Unproven>,
    /// Each stream has a sender.
    open: mpsc::Sender<()>,
    closed: mpsc::Receiver<()>,
}

impl TcpPort {
    /// Listens at an address.
    pub(crate) async fn listen(
        address: SocketAddr,
        tls: rustls::ServerConfig,
        idle_timeout: IdleTimeout,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (open, closed) = mpsc::channel(1);
        let (tls, unproven) = (Arc::new(tls), Arc::default());
        let handshake_deadline = HANDSHAKE_DEADLINE;
        Ok(Self { listener, tls, idle_timeout, handshake_deadline, unproven, open, closed })
    }

    /// Serves every connection. Never returns.
    pub(crate) async fn accept(&self, agent: &Arc<Agent>) {
        let mut logged: Option<Instant> = None;
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => self.take(agent, socket),
                Err(error) => {
                    if logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
                        logged = Some(Instant::now());
                        tracing::warn!("cannot accept a TCP connection: {error}");
                    }
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection in a task of its own.
    fn take(&self, agent: &Arc<Agent>, socket: TcpStream) {
        let (agent, proof, open) = (agent.clone(), self.prove(socket), self.open.clone());
        tokio::spawn(async move {
            if let Some(accepted) = proof.await {
                serve(&agent, accepted).await;
            }
            drop(open);
        });
    }

    /// Gives a connection a place until its client has proved who it is; `None` if it does not.
    fn prove(&self, socket: TcpStream) -> impl Future<Output = Option<Accepted>> + Send + 'static {
        let (tls, idle_timeout) = (self.tls.clone(), self.idle_timeout);
        let (deadline, (place, gone)) = (self.handshake_deadline, self.unproven.admit());
        async move {
            let _place = place;
            let accepted = tokio::select! {
                biased;
                accepted = timeout(deadline, tcp::accept(socket, tls, idle_timeout)) => accepted,
                _ = gone => return None,
            };
            match accepted {
                Ok(Ok(accepted)) => return Some(accepted),
                // Any stranger can cause this, so the log must not grow by it.
                Ok(Err(error)) => tracing::debug!("TCP handshake failed: {}", shortened(&error)),
                Err(_) => tracing::debug!("TCP handshake not complete in time"),
            }
            None
        }
    }

    /// Listens no more, and waits until no stream is left.
    pub(crate) async fn wait_idle(self) {
        let Self { listener, open, mut closed, .. } = self;
        drop((listener, open));
        // Nothing is ever sent: this is the end of the last sender.
        while closed.recv().await.is_some() {}
    }
}

/// Serves a stream, and returns when its connection has ended, whatever task serves it by then.
async fn serve(agent: &Arc<Agent>, accepted: Accepted) {
    let Accepted { reader, writer, peer, carrying } = accepted;
    let client = Arc::new(Client::default());
    let carrier = Carrier::Tcp(peer);
    if let Err(error) = stream::serve(agent, carrier, writer, reader, client.clone()).await {
        tracing::warn!("cannot serve a stream: {}", shortened(&error));
    }
    client.leave();
    // Fails only if it has panicked.
    drop(carrying.await);
}

/// The connections that have not proved whose they are, in the order of their arrival.
#[derive(Debug, Default)]
struct Unproven(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// Dropped, a sender ends its connection.
    places: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Unproven {
    /// A place for a connection, and the event that it has to go. If there are too many, the
    /// oldest one goes.
    fn admit(self: &Arc<Self>) -> (Place, oneshot::Receiver<()>) {
        let (keep, gone) = oneshot::channel();
        let mut waiting = lock(&self.0);
        waiting.last += 1;
        let number = waiting.last;
        waiting.places.push_back((number, keep));
        if waiting.places.len() > UNPROVEN_MAX {
            waiting.places.pop_front();
        }
        (Place { unproven: self.clone(), number }, gone)
    }
}

/// The place of one connection, until this is dropped.
struct Place {
    unproven: Arc<Unproven>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.unproven.0).places.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::task::JoinSet;

    use super::*;
    use crate::identity::{Identity, client_tls, server_tls};

    /// No deadline ends the strangers of this test.
    #[tokio::test]
    async fn strangers_that_say_nothing_make_room_for_the_client() {
        const LATE: usize = 3;
        let hour = Duration::from_secs(3600);
        let [shim, own] = [(); 2].map(|()| Identity::generate().unwrap());
        let server = server_tls(&own, shim.certificate().clone()).unwrap();
        let client = Arc::new(client_tls(&shim, own.certificate().clone()).unwrap());
        let listening = ([127, 0, 0, 1], 0).into();
        let mut port = TcpPort::listen(listening, server, IdleTimeout::default()).await.unwrap();
        port.handshake_deadline = hour;
        let address = port.listener.local_addr().unwrap();
        let (mut strangers, mut proofs) = (Vec::new(), JoinSet::new());
        for _ in 0..UNPROVEN_MAX + LATE {
            strangers.push(TcpStream::connect(address).await.unwrap());
            proofs.spawn(port.prove(port.listener.accept().await.unwrap().0));
        }
        for stranger in &mut strangers[..LATE] {
            let read = timeout(Duration::from_secs(60), stranger.read_u8()).await.unwrap();
            assert!(read.is_err());
            assert!(proofs.join_next().await.unwrap().unwrap().is_none());
        }
        let proof = async { port.prove(port.listener.accept().await.unwrap().0).await };
        let connecting = tcp::connect(address, client, IdleTimeout::default());
        let (connected, proved) = tokio::join!(connecting, proof);
        assert!(connected.is_ok() && proved.is_some());
        // It has taken one more place.
        assert!(proofs.join_next().await.unwrap().unwrap().is_none());
        assert!(proofs.try_join_next().is_none());
        assert_eq!(lock(&port.unproven.0).places.len(), UNPROVEN_MAX - 1);
    }

    #[test]
    fn of_connections_that_prove_nothing_the_oldest_goes_first() {
        let unproven = Arc::<Unproven>::default();
        let mut admitted: Vec<_> = (0..UNPROVEN_MAX).map(|_| unproven.admit()).collect();
        let is_gone = |gone: &mut oneshot::Receiver<()>| {
            gone.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        assert!(admitted.iter_mut().all(|(_, gone)| !is_gone(gone)));
        // One that has proved itself makes room.
        drop(admitted.remove(1));
        admitted.push(unproven.admit());
        assert!(admitted.iter_mut().all(|(_, gone)| !is_gone(gone)));
        admitted.push(unproven.admit());
        let gone: Vec<bool> = admitted.iter_mut().map(|(_, gone)| is_gone(gone)).collect();
        assert!(gone[0] && gone[1..].iter().all(|gone| !gone), "{gone:?}");
        drop(admitted);
        assert!(lock(&unproven.0).places.is_empty());
    }
}
