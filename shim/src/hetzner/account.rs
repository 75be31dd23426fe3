//! What one token sees, and what we hold of it: the server, the warm connection to its
//! agent, the volumes on it, and who uses them.
//!
//! One account is held by one process, mostly the keeper. Whoever changes what is there
//! holds the account's lock, so two commands that start at once make one server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burst_agent::transport::IdleTimeout;
use burst_hcloud::retry::Retries;
use burst_hcloud::server::Server;
use burst_hcloud::volume::{PER_SERVER_MAX, Volume};
use burst_hcloud::{Client, Token};
use burst_protocol::FileName;
use burst_protocol::message::FromShim;
use tokio::runtime::Handle;

use super::audit::{AuditLog, Entry};
use super::credentials::Credentials;
use super::dial::{self, RETURN_DEADLINE};
use super::error;
use super::inventory::{Inventory, Stock};
use super::keys::{KeyPair, KeyStore};
use super::naming::{KEYS, Owner, PROJECT, ProjectKey};
use super::progress::Progress;
use super::provision::{Provided, Provision, device_of};
use super::request::ServerRequest;
use super::server::ServerSummary;
use crate::connection::Connection;
use crate::directories::unusable;
use crate::error::{Error, ErrorKind};

/// How long an agent may take to end its runs and to let go of a volume.
const AGENT_DEADLINE: Duration = Duration::from_secs(20);

/// Seconds after the first command at which is looked what else is there.
const FIRST_SWEEP_SECS: i64 = 300;

/// How long a volume may take to be detached.
const DETACH_DEADLINE: Duration = Duration::from_secs(60);

/// An account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(super) client: Client,
    pub(super) owner: Owner,
    pub(super) keys: KeyStore,
    pub(super) held: tokio::sync::Mutex<Option<Held>>,
    pub(super) uses: Mutex<Uses>,
    /// When the next sweep is due, in unix seconds by the API's clock; 0: there is
    /// nothing to look after. Changed only by who has the lock of `uses`.
    pub(super) next_sweep: AtomicI64,
    pub(super) audit: AuditLog,
    runtime: Handle,
}

/// What we hold.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) server: Server,
    pub(super) connection: Arc<Connection>,
    pub(super) volumes: BTreeMap<ProjectKey, Volume>,
    keys: KeyPair,
}

/// Who uses what.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub(super) projects: BTreeMap<ProjectKey, Use>,
    /// What the last command wished for the server.
    pub(super) server: Option<ServerLife>,
    /// Counts beginnings and ends of uses.
    pub(super) turns: u64,
}

/// How long a server is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerLife {
    pub(super) keep_alive: Option<i64>,
    pub(super) keep_paid_hour: bool,
    /// As wished for.
    pub(super) dead_man: Option<u64>,
}

/// How a project is used.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) commands: usize,
    pub(super) last: i64,
    /// Which of all beginnings and ends this was: tells apart what was used in the same
    /// second.
    turn: u64,
    pub(super) keep_alive: Option<i64>,
}

/// A command's use of a project; over when it is dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    account: Arc<Account>,
    project: ProjectKey,
}

/// A server that was reached for a project.
#[derive(Debug)]
pub(crate) struct ReachedServer {
    /// The connection to its agent.
    pub(crate) connection: Arc<Connection>,
    /// The project's disk, as the agent finds it.
    pub(crate) device: String,
    /// What it is and costs.
    pub(crate) server: ServerSummary,
    /// Its age in seconds, by the API's clock.
    pub(crate) age_secs: i64,
    /// Whether the server was made for this.
    pub(crate) fresh_server: bool,
    /// Whether the volume was made for this, and is cold.
    pub(crate) fresh_volume: bool,
    /// Keeps both from being deleted.
    pub(crate) _in_use: InUse,
}

impl Account {
    /// The account of these credentials; what has to be kept is kept in `state`.
    pub(crate) fn new(
        credentials: &Credentials,
        state: &Path,
        runtime: Handle,
    ) -> Result<Arc<Self>, Error> {
        let token = Token::parse(credentials.token()).map_err(|error| {
            Error::new(ErrorKind::Token, "the Hetzner token is malformed", error::NEW_TOKEN)
                .caused_by(&error)
        })?;
        let chance = Arc::new(chance);
        let client = Client::new(&credentials.endpoint, &token, Retries::default(), chance)
            .map_err(|error| error::api("use the Hetzner API", &error))?;
        let directory = state.join(credentials.account().as_str());
        Ok(Arc::new(Self {
            client,
            owner: owner(state)?,
            keys: KeyStore::new(directory.join("keys")),
            held: tokio::sync::Mutex::new(None),
            uses: Mutex::default(),
            next_sweep: AtomicI64::new(0),
            audit: AuditLog::new(state),
            runtime,
        }))
    }

