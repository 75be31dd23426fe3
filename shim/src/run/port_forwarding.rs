//! TCP ports here that lead to programs of the run: each connection to one is carried on a
//! stream of its own.
//!
//! The ports are taken before anything is reached, so that one in use is an error before it
//! costs time or money. Connections are accepted from the moment that cargo runs until it has
//! ended; earlier ones wait in the queue of the kernel. Only programs of this machine can
//! connect: the ports are those of the loopback interface.
//!
//! An agent on this machine needs no forwarding where both ports are the same.

use std::io::{self, ErrorKind as IoErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use burst_protocol::hello::Preface;
use burst_protocol::limit::OUTPUT_BYTES_MAX;
use burst_protocol::message::{FromAgent, FromShim};
use burst_sync::wire::{Incoming, Outgoing};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::agent::route::AgentRoute;
use crate::connection::{Peer, Stream, VERSION};
use crate::error::{Error, ErrorKind};
use crate::settings::PortForward;

/// How long the last bytes of a program may take to arrive after cargo has ended.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// The ports that were taken here, each with the one that it leads to.
#[derive(Debug, Default)]
pub(super) struct ForwardedPorts {
    listeners: Vec<(TcpListener, NonZeroU16)>,
    forwards: Vec<PortForward>,
    /// Notified when cargo has ended.
    ended: Notify,
}

impl ForwardedPorts {
    /// Takes the ports here. `is_local`: whether cargo runs on this machine.
    pub(super) fn take(
        forwards: impl IntoIterator<Item = PortForward>,
        is_local: bool,
    ) -> Result<Self, Error> {
        let mut taken = Self::default();
        for forward in forwards {
            if taken.forwards.contains(&forward) || is_local && forward.here == forward.there {
                continue;
            }
            let PortForward { here, there } = forward;
            let listeners = listen(here).map_err(|error| cannot_listen(forward, &error))?;
            taken.listeners.extend(listeners.into_iter().map(|listener| (listener, there)));
            taken.forwards.push(forward);
        }
        Ok(taken)
    }

    /// Whether a port of the agent's machine is forwarded.
    pub(super) fn leads_to(&self, port: u16) -> bool {
        self.forwards.iter().any(|forward| forward.there.get() == port)
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Accepts connections and carries them, until [`end`](Self::end) and the end of those
    /// that were accepted before. Blocks.
    /// `grace_secs` as for the stream of the run.
    pub(super) fn carry_all(&self, runtime: &Handle, route: &AgentRoute, grace_secs: u32) {
        runtime.block_on(self.accept_and_carry(route, grace_secs));
    }

    async fn accept_and_carry(&self, route: &AgentRoute, grace_secs: u32) {
        let (accept, mut accepted) = tokio::sync::mpsc::unbounded_channel();
        let mut accepting = JoinSet::new();
        for (listener, there) in &self.listeners {
            let Ok(listener) = listener.try_clone().and_then(tokio::net::TcpListener::from_std)
            else {
                continue;
            };
            let (there, accept) = (*there, accept.clone());
            accepting.spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    if accept.send((socket, there)).is_err() {
                        return;
                    }
                }
            });
        }
        let mut carried = JoinSet::new();
        loop {
            let (socket, there) = tokio::select! {
                Some(next) = accepted.recv() => next,
                () = self.ended.notified() => break,
            };
            match route.stream(grace_secs).await {
                Ok(stream) => {
                    let socket = socket.into_std().and_then(|socket| {
                        socket.set_nonblocking(false)?;
                        socket.set_nodelay(true)?;
                        Ok(socket)
                    });
                    if let Ok(socket) = socket {
                        let socket = Arc::new(socket);
                        carried.spawn_blocking(move || carry(stream, &socket, there));
                    }
                }
                Err(error) => tracing::info!(%there, "not forwarded: {}", error.one_line()),
            }
        }
        drop(accepting);
        // The programs have ended, and so do their connections.
        let all = async { while carried.join_next().await.is_some() {} };
        drop(tokio::time::timeout(DRAIN_DEADLINE, all).await);
        // A task of blocking code is not ended by its handle.
        carried.detach_all();
    }

    /// Cargo has ended.
    pub(super) fn end(&self) {
        self.ended.notify_one();
    }
}

