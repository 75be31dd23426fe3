//! Operations on volumes.

use serde_json::Value;

use super::servers::VOLUMES_MAX;
use super::{Effect, World, labels_of, text};
use crate::catalogue::{self, Location};
use crate::ledger::Item;
use crate::refusal::Refusal;
use crate::selector::Labels;

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The size in GB.
    pub gb: u64,
    /// The location.
    pub location: &'static Location,
    /// The id of the server that it is attached to.
    pub server: Option<u64>,
    /// The labels.
    pub labels: Labels,
    /// The time of creation, in milliseconds of virtual time.
    pub created: i64,
    /// The requested file system.
    pub format: Option<String>,
    /// Whether its deletion is refused.
    pub is_protected: bool,
}

impl World {
    /// Carries out `POST /volumes`; returns the ids of the volume and of its actions.
    pub fn create_volume(&mut self, body: &Value, now: i64) -> Result<(u64, Vec<u64>), Refusal> {
        let name = text(body, "name").to_owned();
        let labels = labels_of(body)?.unwrap_or_default();
        if !is_volume_name(&name) {
            return Err(Refusal::invalid("name", "is not a valid volume name"));
        }
        let gb = body["size"].as_u64().unwrap_or(0);
        if !(10..=10240).contains(&gb) {
            return Err(Refusal::invalid("size", "must be between 10 and 10240"));
        }
        let format = body["format"].as_str().map(str::to_owned);
        if format.as_deref().is_some_and(|format| !["ext4", "xfs"].contains(&format)) {
            return Err(Refusal::invalid("format", "must be xfs or ext4"));
        }
        let server = body["server"].as_u64();
        let location = match (server, body["location"].as_str()) {
            (Some(server), None) => {
                self.servers.get(&server).ok_or_else(|| Refusal::not_found("server"))?.location
            }
            (None, Some(location)) => catalogue::location(location)
                .ok_or_else(|| Refusal::invalid("location", "location not found"))?,
            _ => return Err(Refusal::invalid("location", "either location or server is needed")),
        };
        if body["automount"].as_bool() == Some(true) && server.is_none() {
            return Err(Refusal::invalid("automount", "needs a server"));
        }
        if self.volumes.values().any(|volume| volume.name == name) {
            return Err(Refusal::taken("volume name is already used"));
        }
        if self.volumes.len() >= self.scenario.quota.volumes {
            return Err(Refusal::limit("volume_limit"));
        }
        if let Some(server) = server {
            self.check_attach(server, 1)?;
        }
        if self.scenario.volumes_full_in.iter().any(|full| full == location.name) {
            let message = format!("no space left in location {}", location.name);
            return Err(Refusal::new("no_space_left_in_location", message));
        }
        let id = self.new_id();
        self.ledger.open(id, &name, Item::Storage { gb: gb as f64, is_image: false }, now);
        let (created, is_protected) = (now, false);
        let volume =
            Volume { id, name, gb, location, server: None, labels, created, format, is_protected };
        self.volumes.insert(id, volume);
        let created = self.begin("create_volume", vec![("volume", id)], now);
        let mut actions = vec![created];
        if let Some(server) = server {
            let ready = self.actions[&created].ends;
            let resources = vec![("server", server), ("volume", id)];
            actions.push(self.begin("attach_volume", resources, ready));
        }
        Ok((id, actions))
    }

