//! A network in memory: sockets for QUIC, between which datagrams are late, lost, repeated and
//! out of order, as a seed decides.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// The subnets of agents and, above it, of clients.
const AGENTS: u8 = 1;
const CLIENTS: u8 = 2;

/// How the network treats datagrams.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    /// The time that a datagram takes, in milliseconds.
    pub(super) delay: Range<u64>,
    /// The share that is lost.
    pub(super) loss: f64,
    /// The share that arrives twice.
    pub(super) repeated: f64,
}

impl Weather {
    /// A good network.
    pub(super) const GOOD: Self = Self { delay: 1..2, loss: 0.0, repeated: 0.0 };
}

/// What happens when a datagram with a certain number is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The two ends of this datagram never hear of each other again: the client has to connect
    /// again, from another socket.
    CutClient,
    /// The client has another address from now on.
    Rebind,
    /// The agent is cut off, and killed as soon as all threads sleep: another one gets its disk.
    KillAgent,
    /// The process is killed, and with it both ends.
    KillAll,
}

/// The network.
#[derive(Clone, Debug)]
pub(super) struct Network(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    seed: u64,
    /// For the seeds of endpoints.
    random: fastrand::Rng,
    /// How many datagrams were sent in each direction.
    numbers: HashMap<(SocketAddr, SocketAddr), u64>,
    weather: Weather,
    /// Until then everything is lost.
    dark_until: Instant,
    addresses: HashMap<u32, SocketAddr>,
    inboxes: HashMap<SocketAddr, Inbox>,
    /// The sockets that have had each address.
    owners: HashMap<SocketAddr, u32>,
    /// Sockets that are cut off.
    cut: BTreeSet<u32>,
    next_socket: u32,
    next_address: u32,
    sent: u64,
    events: BTreeMap<u64, Event>,
    happened: UnboundedSender<Event>,
}

#[derive(Debug, Default)]
struct Inbox {
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    reader: Option<Waker>,
}

/// One socket.
#[derive(Debug)]
struct Socket {
    network: Network,
    number: u32,
}

impl Network {
    /// A network in which these events happen. Those that others have to carry out are sent
    /// to `happened`.
    pub(super) fn new(
        seed: u64,
        weather: Weather,
        events: BTreeMap<u64, Event>,
        happened: UnboundedSender<Event>,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            random: fastrand::Rng::with_seed(seed),
            numbers: HashMap::new(),
            weather,
            dark_until: Instant::now(),
            addresses: HashMap::new(),
            inboxes: HashMap::new(),
            owners: HashMap::new(),
            cut: BTreeSet::new(),
            next_socket: 0,
            next_address: 0,
            sent: 0,
            events,
            happened,
        })))
    }

    /// Treats datagrams in this way from now on.
    pub(super) fn set_weather(&self, weather: Weather) {
        let mut state = self.lock();
        state.weather = weather;
        state.dark_until = Instant::now();
    }

    /// No more events.
    pub(super) fn forget_events(&self) {
        self.lock().events.clear();
    }

    /// Loses everything for a while.
    pub(super) fn darken(&self, duration: Duration) {
        self.lock().dark_until = Instant::now() + duration;
    }

    /// An endpoint with an address of its own, and the address.
    pub(super) fn endpoint(
        &self,
        server: Option<quinn::ServerConfig>,
    ) -> io::Result<(quinn::Endpoint, SocketAddr)> {
        let mut state = self.lock();
        let number = state.next_socket;
        state.next_socket += 1;
        let address = state.add_address(if server.is_some() { AGENTS } else { CLIENTS }, number);
        let mut config = quinn::EndpointConfig::default();
        let mut seed = [0; 32];
        state.random.fill(&mut seed);
        config.rng_seed(Some(seed));
        drop(state);
        let socket = Arc::new(Socket { network: self.clone(), number });
        let runtime = Arc::new(StillRuntime(quinn::TokioRuntime));
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime)?;
        Ok((endpoint, address))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let mut state = self.lock();
        if state.is_lost(from, to) {
            return;
        }
        if let Some(inbox) = state.inboxes.get_mut(&to) {
            inbox.datagrams.push_back((from, bytes));
            if let Some(reader) = inbox.reader.take() {
                reader.wake();
            }
        }
    }
}

