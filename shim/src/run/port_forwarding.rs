//! TCP ports here that lead to programs of the run: each connection to one is carried on a
//! stream of its own, which ends if its connection to the agent breaks.
//!
//! The ports are taken before anything is reached, so that one in use is an error before it
//! costs time or money. Connections are accepted from the moment that cargo runs until it has
//! ended; earlier ones wait in the queue of the kernel. Only programs of this machine can
//! connect: the ports are those of the loopback interface.
//!
//! An agent on this machine needs no forwarding where both ports are the same.

use std::io::{self, ErrorKind as IoErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use burst_protocol::hello::Preface;
use burst_protocol::message::{FromAgent, FromShim};
use burst_sync::socket_relay::{CONNECTIONS_MAX, SocketRelay, Words};
use burst_sync::wire::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::request::{CargoVerb, RunArguments};
use crate::agent::route::AgentRoute;
use crate::connection::{Peer, Stream, VERSION};
use crate::error::{Error, ErrorKind};
use crate::settings::{PortForward, Settings};
use crate::terminal::Terminal;

/// The pause after a connection that cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    /// Takes the ports that the command line names, or else fails. Of those of the settings, which
    /// count for verbs that run a program, one that is in use is a warning: another command may
    /// forward it.
    pub(super) fn take(
        run: &RunArguments,
        settings: &Settings,
        terminal: &Terminal,
    ) -> Result<Self, Error> {
        let is_local = settings.hetzner_token.is_none();
        let mut taken = Self::default();
        for forward in &run.flags.forward {
            taken.add(*forward, is_local)?;
        }
        let of_settings = settings.forward_ports.iter().filter(|_| runs_program(run.verb));
        for forward in of_settings {
            let is_named = taken.leads_to(forward.there.get());
            if !is_named && let Err(error) = taken.add(*forward, is_local) {
                terminal.warn(&format!("`forward_ports`: {}", error.one_line()));
            }
        }
        Ok(taken)
    }

    fn add(&mut self, forward: PortForward, is_local: bool) -> Result<(), Error> {
        if self.forwards.contains(&forward) || is_local && forward.here == forward.there {
            return Ok(());
        }
        let PortForward { here, there } = forward;
        let listeners = listen(here).map_err(|error| cannot_listen(forward, &error))?;
        self.listeners.extend(listeners.into_iter().map(|listener| (listener, there)));
        self.forwards.push(forward);
        Ok(())
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
    pub(super) fn carry_all(&self, runtime: &Handle, route: &AgentRoute) {
        runtime.block_on(self.accept_and_carry(route));
    }

    async fn accept_and_carry(&self, route: &AgentRoute) {
        let (accept, mut accepted) = mpsc::channel(1);
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut accepting = JoinSet::new();
        for (listener, there) in &self.listeners {
            let listener = listener.try_clone().and_then(tokio::net::TcpListener::from_std);
            match listener {
                Ok(listener) => {
                    accepting.spawn(accept_on(listener, *there, free.clone(), accept.clone()));
                }
                Err(error) => tracing::info!(%there, "not forwarded: {error}"),
            }
        }
        let mut carried = JoinSet::new();
        loop {
            let Accepted { socket, there, permit } = tokio::select! {
                Some(next) = accepted.recv() => next,
                Some(_) = carried.join_next() => continue,
                () = self.ended.notified() => break,
            };
            let opened = tokio::select! {
                opened = route.stream_of_connection() => opened,
                () = self.ended.notified() => break,
            };
            match opened {
                Ok(stream) => {
                    carried.spawn_blocking(move || {
                        carry(stream, socket, there);
                        drop(permit);
                    });
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

/// Whether a verb runs programs of the user.
fn runs_program(verb: CargoVerb) -> bool {
    use CargoVerb::{Bench, Nextest, Other, Run, Test};
    matches!(verb, Bench | Nextest | Other | Run | Test)
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

/// A connection that was accepted, and its place among those that may be open.
struct Accepted {
    socket: TcpStream,
    there: NonZeroU16,
    permit: OwnedSemaphorePermit,
}

/// Accepts connections, each when another one may be open: those before wait in the kernel.
async fn accept_on(
    listener: tokio::net::TcpListener,
    there: NonZeroU16,
    free: Arc<Semaphore>,
    accepted: mpsc::Sender<Accepted>,
) {
    while let Ok(permit) = free.clone().acquire_owned().await {
        let socket = match listener.accept().await {
            Ok((socket, _)) => blocking(socket),
            Err(error) => Err(error),
        };
        match socket {
            Ok(socket) => {
                if accepted.send(Accepted { socket, there, permit }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // A client that has left, or a lack of descriptors, which passes.
                tracing::info!(%there, "cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A socket for threads that block.
fn blocking(socket: tokio::net::TcpStream) -> io::Result<TcpStream> {
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The messages of this end.
const WORDS: Words<FromShim> = Words {
    data: |bytes| FromShim::Input(bytes.into()),
    end: || FromShim::InputEnd,
    credit: FromShim::OutputCredit,
    done: None,
};

/// Carries one connection until both directions have ended. Blocks.
fn carry(stream: Stream, socket: TcpStream, there: NonZeroU16) {
    let Stream { mut incoming, outgoing, peer, .. } = stream;
    let began = outgoing
        .preface(&Preface::hello(VERSION))
        .and_then(|()| outgoing.message(&FromShim::Connect(there)));
    if let Err(error) = began {
        tracing::info!(%there, "not forwarded: {error}");
        return;
    }
    match SocketRelay::start(socket, &outgoing, WORDS) {
        Ok(mut relay) => {
            match receive(&mut incoming, &mut relay, &peer) {
                Ok(()) => relay.finish(),
                Err(error) => {
                    tracing::info!(%there, "a forwarded connection ended: {error}");
                    // The client here is to see an error, not an empty answer.
                    relay.reset();
                }
            }
        }
        Err(error) => tracing::info!(%there, "not forwarded: {error}"),
    }
}

/// Passes on what the program sends, until both directions have ended.
fn receive(incoming: &mut Incoming, relay: &mut SocketRelay, peer: &Peer) -> Result<(), String> {
    let shown = |error: &dyn std::fmt::Display| error.to_string();
    peer.welcome(incoming).map_err(|error| shown(&error))?;
    loop {
        match incoming.message().map_err(|error| shown(&error))? {
            FromAgent::Output { bytes, .. } => {
                relay.received(bytes.into_vec()).map_err(|error| shown(&error))?;
            }
            FromAgent::OutputEnd => relay.end(),
            FromAgent::InputCredit(cost) => relay.credit(cost),
            FromAgent::Working => {}
            FromAgent::Done => return Ok(()),
            FromAgent::Failed(failure) => return Err(failure.messages.join(": ")),
            other => return Err(format!("a message out of turn: {other:?}")),
        }
    }
}
