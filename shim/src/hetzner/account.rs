//! The project at Hetzner that a token gives access to, and the state that this process
//! keeps for it: the server, the connection to its agent, its volumes and their users.
//!
//! One process holds an account at a time, usually the keeper. Tokens of one Hetzner project
//! share an account (`same_project`). Invariant: servers and volumes are created and
//! deleted only under the account's async lock, so two commands that start at the same time
//! create one server.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burst_agent::transport::IdleTimeout;
use burst_hcloud::pricing::Pricing;
use burst_hcloud::retry::Retries;
use burst_hcloud::server::Server;
use burst_hcloud::volume::{PER_SERVER_MAX, Volume};
use burst_hcloud::{Client, Id};

use super::audit::AuditLog;
use super::books::Books;
use super::credentials::{Credentials, Endpoint};
use super::dial::{self, RETURN_DEADLINE};
use super::differences::ToldDifferences;
use super::inventory::{Inventory, Stock};
use super::keys::KeyPair;
use super::lease_renewal::Renewal;
use super::lookups::Lookups;
use super::owner::Installation;
use super::progress::Progress;
use super::provision::{Provided, Provision};
use super::request::ServerRequest;
use super::seen::SeenResources;
use super::server::ServerSummary;
use super::uses::{ProjectUse, Uses};
use super::vanished::{self, Gone};
use super::volume::{self, Attached, device_of};
use super::{client, error, ipv6_route};
use crate::connection::server::ServerConnection;
use crate::connection::tcp_networks::{self, TcpNetworks};
use crate::error::{Error, ErrorKind};

/// The action in errors of the first request of most commands.
pub(super) const LIST_RESOURCES: &str = "list the servers and volumes at Hetzner";

/// An account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(super) client: Client,
    pub(super) endpoint: Endpoint,
    pub(super) installation: Arc<Installation>,
    pub(super) server: tokio::sync::Mutex<Option<HeldServer>>,
    pub(super) uses: Arc<Uses>,
    pub(super) books: Books,
    pub(super) seen: SeenResources,
    pub(super) lookups: Lookups,
    pub(super) networks: Arc<TcpNetworks>,
    differences: ToldDifferences,
}

/// The server that this process is connected to.
#[derive(Debug)]
pub(super) struct HeldServer {
    pub(super) server: Server,
    pub(super) agent: Arc<ServerConnection>,
    pub(super) volumes: Attached,
    pub(super) keys: KeyPair,
    /// Whether it does not exist any more.
    pub(super) gone: Gone,
}

/// What this process has known before the API was asked.
#[derive(Clone, Copy, Debug)]
struct KnownBefore {
    /// The server whose agent has answered it.
    server: Option<Id>,
    /// Whether that server has lost the project's volume.
    has_lost_volume: bool,
}

/// A server that was reached for a project. It is not deleted before this is dropped.
#[derive(Debug)]
pub(crate) struct ReachedServer {
    /// The connection to its agent.
    pub(crate) agent: Arc<ServerConnection>,
    /// The project's disk: its name below `/dev/disk/by-id` on the server.
    pub(crate) device: String,
    /// Type, location and price.
    pub(crate) server: ServerSummary,
    /// Its age in seconds, by the API's clock.
    pub(crate) age_secs: i64,
    /// Whether the server was created for this command.
    pub(crate) fresh_server: bool,
    /// Whether the volume was created for this command, so that its caches are empty.
    pub(crate) fresh_volume: bool,
    /// Keeps server and volume from being deleted.
    project_use: ProjectUse,
}

impl Account {
    /// The account of these credentials, with its keys and records below `state`. Calls
    /// nothing. Fails if the token or the endpoint is malformed, or `state` is unusable.
    pub(crate) fn new(credentials: &Credentials, state: &Path) -> Result<Arc<Self>, Error> {
        let client = client::of(credentials, "use the Hetzner API", Retries::default())?;
        let installation = Arc::new(Installation::open(state)?);
        let books = Books {
            log: AuditLog::new(state),
            account: credentials.account().as_str().to_owned(),
            installation: installation.clone(),
        };
        Ok(Arc::new(Self {
            client,
            endpoint: credentials.endpoint.clone(),
            installation,
            server: tokio::sync::Mutex::new(None),
            uses: Arc::default(),
            books,
            seen: SeenResources::default(),
            lookups: Lookups::default(),
            networks: Arc::new(TcpNetworks::new(state.join(tcp_networks::FILE))),
            differences: ToldDifferences::default(),
        }))
    }

    /// The name of the server that this process is connected to; `None`, too, while a command
    /// creates or deletes one.
    pub(crate) fn held_server(&self) -> Option<String> {
        let held = self.server.try_lock().ok()?;
        held.as_ref().map(|held| held.server.name.clone())
    }

