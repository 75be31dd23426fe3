//! The resources of cargo-burst at Hetzner, as the API lists them by label.
//!
//! This module only asks; it creates and deletes nothing, and remembers nothing.

use burst_hcloud::firewall::Firewall;
use burst_hcloud::image::{Image, ImageStatus};
use burst_hcloud::pricing::Pricing;
use burst_hcloud::server::Server;
use burst_hcloud::server_type::ServerType;
use burst_hcloud::volume::Volume;
use burst_hcloud::{Client, Error, Labels};

use super::announcement::Prices;
use super::lease::Facts;
use super::naming::{self, FIREWALL, IMAGE, OWNER, Owner, ProjectKey, SERVER, VOLUME};

/// The idle time in seconds of resources whose label is missing or damaged.
const KEEP_ALIVE_UNKNOWN: i64 = 300;

/// All servers and volumes of cargo-burst that the token can see.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Servers of all owners.
    pub(super) servers: Vec<Server>,
    /// Volumes of all owners.
    pub(super) volumes: Vec<Volume>,
}

/// The inventory, and the ingredients of a new server.
#[derive(Debug)]
pub(super) struct Stock {
    /// Servers and volumes.
    pub(super) inventory: Inventory,
    /// The firewall, which all owners share.
    pub(super) firewall: Option<Firewall>,
    /// Available images, newest first.
    pub(super) images: Vec<Image>,
    /// Server types with their prices.
    pub(super) types: Vec<ServerType>,
    /// Prices of volumes.
    pub(super) pricing: Pricing,
}

impl Inventory {
    /// Lists servers and volumes, in two concurrent requests.
    pub(super) async fn ask(client: &Client) -> Result<Self, Error> {
        let (servers, volumes) = (naming::ours(Some(SERVER)), naming::ours(Some(VOLUME)));
        let (servers, volumes) =
            tokio::try_join!(client.servers(&servers), client.volumes(&volumes))?;
        Ok(Self { servers, volumes })
    }

    /// Keeps only the resources of one owner.
    pub(super) fn keep_those_of(&mut self, owner: &Owner) {
        self.servers.retain(|server| is_of(&server.labels, owner));
        self.volumes.retain(|volume| is_of(&volume.labels, owner));
    }

    /// Whether any of the resources belongs to an owner.
    pub(super) fn has_any_of(&self, owner: &Owner) -> bool {
        self.servers.iter().any(|server| is_of(&server.labels, owner))
            || self.volumes.iter().any(|volume| is_of(&volume.labels, owner))
    }

    /// The server of an owner; there is at most one.
    pub(super) fn server_of(&self, owner: &Owner) -> Option<&Server> {
        self.servers.iter().find(|server| is_of(&server.labels, owner))
    }

    /// The volume of an owner's project.
    pub(super) fn volume_of(&self, owner: &Owner, project: &ProjectKey) -> Option<&Volume> {
        self.volumes.iter().find(|volume| {
            is_of(&volume.labels, owner)
                && ProjectKey::of_volume(&volume.labels).as_ref() == Some(project)
        })
    }
}

impl Stock {
    /// Lists everything in six concurrent requests.
    pub(super) async fn ask(client: &Client) -> Result<Self, Error> {
        let (firewalls, images) = (naming::ours(Some(FIREWALL)), naming::ours(Some(IMAGE)));
        let (inventory, firewalls, mut images, types, pricing) = tokio::try_join!(
            Inventory::ask(client),
            client.firewalls(&firewalls),
            client.snapshots(&images),
            client.server_types(),
            client.pricing()
        )?;
        images.retain(|image| image.status == ImageStatus::Available);
        Ok(Self { inventory, firewall: firewalls.into_iter().next(), images, types, pricing })
    }

    /// The price lists.
    pub(super) fn prices(&self) -> Prices<'_> {
        Prices { types: &self.types, pricing: &self.pricing }
    }
}

/// Whether a resource with these labels belongs to an owner.
pub(super) fn is_of(labels: &Labels, owner: &Owner) -> bool {
    labels.get(OWNER).map(String::as_str) == Some(owner.as_str())
}

/// What the labels of a server or volume say about its use.
pub(super) fn facts(labels: &Labels, created: i64) -> Facts {
    Facts {
        created,
        last_use: naming::last_use(labels, created),
        in_use: false,
        keep_alive: naming::keep_alive(labels, KEEP_ALIVE_UNKNOWN),
        keep_paid_hour: labels.get(naming::KEEP_PAID_HOUR).map(String::as_str) != Some("no"),
    }
}
