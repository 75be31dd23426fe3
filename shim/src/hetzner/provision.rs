//! Making what a project needs: a server, if there is none, and the project's volume on
//! it.
//!
//! A cold start waits for the API four times, one after the other: what is there; server
//! and volume, created at once; both actions; the volume's attachment. With a warm volume
//! the last one falls away, since the server is created with it. The server is called
//! from the moment that its address is known.
//!
//! All calls adopt: whatever an interrupted provisioning has left behind bears our name
//! and our labels, and the next one goes on with it.

use std::time::Duration;

use burst_agent::transport::IdleTimeout;
use burst_hcloud::action::Action;
use burst_hcloud::firewall::{NewFirewall, Rule};
use burst_hcloud::image::Image;
use burst_hcloud::server::{NewServer, Server, ServerStatus};
use burst_hcloud::volume::{NewVolume, Volume};
use burst_hcloud::{Client, Code, Error as ApiError, Id, Made};

use super::dial::{self, AGENT_PORT, BOOT_DEADLINE, SILENCE_DEADLINE};
use super::error;
use super::inventory::Stock;
use super::keys::{KeyPair, KeyStore};
use super::naming::{
    self, FIREWALL, FIREWALL_NAME, HOST, KEEP_PAID_HOUR, KEYS, Owner, PROJECT, PROJECT_NAME,
    SERVER, VOLUME,
};
use super::progress::Progress;
use super::request::ServerRequest;
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};

/// How long server and volume may take to be made.
const ACTION_DEADLINE: Duration = BOOT_DEADLINE;

/// How long a deleted server may take to be gone.
const GONE_DEADLINE: Duration = Duration::from_secs(120);

/// How often a locked volume or server is tried again: five times, after 1, 2, 4, 8 and
/// 16 seconds, as the Terraform provider does.
const LOCKED_TRIES: u32 = 5;

/// What it takes to provision.
pub(crate) struct Provision<'a> {
    /// The API.
    pub(crate) client: &'a Client,
    /// Whose things these are.
    pub(crate) owner: &'a Owner,
    /// The keys of servers.
    pub(crate) keys: &'a KeyStore,
    /// What is wished for.
    pub(crate) request: &'a ServerRequest,
    /// Who is told.
    pub(crate) progress: &'a dyn Progress,
    /// The server whose agent has answered before.
    pub(crate) answered: Option<Id>,
}

/// What was provided.
#[derive(Debug)]
pub(crate) struct Provided {
    /// The server.
    pub(crate) server: Server,
    /// Its keys.
    pub(crate) keys: KeyPair,
    /// The way to its agent.
    pub(crate) connection: Connection,
    /// The project's volume, attached or about to be.
    pub(crate) volume: Volume,
    /// Whether the server is new.
    pub(crate) fresh_server: bool,
    /// Whether the volume is new, and cold.
    pub(crate) fresh_volume: bool,
}

/// A server and its volume, made or adopted, with what is under way on them.
struct Pair {
    server: Server,
    volume: Volume,
    under_way: Vec<Action>,
    /// Whether the server was created with the volume.
    attached: bool,
    fresh_server: bool,
    fresh_volume: bool,
}

