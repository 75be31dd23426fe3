//! Providing a server with a project's volume: both are adopted if they exist, else
//! created.
//!
//! A cold start waits for the API five times in sequence: the inventory; an SSH key; the
//! server, with the volume created meanwhile; the actions of both; the order to attach the
//! volume.
//! With an existing volume the last one is not needed, since the server is created with
//! it. The agent is dialled as soon as the server's address is known. That the volume is
//! attached is verified beside that, and beside the run.
//!
//! Invariant: every call adopts. Resources that an interrupted command has left behind
//! have our names and labels, and the next command continues with them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use burst_agent::transport::SERVER_PORT;
use burst_hcloud::action::Action;
use burst_hcloud::firewall::Firewall;
use burst_hcloud::server::{Server, ServerStatus};
use burst_hcloud::volume::Volume;
use burst_hcloud::{Client, Error as ApiError, Id};
use tokio::sync::{Notify, mpsc};

use super::announcement;
use super::attachment::{self, Attachment};
use super::books::Books;
use super::credentials::Endpoint;
use super::deletion::DELETION_DEADLINE;
use super::dial::{self, BOOT_DEADLINE, LAST_ATTEMPT};
use super::error;
use super::inventory::{Inventory, Stock};
use super::keys::{KeyPair, KeyStore};
use super::naming::Owner;
use super::orders::{self, Orders, TcpCompletion};
use super::patience::Patience;
use super::progress::Progress;
use super::refusal::{Reason, check_volume_price};
use super::request::ServerRequest;
use super::volume::device_of;
use crate::connection::server::ServerConnection;
use crate::connection::tcp_networks::TcpNetworks;
use crate::error::Error;

/// How long the creation of server and volume may take.
const ACTION_DEADLINE: Duration = BOOT_DEADLINE;

/// The hint where the location of the server has no space for another volume.
const ELSEWHERE: &str = "`cargo burst down` deletes the server; the next command creates one in \
     another location of `region`";

/// One command's provisioning.
pub(super) struct Provision<'a> {
    /// Calls the API.
    pub(super) client: &'a Client,
    /// The API, for errors.
    pub(super) endpoint: &'a Endpoint,
    /// The owner of all resources.
    pub(super) owner: &'a Owner,
    /// The record of what was created and deleted.
    pub(super) books: &'a Books,
    /// The keys of servers.
    pub(super) keys: &'a KeyStore,
    /// The networks that block UDP.
    pub(super) networks: &'a Arc<TcpNetworks>,
    /// The request of the command.
    pub(super) request: &'a ServerRequest,
    /// Shows the progress.
    pub(super) progress: &'a dyn Progress,
    /// The server whose agent has answered this process before.
    pub(super) answered: Option<Id>,
    /// Whether the project's volume was attached to that server when this process asked last.
    pub(super) has_lost_volume: bool,
}

/// A server that is ready.
#[derive(Debug)]
pub(super) struct Provided {
    /// The server.
    pub(super) server: Server,
    /// Its keys.
    pub(super) keys: KeyPair,
    /// The connection to its agent.
    pub(super) connection: ServerConnection,
    /// The project's volume, attached or being attached.
    pub(super) volume: Volume,
    /// Whether the server was created.
    pub(super) fresh_server: bool,
    /// Whether the volume was created, so that its caches are empty.
    pub(super) fresh_volume: bool,
}

/// A server and its volume, created or adopted, with the actions in progress on them.
pub(super) struct Pair {
    pub(super) server: Server,
    pub(super) volume: Volume,
    pub(super) actions: Vec<Action>,
    /// Whether the volume is attached, or the server is created with it.
    pub(super) attached: bool,
    pub(super) fresh_server: bool,
    pub(super) fresh_volume: bool,
}

