//! Volumes of the server: which projects' volumes are attached to it, and which of them
//! makes room for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use burst_hcloud::volume::Volume;
use burst_hcloud::{Client, Error as ApiError};
use burst_protocol::FileName;
use burst_protocol::message::FromShim;

use super::credentials::Endpoint;
use super::inventory::Inventory;
use super::naming::{self, Owner, ProjectKey};
use super::uses::Uses;
use super::{dial, error};
use crate::connection::server::ServerConnection;
use crate::error::Error;

/// How long a volume may take to be detached.
const DETACH_DEADLINE: Duration = Duration::from_secs(60);

/// The volumes of a server by project.
pub(super) type Attached = BTreeMap<ProjectKey, Volume>;

/// The volumes that are attached to the owner's server.
pub(super) fn attached(inventory: &Inventory, owner: &Owner) -> Attached {
    let Some(server) = inventory.server_of(owner) else { return Attached::new() };
    let on_server = inventory.volumes.iter().filter(|volume| volume.server == Some(server.id));
    let keyed = on_server
        .filter_map(|volume| Some((ProjectKey::of_volume(&volume.labels)?, volume.clone())));
    keyed.collect()
}

/// The volume whose project has not been used for longest; `None` if all are in use.
pub(super) fn longest_idle(volumes: &Attached, uses: &Uses) -> Option<(ProjectKey, Volume)> {
    let last_use = |project: &ProjectKey, volume: &Volume| {
        let by_label = naming::last_use(&volume.labels, volume.created.as_second());
        uses.last_use(project).unwrap_or_default().max((by_label, 0))
    };
    let idle = volumes.iter().filter(|(project, _)| !uses.is_used(project));
    let longest = idle.min_by_key(|(project, volume)| last_use(project, volume));
    longest.map(|(project, volume)| (project.clone(), volume.clone()))
}

/// The name of a volume's device below `/dev/disk/by-id`.
pub(super) fn device_of(volume: &Volume) -> &str {
    volume.linux_device.rsplit('/').next().unwrap_or_default()
}

/// Unmounts a volume on its server, then detaches it.
pub(super) async fn detach(
    client: &Client,
    endpoint: &Endpoint,
    agent: &Arc<ServerConnection>,
    volume: &Volume,
) -> Result<(), Error> {
    let device = FileName::new(device_of(volume).as_bytes()).map_err(|error| {
        error::incomplete(format!("the volume {} has no valid device name", volume.name))
            .caused_by(&error)
    })?;
    dial::ask(agent, FromShim::Release(device)).await?;
    let detached: Result<(), ApiError> = async {
        let actions = client.detach_volume(volume.id).await?;
        client.wait(actions, DETACH_DEADLINE).await
    }
    .await;
    detached.map_err(|error| {
        error::api(endpoint, &format!("detach the volume {}", volume.name), &error)
    })
}