    /// Carries out `POST /volumes/{id}/actions/VERB`; returns the id of the action.
    pub fn volume_action(
        &mut self,
        id: u64,
        verb: &str,
        body: &Value,
        now: i64,
    ) -> Result<u64, Refusal> {
        let volume = self.unlocked_volume(id)?.clone();
        match verb {
            "attach" => {
                let server = body["server"].as_u64().unwrap_or(0);
                let location = self.servers.get(&server).map(|server| server.location.name);
                let location = location.ok_or_else(|| Refusal::not_found("server"))?;
                if volume.server.is_some() {
                    let message = "volume is already attached to a server";
                    return Err(Refusal::new("volume_already_attached", message));
                }
                if location != volume.location.name {
                    return Err(Refusal::invalid("server", "is in another location"));
                }
                self.check_attach(server, 1)?;
                Ok(self.begin("attach_volume", vec![("server", server), ("volume", id)], now))
            }
            "detach" => {
                let server = volume.server.ok_or_else(|| {
                    Refusal::new("service_error", "volume is not attached to a server")
                })?;
                if self.is_locked("server", server) {
                    return Err(Refusal::locked("server"));
                }
                Ok(self.begin("detach_volume", vec![("server", server), ("volume", id)], now))
            }
            _ => {
                let gb = body["size"].as_u64().unwrap_or(0);
                if gb <= volume.gb || gb > 10240 {
                    return Err(Refusal::invalid("size", "volumes can only grow"));
                }
                if let Some(volume) = self.volumes.get_mut(&id) {
                    volume.gb = gb;
                }
                self.ledger.close(id, now);
                let item = Item::Storage { gb: gb as f64, is_image: false };
                self.ledger.open(id, &volume.name, item, now);
                Ok(self.begin("resize_volume", vec![("volume", id)], now))
            }
        }
    }

    fn check_attach(&self, server: u64, more: usize) -> Result<(), Refusal> {
        if self.is_locked("server", server) {
            return Err(Refusal::locked("server"));
        }
        if self.volumes_of(server).len() + more > VOLUMES_MAX {
            return Err(Refusal::new("limit_exceeded_error", "server has its maximum of volumes"));
        }
        Ok(())
    }

    pub(super) fn check_volumes_for(
        &self,
        volumes: &[u64],
        location: &Location,
    ) -> Result<(), Refusal> {
        if volumes.len() > VOLUMES_MAX {
            return Err(Refusal::new("limit_exceeded_error", "too many volumes"));
        }
        for id in volumes {
            let volume = self.volumes.get(id).ok_or_else(|| Refusal::not_found("volume"))?;
            if self.is_locked("volume", *id) {
                return Err(Refusal::locked("volume"));
            }
            if volume.server.is_some() {
                let message = "volume is already attached to a server";
                return Err(Refusal::new("volume_already_attached", message));
            }
            if volume.location.name != location.name {
                return Err(Refusal::invalid("volumes", "volume is in another location"));
            }
        }
        Ok(())
    }

    /// Carries out `PUT /volumes/{id}`.
    pub fn update_volume(&mut self, id: u64, body: &Value) -> Result<(), Refusal> {
        let labels = labels_of(body)?;
        if body["name"].as_str().is_some_and(|name| !is_volume_name(name)) {
            return Err(Refusal::invalid("name", "is not a valid volume name"));
        }
        let volume = self.volumes.get_mut(&id).ok_or_else(|| Refusal::not_found("volume"))?;
        volume.labels = labels.unwrap_or_else(|| std::mem::take(&mut volume.labels));
        if let Some(name) = body["name"].as_str() {
            volume.name = name.to_owned();
        }
        Ok(())
    }

    /// Carries out `DELETE /volumes/{id}`.
    pub fn delete_volume(&mut self, id: u64, now: i64) -> Result<(), Refusal> {
        if self.unlocked_volume(id)?.server.is_some() {
            return Err(Refusal::new("resource_in_use", "volume is attached to a server"));
        }
        self.check_deletion("volume", id)?;
        self.remove_volume(id, now);
        Ok(())
    }

    pub(super) fn remove_volume(&mut self, id: u64, now: i64) {
        self.volumes.remove(&id);
        self.ledger.close(id, now);
        self.effects.push(Effect::Erase(id));
    }

    fn unlocked_volume(&self, id: u64) -> Result<&Volume, Refusal> {
        let volume = self.volumes.get(&id).ok_or_else(|| Refusal::not_found("volume"))?;
        if self.is_locked("volume", id) { Err(Refusal::locked("volume")) } else { Ok(volume) }
    }
}

/// At most 64 of `A-Za-z0-9._-`, with a letter or a digit at both ends.
fn is_volume_name(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.len() <= 64
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}
