//! The agent of a server, as a command reaches it: the keeper provides the server, and
//! passes streams on.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use burst_agent::transport::IdleTimeout;
use burst_protocol::FileName;
use burst_sync::wire::Pending;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::keep_alive::KeepAlive;
use super::notice;
use super::reached::{Lease, ReachedAgent};
use super::route::AgentRoute;
use crate::connection::reconnect::{Dial, DialError, Dialled, failed};
use crate::directories::Directories;
use crate::environment;
use crate::error::Error;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::naming::ProjectKey;
use crate::hetzner::progress::Progress;
use crate::hetzner::request::ServerRequest;
use crate::hetzner::server::ServerSummary;
use crate::keeper::client::{self, CommandSession};
use crate::keeper::directory::KeeperDirectory;
use crate::keeper::error::keeper;
use crate::keeper::message::{Ask, Event, Ready};
use crate::keeper::stream::{Arrival, KeeperRoute};
use crate::settings::Settings;
use crate::terminal::Terminal;

/// The provider's name, in paths of the cache.
pub(crate) const NAME: &str = "hetzner";

/// Seconds by which a server deletes itself later than a keeper would: a keeper renews its lease as
/// often.
const DEAD_MAN_SECS: u64 = 60;

/// Seconds for which the agent of a server that runs may be silent before its port counts as
/// blocked. A server boots in half of them, from then on.
const PORT_SECS: u64 = 90;

/// The agents of one token's servers.
#[derive(Clone, Debug)]
pub(crate) struct ServerAgent {
    directories: Directories,
    credentials: Credentials,
    /// What is being made and paid for, while the server is not ready.
    pays_for: Arc<Mutex<Option<String>>>,
}

impl ServerAgent {
    /// By the token of the settings; `None` without one.
    pub(crate) fn of(directories: &Directories, settings: &Settings) -> Option<Self> {
        let credentials = Credentials::of(settings)?;
        let (directories, pays_for) = (directories.clone(), Arc::default());
        Some(Self { directories, credentials, pays_for })
    }

    /// What to tell the user if the command is interrupted now.
    pub(crate) fn pays_for(&self) -> Arc<Mutex<Option<String>>> {
        self.pays_for.clone()
    }

    /// Reaches a server that has the volume of a project; `anew` where the connection at
    /// hand does not work. Returns as soon as the volume is known: requests can be
    /// written from then on, and wait for the server.
    pub(crate) fn reach(
        &self,
        runtime: &Handle,
        request: &ServerRequest,
        anew: bool,
        terminal: &Arc<Terminal>,
    ) -> Result<ReachedAgent, Error> {
        let directory = KeeperDirectory::open(&self.directories.state)?;
        let (arrive, arrival) = watch::channel(Arrival::Awaited);
        let arrive = Arc::new(arrive);
        let dial = ServerDial {
            agent: self.clone(),
            request: request.clone(),
            route: KeeperRoute::new(directory.clone(), arrival.clone(), runtime.clone()),
            arrive: arrive.clone(),
            session: tokio::sync::Mutex::default(),
            terminal: terminal.clone(),
        };
        let (end, ended) = mpsc::channel::<()>();
        let (report, device) = mpsc::channel();
        let pays_for = self.pays_for.clone();
        let relay = Relay { terminal: terminal.clone(), report: report.clone(), pays_for };
        let (directories, credentials) = (self.directories.clone(), self.credentials.clone());
        let (asking, request) = (runtime.clone(), request.clone());
        std::thread::spawn(move || {
            let ask = || Ask::Reach {
                credentials: credentials.clone(),
                request: Box::new(request.clone()),
                anew,
            };
            let asked = asking.block_on(client::ask(&directories, ask, &relay));
            relay.terminal.quiet();
            relay.note(None);
            match asked {
                Ok((Event::Ready(ready), session)) => {
                    let device = ready.device.clone();
                    arrive.send_replace(Arrival::There(Box::new(ready), Instant::now()));
                    drop(report.send(Ok(device)));
                    // The session keeps the server until the lease is dropped.
                    match ended.recv() {
                        Ok(()) | Err(_) => drop(session),
                    }
                }
                Ok(_) => drop(report.send(Err(invalid("a server was expected")))),
                Err(error) => {
                    arrive.send_replace(Arrival::Failed(error.clone()));
                    drop(report.send(Err(error)));
                }
            }
        });
        let device = device.recv().unwrap_or_else(|_| Err(invalid("there was none")))?;
        let device = FileName::new(device.as_bytes()).map_err(|error| {
            invalid("the volume's device name is no file name").caused_by(&error)
        })?;
        let route = KeeperRoute::new(directory, arrival, runtime.clone());
        Ok(ReachedAgent {
            connection: AgentRoute::through_keeper(route, Arc::new(dial)),
            started: false,
            device: Some(device),
            lease: Some(Lease::new(end)),
        })
    }
}

