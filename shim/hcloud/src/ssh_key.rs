//! SSH keys. A server that is created with one gets no root password.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::Error;
use crate::id::Id;
use crate::label::{Labels, Selector};
use crate::made::Made;
use crate::resource::Resource;

/// An SSH key.
#[derive(Clone, Debug, Deserialize)]
pub struct SshKey {
    /// The id of the key.
    pub id: Id,
    /// When the key was created.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub created: Timestamp,
    /// The labels.
    #[serde(default)]
    pub labels: Labels,
}

/// The parameters of a new SSH key.
#[derive(Clone, Debug, Serialize)]
pub struct NewSshKey {
    /// The name, unique in the project.
    pub name: String,
    /// The key as in an `authorized_keys` file. Its fingerprint is unique in the project.
    pub public_key: String,
    /// The labels.
    pub labels: Labels,
}

impl Resource for SshKey {
    const ONE: &'static str = "ssh_key";
    const MANY: &'static str = "ssh_keys";

    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Client {
    /// Lists the SSH keys that match a selector.
    pub async fn ssh_keys(&self, selector: &Selector) -> Result<Vec<SshKey>, Error> {
        self.selected(selector, Vec::new()).await
    }

    /// Creates an SSH key, or adopts an existing one with that name and all labels in `ours`.
    pub async fn create_ssh_key(
        &self,
        new: &NewSshKey,
        ours: &Labels,
    ) -> Result<Made<SshKey>, Error> {
        self.made(&new.name, new, ours).await
    }

    /// Deletes an SSH key. Succeeds if it does not exist.
    pub async fn delete_ssh_key(&self, id: Id) -> Result<(), Error> {
        self.delete(&format!("/ssh_keys/{id}")).await.map(drop)
    }
}
