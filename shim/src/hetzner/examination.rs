//! What the API tells of a token, the account's resources and the images, for `cargo burst doctor`.
//!
//! Nothing is created, changed or deleted, and nothing is tried twice. Not limited in time: the
//! caller is.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use burst_hcloud::Timestamp;
use burst_hcloud::image::Image;
use burst_hcloud::retry::Retries;
use burst_hcloud::server::{Server, ServerStatus};
use burst_hcloud::server_type::ServerType;

use super::client;
use super::credentials::Credentials;
use super::error::api;
use super::inventory::Stock;
use super::naming::{AGENT_VERSION, HOST, host_label};
use crate::error::Error;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    /// How long one call took, on a connection that was there.
    pub(crate) latency: Duration,
    /// The API's clock minus the one of this machine, in seconds; 0 also for one second.
    pub(crate) clock_offset_secs: i64,
    /// Whether the token may write.
    pub(crate) write: Result<(), Error>,
    /// The servers of cargo-burst that the token can see.
    pub(crate) servers: Vec<ExaminedServer>,
    /// How many volumes of cargo-burst the token can see.
    pub(crate) volumes: usize,
    /// The images that servers can be created from, newest first.
    pub(crate) images: Vec<ExaminedImage>,
    /// All server types.
    pub(crate) types: Vec<ServerType>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExaminedServer {
    /// Its name.
    pub(crate) name: String,
    /// Whether a command on this machine has created it.
    pub(crate) is_of_this_machine: bool,
    /// Its address, if it runs.
    pub(crate) running_at: Option<IpAddr>,
    /// How long it has existed, in seconds.
    pub(crate) age_secs: i64,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExaminedImage {
    /// Its id at Hetzner.
    pub(crate) id: u64,
    /// The architecture of its programs: `x86` or `arm`.
    pub(crate) architecture: String,
    /// How long it has existed, in seconds.
    pub(crate) age_secs: i64,
    /// The version of the agent in it, if a label tells it.
    pub(crate) agent_version: Option<String>,
}

#[cfg(test)]
impl Examination {
    /// Of an account with nothing in it.
    pub(crate) const fn empty() -> Self {
        Self {
            latency: Duration::ZERO,
            clock_offset_secs: 0,
            write: Ok(()),
            servers: Vec::new(),
            volumes: 0,
            images: Vec::new(),
            types: Vec::new(),
        }
    }
}

/// Asks the API. The error is that of the first request: it cannot be reached, or refuses the
/// token.
pub(crate) async fn examine(credentials: &Credentials) -> Result<Examination, Error> {
    const ACTION: &str = "ask the Hetzner API for its resources";
    let client = client::of(credentials, ACTION, Retries { max: 0, ..Retries::default() })?;
    let stock = Stock::ask(&client).await;
    let stock = stock.map_err(|source| api(&credentials.endpoint, ACTION, &source))?;
    let began = Instant::now();
    let write = client.check_write().await;
    let latency = began.elapsed();
    let now = client.now();
    Ok(Examination {
        latency,
        clock_offset_secs: now.as_second() - Timestamp::now().as_second(),
        write: write.map_err(|source| api(&credentials.endpoint, "write with the token", &source)),
        servers: stock.inventory.servers.iter().map(|one| server(one, now)).collect(),
        volumes: stock.inventory.volumes.len(),
        images: stock.images.iter().map(|one| image(one, now)).collect(),
        types: stock.types,
    })
}

fn server(server: &Server, now: Timestamp) -> ExaminedServer {
    ExaminedServer {
        name: server.name.clone(),
        is_of_this_machine: server.labels.get(HOST) == Some(&host_label()),
        running_at: server.address().filter(|_| server.status == ServerStatus::Running),
        age_secs: now.as_second() - server.created.as_second(),
    }
}

fn image(image: &Image, now: Timestamp) -> ExaminedImage {
    ExaminedImage {
        id: image.id.0,
        architecture: image.architecture.clone(),
        age_secs: now.as_second() - image.created.as_second(),
        agent_version: image.labels.get(AGENT_VERSION).cloned(),
    }
}