/// Reaches the server of a run again by way of the keeper, or of the next one if that was killed.
#[derive(Debug)]
struct ServerDial {
    agent: ServerAgent,
    request: ServerRequest,
    route: KeeperRoute,
    arrive: Arc<watch::Sender<Arrival>>,
    /// Keeps the server in use.
    session: tokio::sync::Mutex<Option<CommandSession>>,
    terminal: Arc<Terminal>,
}

impl Dial for ServerDial {
    fn dial(&self) -> Pending<'_, Result<Dialled, DialError>> {
        Box::pin(async {
            let ask = || Ask::Rejoin {
                credentials: self.agent.credentials.clone(),
                request: Box::new(self.request.clone()),
            };
            match client::ask(&self.agent.directories, ask, &Silence).await {
                Ok((Event::Ready(ready), session)) => {
                    self.arrive.send_replace(Arrival::There(Box::new(ready), Instant::now()));
                    *self.session.lock().await = Some(session);
                }
                Ok((Event::NoServer, _)) => return Err(DialError::Ended),
                Ok(_) => return Err(failed("the keeper's answer is not valid")),
                Err(error) => return Err(failed(error.one_line())),
            }
            let opened = self.route.open().await;
            let (read, write) = opened.map_err(|error| failed(error.one_line()))?;
            Ok(Dialled::through_keeper(read, write))
        })
    }

    fn broke(&self, grace: Duration) {
        notice::broke(&self.terminal, grace);
    }

    fn over(&self) {
        notice::over(&self.terminal);
    }
}

/// Takes no progress: the user sees that of the run.
struct Silence;

impl Progress for Silence {
    fn step(&self, _text: &str) {}

    fn say(&self, _text: &str) {}

    fn warn(&self, _text: &str) {}

    fn disk(&self, _device: &str) {}
}

/// Passes the keeper's progress on to the terminal, and the device to the command.
struct Relay {
    terminal: Arc<Terminal>,
    report: mpsc::Sender<Result<String, Error>>,
    pays_for: Arc<Mutex<Option<String>>>,
}

impl Relay {
    fn note(&self, text: Option<&str>) {
        let mut noted = self.pays_for.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = text.map(str::to_owned);
    }
}

impl Progress for Relay {
    fn step(&self, text: &str) {
        self.terminal.wait_for(&format!("a server: {text}"), text);
    }

    fn say(&self, text: &str) {
        self.terminal.say(text);
    }

    fn warn(&self, text: &str) {
        self.terminal.warn(text);
    }

    fn pays_for(&self, text: &str) {
        self.note(Some(text));
    }

    fn disk(&self, device: &str) {
        // Only the first report is read.
        drop(self.report.send(Ok(device.to_owned())));
    }
}

/// The server with its creation time by the local clock, which may be wrong, so that its
/// age is right.
pub(crate) fn by_our_clock(ready: &Ready, at: Instant) -> ServerSummary {
    let age = ready.age_secs + i64::try_from(at.elapsed().as_secs()).unwrap_or(0);
    let created = burst_hcloud::Timestamp::now().as_second() - age;
    ServerSummary { created, ..ready.server.clone() }
}

/// What a command asks the keeper for.
pub(crate) fn server_request(
    settings: &Settings,
    keep_alive: KeepAlive,
    spend_at_most: Option<f64>,
    root: &Path,
) -> Result<ServerRequest, Error> {
    let volume_keep_alive = match keep_alive {
        KeepAlive::Seconds(_) => KeepAlive::Seconds(settings.volume_keep_alive_secs),
        KeepAlive::UntilDown => KeepAlive::UntilDown,
    };
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let idle_timeout = IdleTimeout::default().gone_after.as_secs();
    Ok(ServerRequest {
        project: ProjectKey::of(root),
        project_name: name,
        regions: settings.region.clone(),
        server_types: settings.server_type.clone(),
        public_ipv4: settings.public_ipv4,
        volume_gb: settings.volume_gb,
        keep_alive: keep_alive.lease_secs(),
        volume_keep_alive: volume_keep_alive.lease_secs(),
        keep_paid_hour: settings.keep_paid_hour,
        dead_man: settings.dead_man_switch.then(|| environment::dead_man_secs(DEAD_MAN_SECS)),
        reconnect_secs: settings.reconnect_secs,
        spend_at_most,
        monthly_budget: settings.monthly_budget,
        gone_after_secs: environment::grace_secs(idle_timeout).min(idle_timeout),
        port_secs: environment::port_secs(PORT_SECS),
    })
}

/// The keeper answered something that does not fit.
pub(super) fn invalid(cause: &str) -> Error {
    keeper("the keeper's answer is not valid").cause(cause)
}
