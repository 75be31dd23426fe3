//! Servers: status, creation, deletion.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::action::{Action, of_answer};
use crate::client::Client;
use crate::error::{Error, Operation};
use crate::id::Id;
use crate::label::{Labels, Selector};
use crate::made::Made;
use crate::open_enum::open_enum;
use crate::protection::Protection;
use crate::resource::Resource;
use crate::server_type::ServerType;

open_enum! {
    /// The state of a server.
    ServerStatus {
        /// It is switched on.
        Running = "running",
        /// It is being created.
        Initializing = "initializing",
        /// It is being switched on.
        Starting = "starting",
        /// It is being switched off.
        Stopping = "stopping",
        /// It is switched off; it is still billed.
        Off = "off",
        /// It is being deleted.
        Deleting = "deleting",
        /// It is being moved to another host.
        Migrating = "migrating",
        /// Its disk is being replaced by another image.
        Rebuilding = "rebuilding",
    }
}

/// A virtual server.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// The id of the server.
    pub id: Id,
    /// The name, unique in the project.
    pub name: String,
    /// The state of the server.
    pub status: ServerStatus,
    /// The time of creation; from then on each started hour is billed.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub created: Timestamp,
    /// The public addresses.
    pub public_net: PublicNet,
    /// The server type, with its prices.
    pub server_type: ServerType,
    /// The location.
    pub location: LocationName,
    /// The labels.
    #[serde(default)]
    pub labels: Labels,
    /// The ids of the attached volumes.
    #[serde(default)]
    pub volumes: Vec<Id>,
    /// Whether it is protected against deletion.
    #[serde(default)]
    pub protection: Protection,
}

/// The public addresses of a server.
#[derive(Clone, Debug, Deserialize)]
pub struct PublicNet {
    /// The IPv4 address, if the server has one.
    #[serde(default)]
    pub ipv4: Option<Address>,
    /// The IPv6 network, if the server has one.
    #[serde(default)]
    pub ipv6: Option<Address>,
}

/// A public address or network.
#[derive(Clone, Debug, Deserialize)]
pub struct Address {
    /// The address, or the network in CIDR notation.
    pub ip: String,
}

/// A reference to a location.
#[derive(Clone, Debug, Deserialize)]
pub struct LocationName {
    /// The name of the location, such as `fsn1`.
    pub name: String,
}

impl Server {
    /// Whether the server has an IPv4 address, which is billed.
    pub const fn has_ipv4(&self) -> bool {
        self.public_net.ipv4.is_some()
    }

    /// The address to connect to: the IPv4 address, or else the first host of the IPv6
    /// network.
    pub fn address(&self) -> Option<IpAddr> {
        let v4 = self.public_net.ipv4.as_ref().and_then(|net| net.ip.parse::<Ipv4Addr>().ok());
        v4.map(IpAddr::V4).or_else(|| {
            let network = self.public_net.ipv6.as_ref()?.ip.split('/').next()?;
            let network: Ipv6Addr = network.parse().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(u128::from(network) | 1)))
        })
    }
}

/// The parameters of a new server.
#[derive(Clone, Serialize)]
pub struct NewServer {
    /// The name: a valid host name, unique in the project.
    pub name: String,
    /// The name of the server type.
    pub server_type: String,
    /// The name of the location.
    pub location: String,
    /// The image to create the server from.
    #[serde(serialize_with = "id_as_text")]
    pub image: Id,
    /// Volumes of the same location to attach on creation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Id>,
    /// The labels.
    pub labels: Labels,
    /// User data for the server's metadata service, at most 32 KiB. It may contain secrets,
    /// so `Debug` does not show it.
    pub user_data: String,
    /// Whether the server mounts its volumes by itself.
    pub automount: bool,
    /// The names of SSH keys of the root user. Without one the API makes a root password and
    /// mails it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// The public addresses that the server gets.
    pub public_net: NewPublicNet,
}

/// The public addresses that a new server gets; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NewPublicNet {
    /// An IPv4 address, which costs extra.
    pub enable_ipv4: bool,
    /// An IPv6 network.
    pub enable_ipv6: bool,
}

impl std::fmt::Debug for NewServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // User data contains keys.
        formatter.debug_struct("NewServer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The API expects the id of an image as a string, like a name.
fn id_as_text<S: serde::Serializer>(id: &Id, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

impl Resource for Server {
    const ONE: &'static str = "server";
    const MANY: &'static str = "servers";

    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Client {
    /// Lists the servers that match a selector.
    pub async fn servers(&self, selector: &Selector) -> Result<Vec<Server>, Error> {
        self.selected(selector, Vec::new()).await
    }

    /// Fetches a server by id; `None` if it does not exist.
    pub async fn server(&self, id: Id) -> Result<Option<Server>, Error> {
        self.found(id).await
    }

    /// Creates a server, or adopts an existing one with that name and all labels in `ours`.
    pub async fn create_server(
        &self,
        new: &NewServer,
        ours: &Labels,
    ) -> Result<Made<Server>, Error> {
        self.made(&new.name, new, ours).await
    }

    /// Replaces all labels of a server.
    pub async fn label_server(&self, id: Id, labels: &Labels) -> Result<(), Error> {
        self.labelled::<Server>(id, labels).await
    }

    /// Switches a server on.
    pub async fn power_on(&self, id: Id) -> Result<Vec<Action>, Error> {
        let path = format!("/servers/{id}/actions/poweron");
        let body = serde_json::json!({});
        let (mut answer, operation) = self.send(Method::POST, &path, &body).await?;
        of_answer(&mut answer, &operation)
    }

    /// Deletes a server in any state. Its volumes are detached and kept. Succeeds if the
    /// server does not exist.
    pub async fn delete_server(&self, id: Id) -> Result<Vec<Action>, Error> {
        let path = format!("/servers/{id}");
        let mut answer = self.delete(&path).await?;
        of_answer(&mut answer, &Operation { method: "DELETE", path })
    }
}
