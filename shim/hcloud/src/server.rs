//! Servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::action::{Action, of_answer};
use crate::client::Client;
use crate::error::{Error, Operation};
use crate::label::{Labels, Selector};
use crate::resource::Resource;
use crate::server_type::ServerType;
use crate::{Id, Made, open_enum};

open_enum! {
    /// How a server is.
    ServerStatus {
        /// It runs.
        Running = "running",
        /// It is being made.
        Initializing = "initializing",
        /// It is being switched on.
        Starting = "starting",
        /// It is being switched off.
        Stopping = "stopping",
        /// It is switched off, and billed.
        Off = "off",
        /// It is being deleted.
        Deleting = "deleting",
        /// It moves to another host.
        Migrating = "migrating",
        /// It gets another image.
        Rebuilding = "rebuilding",
    }
}

/// A server.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// Its number.
    pub id: Id,
    /// Its name, unique in the project.
    pub name: String,
    /// How it is.
    pub status: ServerStatus,
    /// When it was created: from then on each started hour is billed.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub created: Timestamp,
    /// Its public addresses.
    pub public_net: PublicNet,
    /// What kind of server, with its prices.
    pub server_type: ServerType,
    /// Where.
    pub location: LocationName,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// The ids of the attached volumes.
    #[serde(default)]
    pub volumes: Vec<Id>,
}

/// The public addresses of a server.
#[derive(Clone, Debug, Deserialize)]
pub struct PublicNet {
    /// The IPv4 address.
    #[serde(default)]
    pub ipv4: Option<Address>,
    /// The IPv6 network.
    #[serde(default)]
    pub ipv6: Option<Address>,
}

/// An address or network.
#[derive(Clone, Debug, Deserialize)]
pub struct Address {
    /// As text; a network with its length.
    pub ip: String,
}

/// A location, by name.
#[derive(Clone, Debug, Deserialize)]
pub struct LocationName {
    /// Such as `fsn1`.
    pub name: String,
}

impl Server {
    /// Where it can be reached: IPv4, else the first host of its IPv6 network.
    pub fn address(&self) -> Option<IpAddr> {
        let v4 = self.public_net.ipv4.as_ref().and_then(|net| net.ip.parse::<Ipv4Addr>().ok());
        v4.map(IpAddr::V4).or_else(|| {
            let network = self.public_net.ipv6.as_ref()?.ip.split('/').next()?;
            let network: Ipv6Addr = network.parse().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(u128::from(network) | 1)))
        })
    }
}

/// What a server is to be.
#[derive(Clone, Serialize)]
pub struct NewServer {
    /// Its name: a host name, unique in the project.
    pub name: String,
    /// What kind.
    pub server_type: String,
    /// Where.
    pub location: String,
    /// From what.
    #[serde(serialize_with = "id_as_text")]
    pub image: Id,
    /// Volumes of the same location to attach at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Id>,
    /// Its labels.
    pub labels: Labels,
    /// User data, at most 32 KiB. The server's metadata service gives it to every local
    /// process that is not kept from asking.
    pub user_data: String,
    /// Whether the guest mounts volumes by itself.
    pub automount: bool,
}

impl std::fmt::Debug for NewServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // User data holds keys.
        formatter.debug_struct("NewServer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The API takes ids of images as text, as it takes names.
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
    /// The servers that a selector selects.
    pub async fn servers(&self, selector: &Selector) -> Result<Vec<Server>, Error> {
        self.selected(selector, Vec::new()).await
    }

    /// The server of this number; none if it is gone.
    pub async fn server(&self, id: Id) -> Result<Option<Server>, Error> {
        self.found(id).await
    }

    /// Creates a server, or adopts the one of that name that bears all of `ours`.
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

    /// Deletes a server, running or not; its volumes are detached and stay. One that
    /// is gone is deleted.
    pub async fn delete_server(&self, id: Id) -> Result<Vec<Action>, Error> {
        let path = format!("/servers/{id}");
        let mut answer = self.delete(&path).await?;
        of_answer(&mut answer, &Operation { method: "DELETE", path })
    }
}