    /// Reaches a server with the project's volume. Where this process holds both, the API
    /// is not called. `anew` if the connection was tried and does not work.
    pub(crate) async fn reach(
        &self,
        request: &ServerRequest,
        anew: bool,
        progress: &dyn Progress,
    ) -> Result<ReachedServer, Error> {
        // Declared first, so that a command that fails ends its use before it releases the lock:
        // who takes the lock then sees what is idle.
        let mut held;
        let project_use = self.uses.begin(request, &self.client);
        held = match self.server.try_lock() {
            Ok(held) => held,
            Err(_) => {
                progress.step("waiting for another command that is preparing the server");
                self.server.lock().await
            }
        };
        let answered = held.as_ref().map(|held| held.server.id);
        self.reconnect(&mut held, request, anew).await;
        let had_volume = |held: &HeldServer| held.volumes.contains_key(&request.project);
        let has_lost_volume = anew && held.as_ref().is_some_and(had_volume);
        if let Some(found) = &*held
            && let Some(volume) = found.volumes.get(&request.project)
            && !anew
        {
            self.tell_of_tcp(&found.agent, progress).await;
            self.tell_differences(request, &found.server, volume, progress);
            return Ok(self.reached(found, volume, (false, false), request, project_use));
        }
        progress.step("listing servers and volumes at Hetzner");
        let asked = Instant::now();
        let stock = Stock::ask(&self.client).await;
        let stock = stock.map_err(|error| error::api(&self.endpoint, LIST_RESOURCES, &error));
        if let (Err(error), Some(found)) = (&stock, &*held)
            && let Some(volume) = found.volumes.get(&request.project)
        {
            // It answers, so the command is not to fail for want of the API.
            tracing::warn!("the volume is not verified: {}", error.one_line());
            return Ok(self.reached(found, volume, (false, false), request, project_use));
        }
        let stock = stock?;
        let known = KnownBefore { server: answered, has_lost_volume };
        let took = asked.elapsed();
        let (volume, fresh) =
            self.provide(&mut held, (stock, took), request, known, progress).await?;
        let Some(found) = &*held else { return Err(error::incomplete("no server is held")) };
        Ok(self.reached(found, &volume, fresh, request, project_use))
    }

    /// Provides a server with the project's volume from what the API has listed, which `took` it
    /// so long. Returns the volume, and whether server and volume were created.
    async fn provide(
        &self,
        held: &mut Option<HeldServer>,
        (stock, took): (Stock, Duration),
        request: &ServerRequest,
        known: KnownBefore,
        progress: &dyn Progress,
    ) -> Result<(Volume, (bool, bool)), Error> {
        self.note_list(&stock.inventory);
        self.leave_to_other(&stock.inventory, progress)?;
        let (owner, keys) = (self.installation.owner(), self.installation.keys());
        let pricing = stock.pricing.clone();
        let images = Some(stock.images.as_slice());
        let spent =
            self.books.correct(&self.client, &stock.inventory, images, Some(&pricing), took);
        let limited = request.within_budget(spent.await.total);
        // Under the lock, so that commands that have begun since have created nothing.
        let (now, changes) = (self.client.now().as_second(), self.uses.changes());
        self.uses.listed(&stock.inventory, &owner, now, changes);
        self.uses.may_create();
        if stock.inventory.server_of(&owner).is_none() {
            ipv6_route::check(request)?;
        }
        let mut volumes = volume::attached(&stock.inventory, &owner);
        if volumes.len() >= PER_SERVER_MAX && !volumes.contains_key(&request.project) {
            progress.step("detaching the volume of the project that has been idle longest");
            self.detach_longest_idle(held.as_mut(), &stock.inventory, &mut volumes).await?;
        }
        let provision = Provision {
            client: &self.client,
            endpoint: &self.endpoint,
            owner: &owner,
            books: &self.books,
            keys: &keys,
            networks: &self.networks,
            request: &limited,
            progress,
            answered: known.server,
            has_lost_volume: known.has_lost_volume,
        };
        let provided = provision.provide(stock).await?;
        self.record(&provided, &pricing);
        let Provided { server, keys, connection, volume, fresh_server, fresh_volume } = provided;
        self.uses.holds(&server, &volume);
        if fresh_server {
            volumes.clear();
        }
        volumes.insert(request.project.clone(), volume.clone());
        let agent = Arc::new(connection);
        self.tell_of_tcp(&agent, progress).await;
        self.tell_differences(request, &server, &volume, progress);
        // A server is not left without a lease.
        drop(self.renewal(&server).renew(&agent).await);
        let gone = self.watch_connection(&server, &agent, request);
        *held = Some(HeldServer { server, agent, volumes, keys, gone });
        Ok((volume, (fresh_server, fresh_volume)))
    }

    /// The renewal of a server's lease.
    pub(super) fn renewal(&self, server: &Server) -> Renewal {
        Renewal {
            client: self.client.clone(),
            installation: self.installation.clone(),
            uses: self.uses.clone(),
            server: server.clone(),
        }
    }

