//! What switches servers on and off, and what changes the system or the type of one.

use serde_json::Value;

use super::actions::{Action, Change};
use super::creation::user_data_of;
use super::{Effect, ServerStatus, World, reference};
use crate::catalogue::{self, ServerType};
use crate::ledger::Item;
use crate::refusal::Refusal;

/// The time in which a server has to start for the rescue system, in milliseconds.
const RESCUE_MILLIS: i64 = 3_600_000;

impl World {
    /// Carries out `POST /servers/{id}/actions/VERB`; returns the id of the action.
    pub fn server_action(
        &mut self,
        id: u64,
        verb: &str,
        body: &Value,
        now: i64,
    ) -> Result<u64, Refusal> {
        self.unlocked_server(id)?;
        let (command, change) = match verb {
            "poweron" => {
                self.set_status(id, ServerStatus::Starting);
                ("start_server", Change::Plain)
            }
            "poweroff" => ("stop_server", Change::Plain),
            "shutdown" => ("shutdown_server", Change::Plain),
            "reset" => ("reset_server", Change::Plain),
            "reboot" => ("reboot_server", Change::Plain),
            "rebuild" => ("rebuild_server", self.rebuilding(id, body)?),
            "change_type" => ("change_server_type", self.new_type(id, body)?),
            "enable_rescue" => {
                self.check_ssh_keys(&body["ssh_keys"].as_array().cloned().unwrap_or_default())?;
                ("enable_rescue", Change::Rescue { until: Some(now + RESCUE_MILLIS) })
            }
            _ => ("disable_rescue", Change::Rescue { until: None }),
        };
        Ok(self.begin_change(command, vec![("server", id)], change, now))
    }

    fn rebuilding(&mut self, id: u64, body: &Value) -> Result<Change, Refusal> {
        let server = &self.servers[&id];
        if server.is_protected {
            return Err(Refusal::new("protected", "server rebuild is protected"));
        }
        let wanted = reference(&body["image"]).unwrap_or_default();
        let image = self.image_for(&wanted, server.kind.architecture(), server.disk_gb)?;
        let new_data = user_data_of(body)?;
        let user_data = if body["user_data"].is_null() { None } else { Some(new_data) };
        self.set_status(id, ServerStatus::Rebuilding);
        Ok(Change::Rebuild { image, user_data })
    }

    fn new_type(&self, id: u64, body: &Value) -> Result<Change, Refusal> {
        let server = &self.servers[&id];
        let refused = |message: &str| Err(Refusal::new("invalid_server_type", message));
        let kind = reference(&body["server_type"]).and_then(|name| catalogue::server_type(&name));
        let kind = kind.ok_or_else(|| Refusal::not_found("server_type"))?;
        if server.status != ServerStatus::Off {
            return Err(Refusal::new("server_not_stopped", "server must be powered off"));
        }
        if kind.architecture() != server.kind.architecture() {
            return refused("server type has another architecture");
        }
        if kind.disk < server.disk_gb {
            return refused("disk of server type is smaller than that of the server");
        }
        let freed = if server.kind.is_dedicated() { server.kind.cores } else { 0 };
        self.check_cores(kind, freed)?;
        self.check_stock(kind, server.location)?;
        let grows = body["upgrade_disk"].as_bool() == Some(true);
        Ok(Change::Type { kind, disk_gb: if grows { kind.disk } else { server.disk_gb } })
    }

    /// Completes an action of this module.
    pub(super) fn complete_power(&mut self, action: &Action) {
        let id = action.of("server");
        match action.command {
            "create_server" => {
                let mut actions = self.actions.values();
                let starts =
                    actions.any(|one| one.command == "start_server" && one.of("server") == id);
                let status = if starts { ServerStatus::Starting } else { ServerStatus::Off };
                self.set_status(id, status);
            }
            "start_server" => self.set_status(id, ServerStatus::Running),
            "stop_server" => self.switch_off(id),
            "shutdown_server" if !self.scenario.ignores_shutdown => self.switch_off(id),
            "reset_server" => self.restart(id),
            "reboot_server" if !self.scenario.ignores_shutdown => self.restart(id),
            _ => {}
        }
    }

    fn switch_off(&mut self, id: u64) {
        self.set_status(id, ServerStatus::Off);
        self.effects.push(Effect::Stop(id));
    }

    fn restart(&mut self, id: u64) {
        self.switch_off(id);
        self.set_status(id, ServerStatus::Starting);
        self.set_status(id, ServerStatus::Running);
    }

    pub(super) fn complete_rebuild(&mut self, id: u64, image: u64, user_data: Option<&String>) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.image = image;
        if let Some(user_data) = user_data {
            server.user_data.clone_from(user_data);
        }
        self.effects.extend([Effect::Stop(id), Effect::Wipe(id)]);
        self.restart(id);
    }

    /// Gives a server another type, from now on at its price, and starts it.
    pub(super) fn complete_type(
        &mut self,
        id: u64,
        kind: &'static ServerType,
        disk_gb: u32,
        now: i64,
    ) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        (server.kind, server.disk_gb) = (kind, disk_gb);
        let (server_type, location) = (kind.name.into(), server.location.name.into());
        let name = server.name.clone();
        self.ledger.close(id, now);
        self.ledger.open(id, &name, Item::Server { server_type, location }, now);
        self.restart(id);
    }

    /// Forgets the rescue system where it was not started in time.
    pub(super) fn end_rescues(&mut self, now: i64) {
        for server in self.servers.values_mut() {
            server.rescue_until = server.rescue_until.filter(|until| now < *until);
        }
    }

    /// Changes a server's status; one that starts has its host switched on.
    pub(super) fn set_status(&mut self, id: u64, status: ServerStatus) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.status = status;
        if status == ServerStatus::Starting {
            let is_rescue = server.rescue_until.take().is_some();
            let image = self.images.get(&server.image);
            let is_ours = image.is_none_or(|image| image.system.is_none());
            self.effects.push(Effect::Boot { server: id, runs_agent: is_ours && !is_rescue });
        }
    }
}
