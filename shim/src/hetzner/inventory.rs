//! What is there at Hetzner, by label.

use burst_hcloud::firewall::Firewall;
use burst_hcloud::image::{Image, ImageStatus};
use burst_hcloud::server::Server;
use burst_hcloud::server_type::ServerType;
use burst_hcloud::volume::Volume;
use burst_hcloud::{Client, Error, Labels};

use super::lease::Facts;
use super::naming::{self, FIREWALL, IMAGE, OWNER, Owner, PROJECT, ProjectKey, SERVER, VOLUME};

/// Seconds that are assumed where a label does not tell how long a thing is kept.
const KEEP_ALIVE_UNKNOWN: i64 = 300;

/// All that is there of cargo-burst.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Servers, also other owners'.
    pub(crate) servers: Vec<Server>,
    /// Volumes, also other owners'.
    pub(crate) volumes: Vec<Volume>,
}

/// What is there, and what is needed to make more.
#[derive(Debug)]
pub(crate) struct Stock {
    /// What is there.
    pub(crate) inventory: Inventory,
    /// The firewall.
    pub(crate) firewall: Option<Firewall>,
    /// Images that can be used, newest first.
    pub(crate) images: Vec<Image>,
    /// Server types with their prices, if they were asked for.
    pub(crate) types: Vec<ServerType>,
}

impl Inventory {
    /// Asks: two calls at once.
    pub(crate) async fn ask(client: &Client) -> Result<Self, Error> {
        let (servers, volumes) = (naming::ours(Some(SERVER)), naming::ours(Some(VOLUME)));
        let (servers, volumes) =
            tokio::try_join!(client.servers(&servers), client.volumes(&volumes))?;
        Ok(Self { servers, volumes })
    }

    /// The server of an owner.
    pub(crate) fn server_of(&self, owner: &Owner) -> Option<&Server> {
        self.servers.iter().find(|server| is_of(&server.labels, owner))
    }

    /// The volume of an owner's project.
    pub(crate) fn volume_of(&self, owner: &Owner, project: &ProjectKey) -> Option<&Volume> {
        self.volumes.iter().find(|volume| {
            is_of(&volume.labels, owner)
                && volume.labels.get(PROJECT).map(String::as_str) == Some(project.as_str())
        })
    }
}

impl Stock {
    /// Asks: four calls at once, and a fifth for prices.
    pub(crate) async fn ask(client: &Client, with_prices: bool) -> Result<Self, Error> {
        let (firewalls, images) = (naming::ours(Some(FIREWALL)), naming::ours(Some(IMAGE)));
        let types = async {
            match with_prices {
                true => client.server_types().await,
                false => Ok(Vec::new()),
            }
        };
        let (inventory, firewalls, mut images, types) = tokio::try_join!(
            Inventory::ask(client),
            client.firewalls(&firewalls),
            client.snapshots(&images),
            types
        )?;
        images.retain(|image| image.status == ImageStatus::Available);
        Ok(Self { inventory, firewall: firewalls.into_iter().next(), images, types })
    }
}

/// Whether labels are an owner's.
pub(crate) fn is_of(labels: &Labels, owner: &Owner) -> bool {
    labels.get(OWNER).map(String::as_str) == Some(owner.as_str())
}

/// What labels tell of a server's or volume's life.
pub(crate) fn facts(labels: &Labels, created: i64) -> Facts {
    Facts {
        created,
        last_use: naming::last_use(labels, created),
        in_use: false,
        keep_alive: naming::keep_alive(labels, KEEP_ALIVE_UNKNOWN),
        keep_paid_hour: labels.get(naming::KEEP_PAID_HOUR).map(String::as_str) != Some("no"),
    }
}