impl Provision<'_> {
    /// Provides a server with the project's volume, out of what is there.
    pub(crate) async fn provide(&self, stock: Stock) -> Result<Provided, Error> {
        let volume = stock.inventory.volume_of(self.owner, &self.request.project).cloned();
        let pair = match stock.inventory.server_of(self.owner) {
            Some(server) if self.is_usable(server).await? => {
                self.on_server(server.clone(), volume.clone()).await?
            }
            _ => self.create(&stock, volume.clone()).await?,
        };
        let provided = self.bring_up(pair).await?;
        if let Some(old) = volume.filter(|old| old.id != provided.volume.id) {
            self.progress.warn(&format!(
                "the server is in {}, the project's volume was in {}: its cache is cold, and the \
                 old volume is deleted",
                provided.server.location.name, old.location.name
            ));
            // If this fails, the sweep finds it.
            drop(self.client.delete_volume(old.id).await);
        }
        Ok(provided)
    }

    /// Whether a server of ours can be gone on with; else it is gone when this returns.
    async fn is_usable(&self, server: &Server) -> Result<bool, Error> {
        let name = server.labels.get(KEYS).map(String::as_str).unwrap_or_default();
        match (&server.status, self.keys.load(name)) {
            (ServerStatus::Deleting, _) => {}
            (_, Ok(_)) => return Ok(true),
            (_, Err(_)) => {
                self.progress.warn("the keys of the server that is there are lost: it is replaced");
                self.client
                    .delete_server(server.id)
                    .await
                    .map_err(|error| error::api("delete the server", &error))?;
            }
        }
        self.until_gone(server).await?;
        Ok(false)
    }

    async fn until_gone(&self, server: &Server) -> Result<(), Error> {
        self.progress.step("waiting until the last server is gone");
        let began = tokio::time::Instant::now();
        for looks in 0.. {
            let found = self.client.server(server.id).await;
            match found.map_err(|error| error::api("look for the server", &error))? {
                None => return Ok(()),
                Some(_) if began.elapsed() > GONE_DEADLINE => break,
                Some(_) => tokio::time::sleep(burst_hcloud::action::pause(looks)).await,
            }
        }
        Err(error::other(format!("the server {} was not deleted in time", server.id)))
    }

    /// A server is there: it needs the project's volume.
    async fn on_server(&self, server: Server, volume: Option<Volume>) -> Result<Pair, Error> {
        let mut under_way = Vec::new();
        if server.status == ServerStatus::Off {
            self.progress.step("switching the server on");
            under_way = self
                .client
                .power_on(server.id)
                .await
                .map_err(|error| error::api("switch the server on", &error))?;
        }
        let here = volume.filter(|volume| volume.location.name == server.location.name);
        let (volume, fresh_volume) = match here {
            Some(volume) => (volume, false),
            None => {
                self.progress.step(&format!("creating a {} GB volume", self.request.volume_gb));
                let made = self.new_volume(&server.location.name).await;
                let made = made.map_err(|error| error::api("create a volume", &error))?;
                let (volume, actions) = made.into_parts();
                under_way.extend(actions);
                (volume, true)
            }
        };
        let attached = volume.server == Some(server.id);
        Ok(Pair { server, volume, under_way, attached, fresh_server: false, fresh_volume })
    }

    /// Creates a server, in the first place that has one.
    async fn create(&self, stock: &Stock, volume: Option<Volume>) -> Result<Pair, Error> {
        if stock.images.is_empty() {
            return Err(Error::new(
                ErrorKind::NoImage,
                "there is no image to create a server from",
                "create one with `cargo burst image build`",
            ));
        }
        let at = volume.as_ref().map(|volume| volume.location.name.as_str());
        let mut refusals = Vec::new();
        let (keys, user_data) = self.keys.make(self.request.gone_after_secs).map_err(|error| {
            error::other("cannot create the keys of a server").caused_by(&error)
        })?;
        for (server_type, location) in self.request.candidates(at) {
            let Some(image) = image_for(&server_type, &stock.images) else {
                refusals.push(format!("{server_type}: there is no image of its architecture"));
                continue;
            };
            self.check_price(stock, &server_type, &location)?;
            let here = volume.clone().filter(|volume| volume.location.name == location);
            let with_volume = match &here {
                Some(_) => "",
                None => " and its volume",
            };
            self.progress
                .step(&format!("creating a {server_type} server in {location}{with_volume}"));
            let mut new = NewServer {
                name: self.owner.server_name(),
                server_type: server_type.clone(),
                location: location.clone(),
                image: image.id,
                volumes: here.iter().map(|volume| volume.id).collect(),
                labels: self.server_labels(&keys),
                user_data: user_data.to_text(),
                automount: false,
            };
            match self.try_create(stock, &mut new, here).await? {
                Ok(pair) => return Ok(pair),
                Err(refusal) => refusals.push(format!("{server_type} in {location}: {refusal}")),
            }
        }
        let error = Error::new(
            ErrorKind::Unavailable,
            "no server is available in the locations and of the types that are set",
            error::OUT_OF_STOCK,
        );
        Err(refusals.into_iter().fold(error, Error::cause))
    }

    /// Before money is spent.
    fn check_price(&self, stock: &Stock, server_type: &str, location: &str) -> Result<(), Error> {
        let Some(limit) = self.request.spend_at_most else { return Ok(()) };
        let known = stock.types.iter().find(|known| known.name == server_type);
        let price = known.and_then(|known| known.price_in(location));
        let hourly = price.map_or(0.0, |price| price.price_hourly.net());
        if hourly <= limit {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::CostLimit,
            format!("a {server_type} in {location} costs EUR {hourly:.2} per started hour"),
            "raise `--max-cost` or `monthly_budget`, or set a cheaper `server_type`",
        )
        .cause(format!("the limit is EUR {:.2}", limit.max(0.0))))
    }

    /// One candidate. The inner error is why another place may do better.
    async fn try_create(
        &self,
        stock: &Stock,
        new: &mut NewServer,
        here: Option<Volume>,
    ) -> Result<Result<Pair, String>, Error> {
        let ours = naming::identity(SERVER, self.owner);
        let location = new.location.clone();
        let server = async {
            loop {
                let made = self.client.create_server(new, &ours).await;
                match made {
                    // One that is on its way out still has the name.
                    Ok(Made::Adopted(server)) if server.status == ServerStatus::Deleting => {
                        self.until_gone(&server).await?;
                    }
                    // The volume is just being made, or comes from a server that is
                    // going: it is attached later.
                    Err(error) if is_volume_busy(&error) && !new.volumes.is_empty() => {
                        new.volumes.clear();
                    }
                    made => return Result::<_, Error>::Ok((made, !new.volumes.is_empty())),
                }
            }
        };
        let volume = async {
            match &here {
                Some(_) => Ok(None),
                None => self.new_volume(&location).await.map(Some),
            }
        };
        let firewall = async {
            match stock.firewall {
                Some(_) => Ok(()),
                None => self.new_firewall().await,
            }
        };
        let (server, volume, firewall) = tokio::join!(server, volume, firewall);
        let (server, with_volume) = server?;
        let server = match server {
            Ok(made) => made,
            Err(error) if is_no_room(&error) => {
                if let Ok(Some(Made::Created(volume, actions))) = volume {
                    self.discard_volume(volume, actions).await;
                }
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(self.explained(new, error).await),
        };
        firewall.map_err(|error| error::api("create the firewall", &error))?;
        let volume = volume.map_err(|error| error::api("create a volume", &error))?;
        let fresh_server = matches!(server, Made::Created(..));
        let (server, mut under_way) = server.into_parts();
        let (volume, fresh_volume, attached) = match (volume, here) {
            (Some(made), _) => {
                let (volume, actions) = made.into_parts();
                under_way.extend(actions);
                (volume, true, false)
            }
            (None, Some(volume)) => (volume, false, fresh_server && with_volume),
            (None, None) => return Err(error::other("the project has no volume")),
        };
        Ok(Ok(Pair { server, volume, under_way, attached, fresh_server, fresh_volume }))
    }

    /// A volume was made for a server that is not to be had.
    async fn discard_volume(&self, volume: Volume, actions: Vec<Action>) {
        // What cannot be deleted now is swept later: it bears our labels.
        drop(self.client.wait(actions, GONE_DEADLINE).await);
        drop(self.client.delete_volume(volume.id).await);
    }

    /// Waits for what is under way, attaches the volume, and calls the agent meanwhile.
    async fn bring_up(&self, pair: Pair) -> Result<Provided, Error> {
        let Pair { server, volume, under_way, attached, fresh_server, fresh_volume } = pair;
        let name = server.labels.get(KEYS).map(String::as_str).unwrap_or_default();
        let keys = self.keys.load(name).map_err(|error| {
            error::other("the keys of the server are not on this machine").caused_by(&error)
        })?;
        let address = server
            .address()
            .ok_or_else(|| error::other("Hetzner gave the server no public address"))?;
        let idle_timeout =
            IdleTimeout { gone_after: Duration::from_secs(self.request.gone_after_secs) };
        self.progress.disk(device_of(&volume));
        self.progress.step(if fresh_server { "the server boots" } else { "calling the server" });
        let ready = async {
            let waited = self.client.wait(under_way, ACTION_DEADLINE).await;
            waited.map_err(|error| error::api("make the server ready", &error))?;
            if !attached {
                self.attach(&volume, &server).await?;
            }
            Ok(())
        };
        let called = dial::connect(address, &keys, idle_timeout, self.patience_with(&server));
        let ((), connection) = tokio::try_join!(ready, called)?;
        Ok(Provided { server, keys, connection, volume, fresh_server, fresh_volume })
    }

    /// How long the agent of a server may take to answer.
    fn patience_with(&self, server: &Server) -> Duration {
        if server.status != ServerStatus::Running {
            return BOOT_DEADLINE;
        }
        if self.answered == Some(server.id) {
            return SILENCE_DEADLINE;
        }
        let age = self.client.now().as_second() - server.created.as_second();
        let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
        BOOT_DEADLINE.saturating_sub(age).max(SILENCE_DEADLINE)
    }

    /// Attaches a volume. The action is not waited for: the agent sees the disk when it
    /// is there.
    async fn attach(&self, volume: &Volume, server: &Server) -> Result<(), Error> {
        let failed = |error: &ApiError| error::api("attach the project's volume", error);
        for tried in 0.. {
            match self.client.attach_volume(volume.id, server.id).await {
                Ok(_) => return Ok(()),
                // A lost answer to an earlier try, or an earlier command.
                Err(error) if error.code() == Some(&Code::VolumeAlreadyAttached) => {
                    let found = self.client.volume(volume.id).await;
                    let found = found.map_err(|error| failed(&error))?;
                    if found.is_some_and(|found| found.server == Some(server.id)) {
                        return Ok(());
                    }
                    return Err(failed(&error));
                }
                Err(error)
                    if tried < LOCKED_TRIES
                        && (error.code() == Some(&Code::Locked) || error.is_uncertain()) =>
                {
                    tokio::time::sleep(Duration::from_secs(1 << tried)).await;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(error::other("the project's volume stayed locked"))
    }

    fn server_labels(&self, keys: &str) -> burst_hcloud::Labels {
        let mut labels = naming::identity(SERVER, self.owner);
        labels.extend(self.lifetime(self.request.keep_alive));
        labels.insert(KEYS.into(), keys.into());
        labels.insert(HOST.into(), naming::host_label());
        let keeps = if self.request.keep_paid_hour { "yes" } else { "no" };
        labels.insert(KEEP_PAID_HOUR.into(), keeps.into());
        labels
    }

    fn lifetime(&self, keep_alive: Option<i64>) -> burst_hcloud::Labels {
        naming::lifetime(self.client.now().as_second(), keep_alive)
    }

    async fn new_volume(&self, location: &str) -> Result<Made<Volume>, ApiError> {
        let ours = naming::identity(VOLUME, self.owner);
        let mut labels = ours.clone();
        labels.extend(self.lifetime(self.request.volume_keep_alive));
        labels.insert(PROJECT.into(), self.request.project.as_str().into());
        let name = burst_hcloud::label::to_value(&self.request.project_name);
        labels.insert(PROJECT_NAME.into(), name);
        let new = NewVolume {
            name: self.owner.volume_name(&self.request.project, location),
            size: self.request.volume_gb,
            location: location.to_owned(),
            labels,
        };
        self.client.create_volume(&new, &ours).await
    }

    async fn new_firewall(&self) -> Result<(), ApiError> {
        let labels: burst_hcloud::Labels = [naming::MANAGED_BY, (naming::ROLE, FIREWALL)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let new = NewFirewall {
            name: FIREWALL_NAME.into(),
            labels: labels.clone(),
            rules: vec![Rule::udp(AGENT_PORT)],
            apply_to: vec![naming::ours(Some(SERVER))],
        };
        self.client.create_firewall(&new, &labels).await.map(drop)
    }

    /// What the API calls invalid is mostly a name of the user's: which one, and what
    /// was perhaps meant?
    async fn explained(&self, new: &NewServer, error: ApiError) -> Error {
        let unexplained = error::api("create a server", &error);
        if error.code() != Some(&Code::InvalidInput) {
            return unexplained;
        }
        let Ok(types) = self.client.server_types().await else { return unexplained };
        let known = types.iter().any(|known| known.name == new.server_type);
        if !known {
            let mut names: Vec<String> = types.into_iter().map(|known| known.name).collect();
            names.sort_by(|a, b| {
                let likeness = |name: &str| strsim::jaro_winkler(name, &new.server_type);
                likeness(b).total_cmp(&likeness(a))
            });
            names.truncate(3);
            let message = format!("there is no server type `{}`", new.server_type);
            let hint = format!("set `server_type`; did you mean {}?", names.join(", "));
            return Error::new(ErrorKind::Unavailable, message, hint);
        }
        let mut places: Vec<String> =
            types.iter().flat_map(|known| &known.locations).map(|at| at.name.clone()).collect();
        places.sort();
        places.dedup();
        if !places.contains(&new.location) {
            let message = format!("there is no location `{}`", new.location);
            let hint = format!("set `region` to one of {}", places.join(", "));
            return Error::new(ErrorKind::Unavailable, message, hint);
        }
        unexplained
    }
}

fn is_volume_busy(error: &ApiError) -> bool {
    matches!(error.code(), Some(Code::Locked | Code::VolumeAlreadyAttached))
}

/// The name of a volume's device below `/dev/disk/by-id`.
pub(crate) fn device_of(volume: &Volume) -> &str {
    volume.linux_device.rsplit('/').next().unwrap_or_default()
}

/// Whether another place or type may do better.
fn is_no_room(error: &ApiError) -> bool {
    match error {
        ApiError::Refused { code: Code::ResourceUnavailable | Code::PlacementError, .. } => true,
        // A type that this location does not have at all.
        ApiError::Refused { code: Code::InvalidInput, message, .. } => {
            message.contains("unsupported location")
        }
        _ => false,
    }
}

/// The newest image for a type; Hetzner's Arm types are called `cax…`.
fn image_for<'a>(server_type: &str, images: &'a [Image]) -> Option<&'a Image> {
    let architecture = if server_type.starts_with("cax") { "arm" } else { "x86" };
    images.iter().find(|image| image.architecture == architecture)
}
