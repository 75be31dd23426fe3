//! Volumes: creation, attachment, deletion.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::action::{Action, of_answer};
use crate::client::Client;
use crate::error::Error;
use crate::id::Id;
use crate::label::{Labels, Selector};
use crate::made::Made;
use crate::protection::Protection;
use crate::resource::Resource;
use crate::server::LocationName;

/// Most volumes that can be attached to one server, according to the official CSI driver.
pub const PER_SERVER_MAX: usize = 16;

/// Smallest size of a volume in GB.
pub const GB_MIN: u64 = 10;

/// Largest size of a volume in GB.
pub const GB_MAX: u64 = 10240;

/// A network disk.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume {
    /// The id of the volume.
    pub id: Id,
    /// The name, unique in the project.
    pub name: String,
    /// The time of creation.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub created: Timestamp,
    /// The location.
    pub location: LocationName,
    /// The size in GB.
    pub size: f64,
    /// The server that the volume is attached to.
    #[serde(default)]
    pub server: Option<Id>,
    /// The path of the device on that server, below `/dev/disk/by-id`.
    pub linux_device: String,
    /// The labels.
    #[serde(default)]
    pub labels: Labels,
    /// Whether it is protected against deletion.
    #[serde(default)]
    pub protection: Protection,
}

/// The parameters of a new volume.
#[derive(Clone, Debug, Serialize)]
pub struct NewVolume {
    /// The name, unique in the project.
    pub name: String,
    /// The size in GB, from [`GB_MIN`] to [`GB_MAX`].
    pub size: u64,
    /// The name of the location.
    pub location: String,
    /// The labels.
    pub labels: Labels,
}

impl Resource for Volume {
    const ONE: &'static str = "volume";
    const MANY: &'static str = "volumes";

    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Client {
    /// Lists the volumes that match a selector.
    pub async fn volumes(&self, selector: &Selector) -> Result<Vec<Volume>, Error> {
        self.selected(selector, Vec::new()).await
    }

    /// Fetches a volume by id; `None` if it does not exist.
    pub async fn volume(&self, id: Id) -> Result<Option<Volume>, Error> {
        self.found(id).await
    }

    /// Creates a volume, or adopts an existing one with that name and all labels in `ours`.
    pub async fn create_volume(
        &self,
        new: &NewVolume,
        ours: &Labels,
    ) -> Result<Made<Volume>, Error> {
        self.made(&new.name, new, ours).await
    }

    /// Attaches a volume to a server in the same location.
    pub async fn attach_volume(&self, id: Id, server: Id) -> Result<Vec<Action>, Error> {
        let body = serde_json::json!({ "server": server, "automount": false });
        self.volume_action(id, "attach", &body).await
    }

    /// Detaches a volume, which must have been unmounted.
    pub async fn detach_volume(&self, id: Id) -> Result<Vec<Action>, Error> {
        self.volume_action(id, "detach", &serde_json::json!({})).await
    }

    async fn volume_action(
        &self,
        id: Id,
        verb: &str,
        body: &serde_json::Value,
    ) -> Result<Vec<Action>, Error> {
        let path = format!("/volumes/{id}/actions/{verb}");
        let (mut answer, operation) = self.send(Method::POST, &path, body).await?;
        of_answer(&mut answer, &operation)
    }

    /// Replaces all labels of a volume.
    pub async fn label_volume(&self, id: Id, labels: &Labels) -> Result<(), Error> {
        self.labelled::<Volume>(id, labels).await
    }

    /// Deletes a volume, which must be detached. Succeeds if it does not exist.
    pub async fn delete_volume(&self, id: Id) -> Result<(), Error> {
        self.delete(&format!("/volumes/{id}")).await.map(drop)
    }
}
