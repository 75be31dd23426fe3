//! Operations on servers.

use serde_json::Value;

use super::{Effect, World, labels_of};
use crate::catalogue::{Location, ServerType};
use crate::refusal::Refusal;
use crate::selector::Labels;

/// Most volumes of one server.
pub(super) const VOLUMES_MAX: usize = 16;

/// The state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerStatus {
    /// It is being created.
    Initializing,
    /// It is being switched on.
    Starting,
    /// It is switched on.
    Running,
    /// It is switched off; it is still billed.
    Off,
    /// It is being rebuilt from an image.
    Rebuilding,
    /// It is being deleted.
    Deleting,
}

impl ServerStatus {
    /// The state as the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Off => "off",
            Self::Rebuilding => "rebuilding",
            Self::Deleting => "deleting",
        }
    }
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The state.
    pub status: ServerStatus,
    /// The time of creation, in milliseconds of virtual time.
    pub created: i64,
    /// The server type.
    pub kind: &'static ServerType,
    /// The size of its disk in GB, which a larger type need not change.
    pub disk_gb: u32,
    /// The location.
    pub location: &'static Location,
    /// The id of its image.
    pub image: u64,
    /// The labels.
    pub labels: Labels,
    /// The user data for the metadata service.
    pub user_data: String,
    /// Whether it was created with SSH keys, and so without a root password.
    pub has_ssh_keys: bool,
    /// The ids of its firewalls.
    pub firewalls: Vec<u64>,
    /// The time, in milliseconds of virtual time, until which its next start is that of the
    /// rescue system.
    pub rescue_until: Option<i64>,
    /// Whether its deletion is refused.
    pub is_protected: bool,
}

impl World {
    /// Carries out `DELETE /servers/{id}`; returns the id of the action.
    pub fn delete_server(&mut self, id: u64, now: i64) -> Result<u64, Refusal> {
        self.unlocked_server(id)?;
        self.check_deletion("server", id)?;
        self.set_status(id, ServerStatus::Deleting);
        Ok(self.begin("delete_server", vec![("server", id)], now))
    }

    /// Carries out `PUT /servers/{id}`.
    pub fn update_server(&mut self, id: u64, body: &Value) -> Result<(), Refusal> {
        let labels = labels_of(body)?;
        let name = body["name"].as_str().map(str::to_owned);
        if let Some(name) = &name
            && self.servers.values().any(|server| server.name == *name && server.id != id)
        {
            return Err(Refusal::taken("server name is already used"));
        }
        let server = self.servers.get_mut(&id).ok_or_else(|| Refusal::not_found("server"))?;
        server.labels = labels.unwrap_or_else(|| std::mem::take(&mut server.labels));
        server.name = name.unwrap_or_else(|| std::mem::take(&mut server.name));
        Ok(())
    }

    pub(super) fn unlocked_server(&mut self, id: u64) -> Result<&mut Server, Refusal> {
        let locked = self.is_locked("server", id);
        let server = self.servers.get_mut(&id).ok_or_else(|| Refusal::not_found("server"))?;
        if locked { Err(Refusal::locked("server")) } else { Ok(server) }
    }

    pub(super) fn remove_server(&mut self, id: u64, now: i64) {
        self.effects.push(Effect::Stop(id));
        let Some(server) = self.servers.remove(&id) else { return };
        self.ledger.close(id, now);
        for volume in self.volumes.values_mut().filter(|volume| volume.server == Some(id)) {
            volume.server = None;
            self.effects.push(Effect::Unplug { volume: volume.id, server: id });
        }
        self.effects.push(Effect::Forget(id));
        self.release_addresses(id, now);
        self.leave_networks(id);
        let lingers = (self.scenario.firewall_lingers_secs * 1000.0) as i64;
        for firewall in server.firewalls {
            if let Some(firewall) = self.firewalls.get_mut(&firewall) {
                firewall.used_until = now + lingers;
            }
        }
    }

    /// The ids of a server's volumes.
    pub fn volumes_of(&self, server: u64) -> Vec<u64> {
        let attached = self.volumes.values().filter(|volume| volume.server == Some(server));
        attached.map(|volume| volume.id).collect()
    }
}