impl Provision<'_> {
    /// Provides a server with the project's volume.
    pub(super) async fn provide(&self, stock: Stock) -> Result<Provided, Error> {
        let volume = stock.inventory.volume_of(self.owner, &self.request.project).cloned();
        self.tell_losses(&stock.inventory, volume.as_ref());
        let pair = match stock.inventory.server_of(self.owner) {
            Some(server) if server.status != ServerStatus::Deleting => {
                self.adopt(&stock, server.clone(), volume.clone()).await?
            }
            previous => {
                if let Some(server) = previous {
                    self.until_deleted(server).await?;
                }
                self.create(&stock, volume.clone()).await?
            }
        };
        if let Some(firewall) = stock.firewall {
            tokio::spawn(open_tcp(self.client.clone(), firewall));
        }
        let provided = self.bring_up(pair).await?;
        if let Some(old) = volume.filter(|old| old.id != provided.volume.id) {
            self.progress.warn(&format!(
                "the server is in {}, but the project's volume was in {}: the build starts with \
                 empty caches, and the old volume is deleted",
                provided.server.location.name, old.location.name
            ));
            if let Err(error) = self.delete_volume(&old, "replaced").await {
                self.progress.warn(&format!(
                    "the old volume is deleted when it has been idle: {}",
                    error.one_line()
                ));
            }
        }
        Ok(provided)
    }

    /// Tells the user what is not as this process has left it.
    fn tell_losses(&self, inventory: &Inventory, volume: Option<&Volume>) {
        let Some(known) = self.answered else { return };
        let exists = |server: &Server| server.status != ServerStatus::Deleting;
        if !inventory.servers.iter().any(|server| server.id == known && exists(server)) {
            self.progress.warn("the server was deleted, not by this machine: creating another one");
            return;
        }
        if !self.has_lost_volume {
            return;
        }
        match volume {
            None => self.progress.warn(
                "the project's volume was deleted, not by this machine: the build starts with \
                 empty caches",
            ),
            Some(volume) if volume.server != Some(known) => self.progress.warn(
                "the project's volume was detached from the server, not by this machine: attaching \
                 it again",
            ),
            Some(_) => {}
        }
    }

    /// Waits until a server that is being deleted does not exist any more. The API reports
    /// no events, so it is polled at the pace of its official client.
    pub(super) async fn until_deleted(&self, server: &Server) -> Result<(), Error> {
        self.progress.step("waiting for the deletion of the previous server");
        let began = tokio::time::Instant::now();
        for looks in 0.. {
            let found = self.client.server(server.id).await;
            match found.map_err(|error| self.api("look up the server", &error))? {
                None => return Ok(()),
                Some(_) if began.elapsed() > DELETION_DEADLINE => break,
                Some(_) => tokio::time::sleep(burst_hcloud::action::pause(looks)).await,
            }
        }
        Err(error::incomplete(format!(
            "the server {} was not deleted within {} s",
            server.name,
            DELETION_DEADLINE.as_secs()
        )))
    }

    /// Adopts the existing server, and creates the project's volume if there is none in its
    /// location.
    async fn adopt(
        &self,
        stock: &Stock,
        server: Server,
        volume: Option<Volume>,
    ) -> Result<Pair, Error> {
        let mut actions = Vec::new();
        if server.status == ServerStatus::Off {
            self.progress.step("switching the server on");
            let switched = self.client.power_on(server.id).await;
            actions = switched.map_err(|error| self.api("switch the server on", &error))?;
        }
        let here = volume.filter(|volume| volume.location.name == server.location.name);
        let (volume, fresh_volume) = match here {
            Some(volume) => (volume, false),
            None => {
                if let Some(limit) = self.request.spend_at_most {
                    check_volume_price(self.request.volume_gb, &stock.pricing, limit)?;
                }
                let location = &server.location.name;
                self.progress.say(&announcement::volume(self.request, stock.prices(), location));
                self.progress.step("creating the volume");
                let made = self.create_volume(location).await;
                let made = made.map_err(|error| {
                    let failed = self.api("create a volume", &error);
                    match Reason::of_volume(&error) {
                        Some(_) => failed.with_hint(ELSEWHERE),
                        None => failed,
                    }
                })?;
                let (volume, creation) = made.into_parts();
                actions.extend(creation);
                (volume, true)
            }
        };
        let attached = volume.server == Some(server.id);
        Ok(Pair { server, volume, actions, attached, fresh_server: false, fresh_volume })
    }

    /// Waits for the actions and attaches the volume; meanwhile connects to the agent. That the
    /// volume is attached is awaited only as long as there is no connection.
    async fn bring_up(&self, pair: Pair) -> Result<Provided, Error> {
        let Pair { server, volume, actions, attached, fresh_server, fresh_volume } = pair;
        let keys = self.keys.of_server(&server).map_err(|error| error::missing_keys(&error))?;
        let address = server.address().ok_or_else(|| {
            error::unusable_server("Hetzner has assigned no public address to the server")
        })?;
        self.progress.disk(device_of(&volume));
        let name = format!("the {} server in {}", server.server_type.name, server.location.name);
        if server.status != ServerStatus::Running {
            let location = &server.location.name;
            let text = announcement::interrupted(self.request, &server.name, location);
            self.progress.pays_for(&text);
        }
        self.progress.step(&match fresh_server {
            true => format!("waiting for {name} to boot"),
            false => format!("connecting to {name}"),
        });
        let (attaching, actions): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| action.command == attachment::COMMAND);
        let attachment = Attachment::new(self.client, self.endpoint, &volume, &server);
        let (prepared, connected) = (Notify::new(), Notify::new());
        let ready = async {
            let waited = self.client.wait(actions, ACTION_DEADLINE).await;
            waited.map_err(|error| self.api("prepare the server", &error))?;
            prepared.notify_one();
            let attaching = match attached {
                true if fresh_server => attaching,
                true => return Ok(()),
                false => attachment.begin().await?,
            };
            self.follow(attachment, attaching, &connected).await
        };
        let is_switched_on = fresh_server || server.status == ServerStatus::Off;
        let runs = async {
            match server.status {
                ServerStatus::Running => Ok(()),
                _ if is_switched_on => {
                    prepared.notified().await;
                    Ok(())
                }
                _ => self.until_running(&server).await,
            }
        };
        let dialled = async {
            let connection = self.dial(&server, address, &keys, runs).await?;
            connected.notify_one();
            Ok(connection)
        };
        let ((), connection) = tokio::try_join!(ready, dialled)?;
        Ok(Provided { server, keys, connection, volume, fresh_server, fresh_volume })
    }

    /// Follows an attachment until it is complete, or until the agent is `connected`: it goes on
    /// then beside the run, whose agent waits for the device.
    async fn follow(
        &self,
        attachment: Attachment,
        attaching: Vec<Action>,
        connected: &Notify,
    ) -> Result<(), Error> {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut completed = tokio::spawn(attachment.complete(attaching, tell));
        loop {
            tokio::select! {
                biased;
                Some(text) = told.recv() => self.progress.warn(&text),
                done = &mut completed => {
                    let failed = |error| Err(error::incomplete("it ended early").caused_by(&error));
                    return done.unwrap_or_else(failed);
                }
                () = connected.notified() => return Ok(()),
            }
        }
    }

    /// Waits until a server that another command has created runs, as the API says.
    async fn until_running(&self, server: &Server) -> Result<(), Error> {
        for looks in 0.. {
            let found = self.client.server(server.id).await;
            match found.map_err(|error| self.api("look up the server", &error))? {
                None => break,
                Some(found) if found.status == ServerStatus::Running => return Ok(()),
                Some(_) => tokio::time::sleep(burst_hcloud::action::pause(looks)).await,
            }
        }
        Err(self.deleted(server))
    }

    /// Connects to the agent of a server. Once the server `runs`, its agent answers soon, or its
    /// port is blocked.
    async fn dial(
        &self,
        server: &Server,
        address: IpAddr,
        keys: &KeyPair,
        runs: impl Future<Output = Result<(), Error>>,
    ) -> Result<ServerConnection, Error> {
        let idle_timeout = self.request.idle_timeout();
        let dialled = dial::connect(address, keys, idle_timeout, BOOT_DEADLINE, self.networks);
        let silence = async {
            runs.await?;
            let age = self.client.now().as_second() - server.created.as_second();
            let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
            let has_answered = self.answered == Some(server.id);
            let patience = Patience::with(age, has_answered, self.request.port_secs);
            tokio::time::sleep(patience.told_after).await;
            self.progress.step(&format!(
                "the server runs, but port {SERVER_PORT} does not answer over UDP or TCP: a \
                 firewall may block it"
            ));
            tokio::time::sleep(patience.then_fails_after).await;
            Ok::<(), Error>(())
        };
        tokio::select! {
            connected = dialled => return connected,
            waited = silence => waited?,
        }
        let last = dial::attempt(address, keys, idle_timeout, LAST_ATTEMPT, self.networks).await;
        let error = match last {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let found = self.client.server(server.id).await;
        match found.map_err(|error| self.api("look up the server", &error))? {
            None => Err(self.deleted(server)),
            Some(found) => {
                let name = format!("{} in {}", found.name, found.location.name);
                Err(error::unreachable_port(&name, error))
            }
        }
    }

    fn deleted(&self, server: &Server) -> Error {
        error::incomplete(format!("the server {} was deleted while it booted", server.name))
    }

    pub(super) fn orders(&self) -> Orders<'_> {
        let now = self.client.now().as_second();
        Orders { owner: self.owner, request: self.request, now }
    }

    pub(super) fn api(&self, action: &str, error: &ApiError) -> Error {
        error::api(self.endpoint, action, error)
    }
}

/// Opens the port of TCP in a firewall of an earlier version, once. Only networks that block UDP
/// wait for it; if it fails, the next command tries it again.
async fn open_tcp(client: Client, firewall: Firewall) {
    let Some(TcpCompletion { rules, labels }) = orders::tcp_completion(&firewall) else { return };
    let completed = async {
        if let Some(rules) = &rules {
            client.set_firewall_rules(firewall.id, rules).await?;
        }
        client.label_firewall(firewall.id, &labels).await
    };
    match completed.await {
        Ok(()) => tracing::info!("opened the port of TCP in the firewall"),
        Err(error) => tracing::warn!("cannot open the port of TCP in the firewall: {error}"),
    }
}