    /// Reaches a server with the project's volume: without a call to the API where both
    /// are at hand. `anew` if the connection at hand was tried and does not work.
    pub(crate) async fn reach(
        self: &Arc<Self>,
        request: &ServerRequest,
        anew: bool,
        progress: &dyn Progress,
    ) -> Result<ReachedServer, Error> {
        let in_use = self.begin_use(request);
        let mut held = match self.held.try_lock() {
            Ok(held) => held,
            Err(_) => {
                progress.step("another command is preparing the server");
                self.held.lock().await
            }
        };
        let answered = held.as_ref().map(|held| held.server.id);
        self.revive(&mut held, request, anew).await;
        if let Some(found) = &*held
            && let Some(volume) = found.volumes.get(&request.project)
        {
            return Ok(reached(found, volume, (false, false), in_use));
        }
        progress.step("asking Hetzner what is there");
        let with_prices = request.spend_at_most.is_some();
        let stock = Stock::ask(&self.client, with_prices)
            .await
            .map_err(|error| error::api("ask Hetzner what is there", &error))?;
        let mut volumes = self.volumes_on_server(&stock.inventory);
        if volumes.len() >= PER_SERVER_MAX && !volumes.contains_key(&request.project) {
            progress.step("detaching the volume of the project that was idle longest");
            self.make_room(held.as_mut(), &stock.inventory, &mut volumes).await?;
        }
        let (client, owner, keys) = (&self.client, &self.owner, &self.keys);
        let provision = Provision { client, owner, keys, request, progress, answered };
        let provided = provision.provide(stock).await?;
        let Provided { server, keys, connection, volume, fresh_server, fresh_volume } = provided;
        self.keys.keep_only(&[&keys.name]);
        if fresh_server {
            let name = server.name.clone();
            self.audit.append(&Entry::ServerCreated { name, server: ServerSummary::of(&server) });
        }
        if fresh_volume {
            let (name, at) = (volume.name.clone(), volume.created.as_second());
            self.audit.append(&Entry::Volume { name, at, there: true });
        }
        if fresh_server {
            volumes.clear();
        }
        volumes.insert(request.project.clone(), volume.clone());
        let connection = Arc::new(connection);
        self.renew_lease_of(&server, &connection).await;
        let found = held.insert(Held { server, connection, volumes, keys });
        Ok(reached(found, &volume, (fresh_server, fresh_volume), in_use))
    }

    /// Connects again if the connection was lost while the server perhaps was not.
    async fn revive(&self, held: &mut Option<Held>, request: &ServerRequest, anew: bool) {
        let Some(found) = held else { return };
        if found.connection.is_open() && !anew {
            return;
        }
        let idle_timeout = IdleTimeout { gone_after: Duration::from_secs(request.gone_after_secs) };
        let address = found.connection.address().ip();
        match dial::connect(address, &found.keys, idle_timeout, RETURN_DEADLINE).await {
            Ok(connection) => found.connection = Arc::new(connection),
            Err(_) => *held = None,
        }
    }

    fn volumes_on_server(&self, inventory: &Inventory) -> BTreeMap<ProjectKey, Volume> {
        let server = inventory.server_of(&self.owner).map(|server| server.id);
        let on_it =
            inventory.volumes.iter().filter(|volume| server.is_some() && volume.server == server);
        let keyed = on_it.filter_map(|volume| {
            Some((ProjectKey::from_label(volume.labels.get(PROJECT)?), volume.clone()))
        });
        keyed.collect()
    }

    /// A server has as many volumes as it can have: the one that was idle longest goes.
    async fn make_room(
        &self,
        held: Option<&mut Held>,
        inventory: &Inventory,
        volumes: &mut BTreeMap<ProjectKey, Volume>,
    ) -> Result<(), Error> {
        let idlest = {
            let uses = lock(&self.uses);
            let idle = volumes.iter().filter(|(project, _)| {
                uses.projects.get(*project).is_none_or(|found| found.commands == 0)
            });
            let last = |project: &ProjectKey, volume: &Volume| {
                let by_label = super::naming::last_use(&volume.labels, volume.created.as_second());
                let by_use = uses.projects.get(project).map(|found| (found.last, found.turn));
                by_use.unwrap_or_default().max((by_label, 0))
            };
            idle.min_by_key(|(project, volume)| last(project, volume))
                .map(|(project, volume)| (project.clone(), volume.clone()))
        };
        let Some((idlest, volume)) = idlest else {
            let words = format!("all {PER_SERVER_MAX} volumes of the server are in use");
            return Err(Error::new(
                ErrorKind::Unavailable,
                words,
                "wait until a command of another project has ended, then run the command again",
            ));
        };
        volumes.remove(&idlest);
        let connection = match (held, inventory.server_of(&self.owner)) {
            (Some(held), _) => {
                held.volumes.remove(&idlest);
                held.connection.clone()
            }
            // A keeper that has just begun has not talked to it yet.
            (None, Some(server)) => self.call(server).await?,
            (None, None) => return Ok(()),
        };
        self.let_go(&connection, &volume).await
    }

    /// Calls the agent of a server of ours that this process has not talked to.
    pub(super) async fn call(&self, server: &Server) -> Result<Arc<Connection>, Error> {
        let name = server.labels.get(KEYS).map(String::as_str).unwrap_or_default();
        let keys = self.keys.load(name).map_err(|error| {
            error::silent("the keys of the server are not on this machine").caused_by(&error)
        })?;
        let address =
            server.address().ok_or_else(|| error::silent("the server has no public address"))?;
        let idle_timeout = IdleTimeout::default();
        dial::connect(address, &keys, idle_timeout, RETURN_DEADLINE).await.map(Arc::new)
    }

