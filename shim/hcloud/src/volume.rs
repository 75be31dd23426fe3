//! Volumes.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::action::{Action, of_answer};
use crate::client::Client;
use crate::error::Error;
use crate::label::{Labels, Selector};
use crate::resource::Resource;
use crate::server::LocationName;
use crate::{Id, Made};

/// Volumes that can be attached to one server (from the official CSI driver).
pub const PER_SERVER_MAX: usize = 16;

/// The smallest volume, in GB.
pub const GB_MIN: u64 = 10;

/// The largest volume, in GB.
pub const GB_MAX: u64 = 10240;

/// A volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume {
    /// Its number.
    pub id: Id,
    /// Its name, unique in the project.
    pub name: String,
    /// When it was created.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub created: Timestamp,
    /// Where.
    pub location: LocationName,
    /// Its size in GB.
    pub size: f64,
    /// The server it is attached to.
    #[serde(default)]
    pub server: Option<Id>,
    /// The device's path on that server.
    pub linux_device: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// What a volume is to be.
#[derive(Clone, Debug, Serialize)]
pub struct NewVolume {
    /// Its name, unique in the project.
    pub name: String,
    /// Its size in GB.
    pub size: u64,
    /// Where.
    pub location: String,
    /// Its labels.
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
    /// The volumes that a selector selects.
    pub async fn volumes(&self, selector: &Selector) -> Result<Vec<Volume>, Error> {
        self.selected(selector, Vec::new()).await
    }

    /// The volume of this number; none if it is gone.
    pub async fn volume(&self, id: Id) -> Result<Option<Volume>, Error> {
        self.found(id).await
    }

    /// Creates a volume, or adopts the one of that name that bears all of `ours`.
    pub async fn create_volume(
        &self,
        new: &NewVolume,
        ours: &Labels,
    ) -> Result<Made<Volume>, Error> {
        self.made(&new.name, new, ours).await
    }

    /// Attaches a volume to a server of its location.
    pub async fn attach_volume(&self, id: Id, server: Id) -> Result<Vec<Action>, Error> {
        let body = serde_json::json!({ "server": server, "automount": false });
        self.volume_action(id, "attach", &body).await
    }

    /// Detaches a volume. It must not be mounted any more.
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

    /// Deletes a volume that is not attached. One that is gone is deleted.
    pub async fn delete_volume(&self, id: Id) -> Result<(), Error> {
        self.delete(&format!("/volumes/{id}")).await.map(drop)
    }
}
