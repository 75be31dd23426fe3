//! The simulator's life and the state that its requests share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::host::Hosts;
use crate::http;
use crate::ledger::{Ledger, Sum};
use crate::log::Call;
use crate::refusal::Refusal;
use crate::scenario::{FaultKind, Scenario};
use crate::schema::SCHEMAS;
use crate::world::World;

/// Interval at which due actions are completed.
const TICK: Duration = Duration::from_millis(10);

/// The implementation of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A server is only a record.
    None,
    /// A server is a host made of namespaces, which runs an agent. Needs root.
    Hosts {
        /// The program that hosts run as `burst-agent`.
        agent: PathBuf,
    },
}

/// The options of a simulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on; port 0 selects a free port.
    pub listen: SocketAddr,
    /// The token with all permissions.
    pub token: String,
    /// The implementation of servers.
    pub backend: Backend,
    /// The initial scenario.
    pub scenario: Scenario,
}

impl Options {
    /// Options for a free port of loopback, with servers that are only records.
    pub fn new(token: &str, scenario: Scenario) -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            token: token.to_owned(),
            backend: Backend::None,
            scenario,
        }
    }
}

/// A running simulator. Dropping it stops it and removes its hosts.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

/// The state that all requests share.
#[derive(Debug)]
pub struct Shared {
    /// The resources.
    pub world: Mutex<World>,
    /// The virtual clock.
    pub clock: Mutex<Clock>,
    /// The token with all permissions.
    pub token: String,
    calls: Mutex<Vec<Call>>,
    violations: Mutex<Vec<String>>,
    bucket: Mutex<(f64, i64)>,
    started: Instant,
    held: watch::Sender<Option<usize>>,
    pub(crate) hosts: Option<Hosts>,
}

/// A change that somebody makes in the vendor's console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// A server is deleted.
    DeleteServer,
    /// A volume is detached and deleted.
    DeleteVolume,
    /// A volume is detached.
    DetachVolume,
}

impl Simulator {
    /// Starts a simulator. Fails if the address is in use or hosts cannot be created.
    pub fn start(options: Options) -> std::io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let clock = Clock::new(options.scenario.now, options.scenario.rate);
        let now = clock.now();
        let burst = options.scenario.requests.burst;
        let listener = runtime.block_on(TcpListener::bind(options.listen))?;
        let address = listener.local_addr()?;
        let hosts = match options.backend {
            Backend::None => None,
            Backend::Hosts { agent } => Some(Hosts::start(agent)?),
        };
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(options.scenario, now)),
            clock: Mutex::new(clock),
            token: options.token,
            calls: Mutex::default(),
            violations: Mutex::default(),
            bucket: Mutex::new((burst, now)),
            started: Instant::now(),
            held: watch::Sender::new(None),
            hosts,
        });
        if let Some(hosts) = &shared.hosts {
            hosts.begin(&shared, runtime.handle(), address.port());
        }
        runtime.spawn(accept(shared.clone(), listener));
        runtime.spawn(tick(shared.clone()));
        Ok(Self { shared, address, runtime: Some(runtime) })
    }

    /// The endpoint of the API, `http://ADDRESS/v1`.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The address of the API.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The shared state.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(hosts) = &self.shared.hosts {
            hosts.end();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves connections.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| http::serve(shared.clone(), request));
            // Connections may end early: the client or the scenario closes them.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn tick(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(TICK).await;
        shared.settle();
    }
}

impl Shared {
    /// Completes the actions that are due, also on hosts.
    pub fn settle(&self) {
        let now = lock(&self.clock).now();
        let mut world = lock(&self.world);
        world.settle(now);
        self.give_addresses(&mut world);
        drop(world);
        self.wake_hosts();
    }

    /// Advances virtual time.
    pub fn advance(&self, secs: f64) {
        lock(&self.clock).advance(secs);
        self.settle();
    }

    /// Somebody changes the resource with this id in the vendor's console. Fails if there is
    /// none.
    pub fn by_hand(&self, change: ByHand, id: u64) -> Result<(), Refusal> {
        let now = lock(&self.clock).now();
        let mut world = lock(&self.world);
        world.settle(now);
        match change {
            ByHand::DeleteServer => world.delete_server_by_hand(id, now)?,
            ByHand::DeleteVolume => world.delete_volume_by_hand(id, now)?,
            ByHand::DetachVolume => world.detach_volume_by_hand(id)?,
        }
        drop(world);
        self.wake_hosts();
        Ok(())
    }

