//! Images: the snapshots that servers are created from.

use jiff::Timestamp;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::id::Id;
use crate::label::{Labels, Selector};
use crate::open_enum::open_enum;
use crate::resource::Resource;

open_enum! {
    /// The state of an image.
    ImageStatus {
        /// A server can be created from it.
        Available = "available",
        /// It is being created.
        Creating = "creating",
        /// No server can be created from it.
        Unavailable = "unavailable",
    }
}

/// A snapshot. Snapshots have no name and are identified by their labels.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// The id of the snapshot.
    pub id: Id,
    /// The state of the snapshot.
    pub status: ImageStatus,
    /// A description for the user.
    pub description: String,
    /// The stored size in GB, which is billed; `None` while the snapshot is being created.
    #[serde(default)]
    pub image_size: Option<f64>,
    /// The size in GB of the disk that it was made of: that of a server must not be smaller.
    #[serde(default)]
    pub disk_size: f64,
    /// When the snapshot was created.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub created: Timestamp,
    /// The CPU architecture that it boots on: `x86` or `arm`.
    pub architecture: String,
    /// The labels.
    #[serde(default)]
    pub labels: Labels,
}

impl Resource for Image {
    const ONE: &'static str = "image";
    const MANY: &'static str = "images";

    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Client {
    /// Lists the snapshots that match a selector, newest first.
    pub async fn snapshots(&self, selector: &Selector) -> Result<Vec<Image>, Error> {
        let query = vec![("type", "snapshot".to_owned()), ("sort", "created:desc".to_owned())];
        self.selected(selector, query).await
    }
}