/// Listens on the loopback interface, in IPv4 and, where that is there, in IPv6: a name such as
/// `localhost` stands for both.
fn listen(port: NonZeroU16) -> io::Result<Vec<TcpListener>> {
    let bind = |address: IpAddr| -> io::Result<TcpListener> {
        let listener = TcpListener::bind((address, port.get()))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let four = bind(Ipv4Addr::LOCALHOST.into())?;
    match bind(Ipv6Addr::LOCALHOST.into()) {
        Ok(six) => Ok(vec![four, six]),
        Err(error) if error.kind() == IoErrorKind::AddrInUse => Err(error),
        Err(_) => Ok(vec![four]),
    }
}

fn cannot_listen(forward: PortForward, error: &io::Error) -> Error {
    let PortForward { here, there } = forward;
    let hint = match error.kind() {
        IoErrorKind::AddrInUse => format!(
            "another program uses it: end that, or name another port here, such as `--forward \
             {}:{there}`",
            here.checked_add(10_000).unwrap_or(here)
        ),
        IoErrorKind::PermissionDenied => format!(
            "ports below 1024 need rights: name another one here, such as `--forward {}:{there}`",
            here.get() % 1000 + 8000
        ),
        _ => "name another port here, as `--forward HERE:THERE`".to_owned(),
    };
    Error::new(ErrorKind::Usage, format!("cannot listen on port {here} of this machine"), hint)
        .caused_by(error)
}

/// Carries one connection until both directions have ended. Blocks.
fn carry(stream: Stream, socket: &Arc<TcpStream>, there: NonZeroU16) {
    let Stream { mut incoming, outgoing, peer, .. } = stream;
    let began = outgoing
        .preface(&Preface::hello(VERSION))
        .and_then(|()| outgoing.message(&FromShim::Connect(there)));
    let sending = std::thread::spawn({
        let (socket, outgoing) = (Arc::clone(socket), outgoing.clone());
        move || began.is_ok().then(|| send(&socket, &outgoing))
    });
    if let Err(error) = receive(&mut incoming, socket, &peer) {
        tracing::info!(%there, "a forwarded connection ended: {error}");
        // Nobody listens there: the client here is to see an error, not an empty answer.
        reset_on_close(socket);
        drop(socket.shutdown(Shutdown::Read));
    }
    drop(sending.join());
    drop(outgoing.message(&FromShim::Done));
}

/// Sends what the client here writes, until it closes its end.
fn send(mut socket: &TcpStream, outgoing: &Outgoing) {
    let mut piece = vec![0; OUTPUT_BYTES_MAX];
    loop {
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = piece[..length].to_vec().into();
                if outgoing.message(&FromShim::Input(bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == IoErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // An error says that the agent is gone.
    drop(outgoing.message(&FromShim::InputEnd));
}

/// Writes what the program sends, until it closes its end.
fn receive(incoming: &mut Incoming, mut socket: &TcpStream, peer: &Peer) -> Result<(), String> {
    peer.welcome(incoming).map_err(|error| error.to_string())?;
    loop {
        match incoming.message().map_err(|error| error.to_string())? {
            FromAgent::Output { bytes, .. } => {
                socket.write_all(&bytes).map_err(|error| error.to_string())?;
            }
            FromAgent::Working => {}
            FromAgent::OutputEnd => {
                drop(socket.shutdown(Shutdown::Write));
                return Ok(());
            }
            FromAgent::Failed(failure) => return Err(failure.messages.join(": ")),
            other => return Err(format!("a message out of turn: {other:?}")),
        }
    }
}

/// Has the client here see that the connection was broken.
fn reset_on_close(socket: &TcpStream) {
    if let Err(error) = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)) {
        tracing::debug!("the connection ends without a reset: {error}");
    }
}