    /// The virtual time in Unix seconds.
    pub fn now_secs(&self) -> i64 {
        lock(&self.clock).now() / 1000
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// Clears the log of calls.
    pub fn forget_calls(&self) {
        lock(&self.calls).clear();
    }

    /// The bill, and its sum until now.
    pub fn ledger(&self) -> (Ledger, Sum) {
        let now = lock(&self.clock).now();
        let mut world = lock(&self.world);
        world.settle(now);
        (world.ledger.clone(), world.ledger.sum(now))
    }

    /// Messages about responses that did not match the schemas.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    pub(crate) fn check_answer(&self, operation: &str, status: u16, body: &Value) {
        if let Err(violation) = SCHEMAS.check_answer(operation, status, body) {
            lock(&self.violations).push(violation);
        }
    }

    pub(crate) fn log_begin(&self, method: &str, path: &str, query: &str) -> usize {
        let mut calls = lock(&self.calls);
        calls.push(Call {
            method: method.to_owned(),
            route: numbers_left_out(path),
            path: path.to_owned(),
            query: query.to_owned(),
            began: self.micros(),
            ended: None,
            status: None,
        });
        calls.len() - 1
    }

    pub(crate) fn log_end(&self, index: usize, status: Option<u16>) {
        let micros = self.micros();
        if let Some(call) = lock(&self.calls).get_mut(index) {
            call.ended = Some(micros);
            call.status = status;
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes a request from the bucket of the rate limit. Fails if it is empty.
    pub(crate) fn take_request(&self) -> Result<(), Refusal> {
        let now = lock(&self.clock).now();
        let limit = lock(&self.world).scenario.requests.clone();
        let mut bucket = lock(&self.bucket);
        let filled = bucket.0 + (now - bucket.1) as f64 / 1000.0 * limit.per_second;
        *bucket = (filled.min(limit.burst), now);
        if bucket.0 < 1.0 {
            return Err(Refusal::new("rate_limit_exceeded", "limit of requests per hour reached"));
        }
        bucket.0 -= 1.0;
        Ok(())
    }

    /// The rate limit, the requests that are left, and the time in Unix seconds at which the
    /// bucket is full.
    pub(crate) fn requests_left(&self) -> (u64, u64, i64) {
        let limit = lock(&self.world).scenario.requests.clone();
        let bucket = lock(&self.bucket);
        let missing = (limit.burst - bucket.0) / limit.per_second.max(1e-9);
        (limit.burst as u64, bucket.0.max(0.0) as u64, bucket.1 / 1000 + missing as i64)
    }

    /// The first fault that matches a call; counts as one use of it.
    pub(crate) fn take_fault(
        &self,
        method: &str,
        operation: &str,
        index: usize,
    ) -> Option<FaultKind> {
        let route = operation.split_once(' ').map_or("", |(_, route)| route);
        let mut world = lock(&self.world);
        let faults = &mut world.scenario.faults;
        let at = faults.iter().position(|fault| {
            fault.method.as_deref().is_none_or(|wanted| wanted == method)
                && fault.route.as_deref().is_none_or(|wanted| wanted == route)
                && fault.call.is_none_or(|wanted| wanted == index)
                && fault.times != Some(0)
        })?;
        if let Some(times) = &mut faults[at].times {
            *times -= 1;
        }
        Some(faults[at].kind.clone())
    }

    /// Holds a call until it is released.
    pub(crate) async fn hold(&self, index: usize) {
        self.held.send_replace(Some(index));
        let mut held = self.held.subscribe();
        // Cannot fail: `self` owns the sender.
        drop(held.wait_for(Option::is_none).await);
    }

    /// Waits until a call is held; returns its index in the log.
    pub async fn wait_until_held(&self) -> Option<usize> {
        let mut held = self.held.subscribe();
        held.wait_for(Option::is_some).await.ok().and_then(|held| *held)
    }

    /// The index of the held call.
    pub fn held(&self) -> Option<usize> {
        *self.held.borrow()
    }

    /// Releases the held call: its connection is closed.
    pub fn release(&self) {
        self.held.send_replace(None);
    }
}

/// `/v1/servers/12/actions/x` becomes `/servers/{id}/actions/x`.
fn numbers_left_out(path: &str) -> String {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let part = |part: &str| match part.parse::<u64>() {
        Ok(_) => "{id}".to_owned(),
        Err(_) => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Locks a mutex, even if a holder has panicked: that test fails anyway, and the others go
/// on.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