    /// Connects to the agent of a server of ours that this process is not connected to.
    pub(super) async fn connect(&self, server: &Server) -> Result<Arc<ServerConnection>, Error> {
        let keys = self.installation.keys();
        let keys = keys.of_server(server).map_err(|error| error::missing_keys(&error))?;
        let address = server
            .address()
            .ok_or_else(|| error::unusable_server("the server has no public address"))?;
        dial::connect(address, &keys, IdleTimeout::default(), RETURN_DEADLINE, &self.networks)
            .await
            .map(Arc::new)
    }

    /// Tells the user, once for each network, that it blocks UDP.
    async fn tell_of_tcp(&self, agent: &ServerConnection, progress: &dyn Progress) {
        let Some(network) = agent.tcp_network() else { return };
        if self.networks.is_news(network).await {
            progress.say(
                "this network blocks UDP: the server is reached over TCP, which takes each \
                 command two more round trips",
            );
        }
    }

    /// Tells the user, once for each project, what is not as the settings ask for.
    fn tell_differences(
        &self,
        request: &ServerRequest,
        server: &Server,
        volume: &Volume,
        progress: &dyn Progress,
    ) {
        for text in self.differences.news(request, &ServerSummary::of(server), volume) {
            progress.say(&text);
        }
    }

    /// Watches whether a server exists that this process is connected to, and renews its lease.
    pub(super) fn watch_connection(
        &self,
        server: &Server,
        agent: &Arc<ServerConnection>,
        request: &ServerRequest,
    ) -> Gone {
        self.renewal(server).begin(agent);
        vanished::begin(agent, server.id, &self.client, &self.uses, request.idle_timeout())
    }

    /// Connects again if the connection is closed, or `anew`. A server that does not answer is
    /// no longer held.
    async fn reconnect(&self, held: &mut Option<HeldServer>, request: &ServerRequest, anew: bool) {
        let Some(found) = held else { return };
        if found.agent.is_open().await && !anew {
            return;
        }
        if found.gone.is_known() {
            *held = None;
            return;
        }
        let (address, idle_timeout) = (found.agent.address().ip(), request.idle_timeout());
        let dialled =
            dial::connect(address, &found.keys, idle_timeout, RETURN_DEADLINE, &self.networks);
        match dialled.await {
            Ok(connection) => {
                found.agent = Arc::new(connection);
                found.gone = self.watch_connection(&found.server, &found.agent, request);
            }
            Err(error) => {
                tracing::info!("the server does not answer: {}", error.one_line());
                *held = None;
            }
        }
    }

    /// Makes room on a server that has as many volumes as Hetzner allows.
    async fn detach_longest_idle(
        &self,
        held: Option<&mut HeldServer>,
        inventory: &Inventory,
        volumes: &mut Attached,
    ) -> Result<(), Error> {
        let (project, volume) = volume::longest_idle(volumes, &self.uses).ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!("all {PER_SERVER_MAX} volumes of the server are in use"),
                "wait until a command of another project has ended, then run the command again",
            )
        })?;
        volumes.remove(&project);
        let agent = match (held, inventory.server_of(&self.installation.owner())) {
            (Some(held), _) => {
                held.volumes.remove(&project);
                held.agent.clone()
            }
            // A new keeper is not connected to it yet.
            (None, Some(server)) => self.connect(server).await?,
            (None, None) => return Ok(()),
        };
        volume::detach(&self.client, &self.endpoint, &agent, &volume).await
    }

    /// Records what was created.
    fn record(&self, provided: &Provided, pricing: &Pricing) {
        let Provided { server, volume, .. } = provided;
        self.seen.add(server.id, volume.id);
        if provided.fresh_server {
            tracing::info!(name = server.name, "created a server");
            self.books.server_created(server, pricing);
        }
        if provided.fresh_volume {
            tracing::info!(name = volume.name, "created a volume");
            self.books.volume_created(volume, pricing);
        }
    }

    /// A server that is held, for a command.
    pub(super) fn reached(
        &self,
        held: &HeldServer,
        volume: &Volume,
        (fresh_server, fresh_volume): (bool, bool),
        request: &ServerRequest,
        project_use: ProjectUse,
    ) -> ReachedServer {
        self.lookups.forget();
        let now = self.client.now().as_second();
        self.uses.reached(request, (fresh_server, fresh_volume), now);
        self.uses.note_server(held.server.created.as_second());
        let age_secs = now - held.server.created.as_second();
        ReachedServer {
            agent: held.agent.clone(),
            device: device_of(volume).to_owned(),
            server: ServerSummary::of(&held.server),
            age_secs: age_secs.max(0),
            fresh_server,
            fresh_volume,
            project_use,
        }
    }
}

impl ReachedServer {
    /// Ends the use of the server.
    pub(crate) fn release(self) {
        drop(self.project_use);
    }
}