impl State {
    /// Gives a socket a new address.
    fn add_address(&mut self, subnet: u8, number: u32) -> SocketAddr {
        self.next_address += 1;
        let [high, low] = u16::try_from(self.next_address).unwrap_or(u16::MAX).to_be_bytes();
        let address = SocketAddr::from(([10, subnet, high, low], 7777));
        self.inboxes.insert(address, Inbox::default());
        self.owners.insert(address, number);
        self.addresses.insert(number, address);
        address
    }

    /// What decides about the next datagram of this direction: its number there, and nothing
    /// that happens elsewhere.
    fn fate(&mut self, from: SocketAddr, to: SocketAddr) -> fastrand::Rng {
        let number = self.numbers.entry((from, to)).or_default();
        *number += 1;
        let bits = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(_) => 0,
        };
        let direction = bits(from).rotate_left(24) ^ bits(to).rotate_left(48);
        fastrand::Rng::with_seed(self.seed ^ direction ^ *number)
    }

    fn is_lost(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let is_cut = |address| self.owners.get(&address).is_some_and(|it| self.cut.contains(it));
        Instant::now() < self.dark_until || is_cut(from) || is_cut(to)
    }

    /// Has an event happen to the ends of the datagram that is sent now. Nothing happens to one
    /// that is cut off.
    fn happen(&mut self, event: Event, from: SocketAddr, to: SocketAddr) {
        let owner = |address| self.owners.get(&address).copied();
        let (Some(agent), Some(client)) = (owner(from.min(to)), owner(from.max(to))) else {
            return;
        };
        match event {
            _ if self.cut.contains(&agent) || self.cut.contains(&client) => {}
            Event::CutClient => {
                self.cut.insert(client);
            }
            Event::Rebind => {
                let old = self.addresses[&client];
                let waiting = self.inboxes.remove(&old).unwrap_or_default();
                let fresh = self.add_address(CLIENTS, client);
                self.inboxes.insert(fresh, waiting);
            }
            Event::KillAgent => {
                self.cut.insert(agent);
                self.happened.send(event).unwrap();
            }
            Event::KillAll => {
                nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL).ok();
            }
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Ready)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.network.lock();
        state.sent += 1;
        let sent = state.sent;
        let (from, to) = (state.addresses[&self.number], transmit.destination);
        if let Some(event) = state.events.remove(&sent) {
            state.happen(event, from, to);
        }
        let from = state.addresses[&self.number];
        let weather = state.weather.clone();
        let mut random = state.fate(from, to);
        if random.f64() < weather.loss || state.is_lost(from, to) {
            return Ok(());
        }
        let copies = 1 + usize::from(random.f64() < weather.repeated);
        for _ in 0..copies {
            let delay = Duration::from_millis(random.u64(weather.delay.clone()));
            let (network, bytes) = (self.network.clone(), transmit.contents.to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                network.deliver(from, to, bytes);
            });
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.network.lock();
        let address = state.addresses[&self.number];
        let inbox = state.inboxes.entry(address).or_default();
        let (Some((from, bytes)), Some(buffer), Some(meta)) =
            (inbox.datagrams.pop_front(), buffers.first_mut(), meta.first_mut())
        else {
            inbox.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        buffer[..bytes.len()].copy_from_slice(&bytes);
        (meta.addr, meta.len, meta.stride) = (from, bytes.len(), bytes.len());
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.network.lock().addresses[&self.number])
    }
}

/// The runtime, on which each step of QUIC waits until all other threads sleep.
#[derive(Debug)]
struct StillRuntime(quinn::TokioRuntime);

impl Runtime for StillRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.0.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        burst_sync::task::spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.0.wrap_udp_socket(socket)
    }

    fn now(&self) -> std::time::Instant {
        self.0.now()
    }
}

/// A socket that always takes the next datagram.
#[derive(Debug)]
struct Ready;

impl UdpPoller for Ready {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
