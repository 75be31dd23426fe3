//! Images: the snapshots that servers are made from.

use jiff::Timestamp;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::label::{Labels, Selector};
use crate::resource::Resource;
use crate::{Id, open_enum};

open_enum! {
    /// Whether an image can be used.
    ImageStatus {
        /// It can.
        Available = "available",
        /// It is being made.
        Creating = "creating",
        /// It cannot.
        Unavailable = "unavailable",
    }
}

/// A snapshot. It has no name; its labels tell what it is.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// Its number.
    pub id: Id,
    /// Whether it can be used.
    pub status: ImageStatus,
    /// For people.
    pub description: String,
    /// GB that are stored and billed; none while it is being made.
    #[serde(default)]
    pub image_size: Option<f64>,
    /// When the snapshot was created.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub created: Timestamp,
    /// The CPU architecture that it boots on: `x86` or `arm`.
    pub architecture: String,
    /// Its labels.
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
    /// The snapshots that a selector selects, newest first.
    pub async fn snapshots(&self, selector: &Selector) -> Result<Vec<Image>, Error> {
        let query = vec![("type", "snapshot".to_owned()), ("sort", "created:desc".to_owned())];
        self.selected(selector, query).await
    }
}