    /// Has the agent let go of a volume, then detaches it.
    pub(super) async fn let_go(
        &self,
        connection: &Arc<Connection>,
        volume: &Volume,
    ) -> Result<(), Error> {
        let device = FileName::new(device_of(volume).as_bytes()).map_err(|error| {
            error::other("the volume has no valid device name").caused_by(&error)
        })?;
        self.ask_agent(connection, FromShim::Release(device)).await?;
        let detached = async {
            let actions = self.client.detach_volume(volume.id).await?;
            self.client.wait(actions, DETACH_DEADLINE).await
        };
        detached.await.map_err(|error| error::api("detach a volume", &error))
    }

    /// Asks the agent one question, for a limited time.
    pub(super) async fn ask_agent(
        &self,
        connection: &Arc<Connection>,
        question: FromShim,
    ) -> Result<(), Error> {
        let (connection, runtime) = (connection.clone(), self.runtime.clone());
        let asked =
            tokio::task::spawn_blocking(move || connection.ask(&runtime, &question).map(drop));
        match tokio::time::timeout(AGENT_DEADLINE, asked).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(failure))) => Err(error::connection(failure)),
            Ok(Err(_)) | Err(_) => {
                Err(error::silent("the agent of the server does not answer in time"))
            }
        }
    }

    fn begin_use(self: &Arc<Self>, request: &ServerRequest) -> InUse {
        let now = self.client.now().as_second();
        let mut uses = lock(&self.uses);
        // From now on there is something to look after.
        if self.next_sweep.load(Ordering::Relaxed) == 0 {
            self.next_sweep.store(now + FIRST_SWEEP_SECS, Ordering::Relaxed);
        }
        uses.server = Some(ServerLife {
            keep_alive: request.keep_alive,
            keep_paid_hour: request.keep_paid_hour,
            dead_man: request.dead_man,
        });
        let commands = uses.projects.get(&request.project).map_or(0, |found| found.commands);
        let keep_alive = request.volume_keep_alive;
        uses.turns += 1;
        let turn = uses.turns;
        let found = Use { commands: commands + 1, last: now, turn, keep_alive };
        uses.projects.insert(request.project.clone(), found);
        InUse { account: self.clone(), project: request.project.clone() }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let now = self.account.client.now().as_second();
        let mut uses = lock(&self.account.uses);
        uses.turns += 1;
        let mut soonest = uses.server.and_then(|life| life.keep_alive);
        if let Some(found) = uses.projects.get_mut(&self.project) {
            found.commands -= 1;
            found.last = now;
            soonest = soonest.into_iter().chain(found.keep_alive).min();
        }
        let planned = Some(self.account.next_sweep.load(Ordering::Relaxed)).filter(|at| *at > 0);
        let next = planned.into_iter().chain(soonest.map(|secs| now + secs)).min();
        self.account.next_sweep.store(next.unwrap_or(now + FIRST_SWEEP_SECS), Ordering::Relaxed);
    }
}

fn reached(held: &Held, volume: &Volume, fresh: (bool, bool), in_use: InUse) -> ReachedServer {
    let device = device_of(volume).to_owned();
    let now = in_use.account.client.now().as_second();
    ReachedServer {
        connection: held.connection.clone(),
        device,
        age_secs: (now - held.server.created.as_second()).max(0),
        server: ServerSummary::of(&held.server),
        fresh_server: fresh.0,
        fresh_volume: fresh.1,
        _in_use: in_use,
    }
}

/// Who we are; made up at the first use.
fn owner(state: &Path) -> Result<Owner, Error> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let path = state.join("owner");
    let failed = |source: std::io::Error| unusable("use", &path, &source);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(|source| unusable("create", state, &source))?;
    for _ in 0..2 {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                return Owner::parse(&text).ok_or_else(|| {
                    Error::new(
                        ErrorKind::State,
                        format!("`{}` does not hold an owner's name", path.display()),
                        "delete the file; `cargo burst status --all` then still shows the \
                         servers that were created under the old name",
                    )
                });
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            Err(_) => {}
        }
        let own = Owner::from_bytes(&random_bytes().map_err(failed)?);
        let temporary = state.join(format!("owner.{}", std::process::id()));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                writeln!(file, "{}", own.as_str())?;
                file.sync_all()
            });
        written.map_err(failed)?;
        // Whoever comes first decides.
        match std::fs::hard_link(&temporary, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => std::fs::remove_file(&temporary).map_err(failed)?,
        }
    }
    Err(unusable("create", &path, &std::io::ErrorKind::NotFound.into()))
}

fn random_bytes() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())? {
        32 => Ok(bytes),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// For the jitter of retries; without random numbers all wait alike.
fn chance() -> f64 {
    let [a, b, c, d, ..] = random_bytes().unwrap_or([128; 32]);
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// What is guarded here is whole between two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
