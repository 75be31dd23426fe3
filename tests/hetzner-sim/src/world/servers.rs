//! Operations on servers.

use serde_json::Value;

use super::{Effect, World, labels_of, reference, text};
use crate::catalogue::{self, Location, ServerType};
use crate::ledger::Item;
use crate::refusal::Refusal;
use crate::selector::Labels;

/// Largest user data in bytes.
const USER_DATA_BYTES_MAX: usize = 32 << 10;

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
    /// The location.
    pub location: &'static Location,
    /// The id of its image.
    pub image: u64,
    /// The labels.
    pub labels: Labels,
    /// The user data for the metadata service.
    pub user_data: String,
    /// The ids of its firewalls.
    pub firewalls: Vec<u64>,
    /// The IPv4 address: that of the host, where the server has one.
    pub ipv4: Option<String>,
    /// Whether it has an IPv6 network.
    pub ipv6: bool,
    /// Whether its deletion is refused.
    pub is_protected: bool,
}

impl World {
    /// Carries out `POST /servers`; returns the ids of the server and of its actions.
    pub fn create_server(&mut self, body: &Value, now: i64) -> Result<(u64, Vec<u64>), Refusal> {
        let name = text(body, "name").to_owned();
        let labels = labels_of(body)?.unwrap_or_default();
        let user_data = text(body, "user_data").to_owned();
        if !is_host_name(&name) {
            return Err(Refusal::invalid("name", "is not a valid hostname"));
        }
        if user_data.len() > USER_DATA_BYTES_MAX {
            return Err(Refusal::invalid("user_data", "must be at most 32768 bytes"));
        }
        let kind = reference(body, "server_type")
            .and_then(|wanted| catalogue::server_type(&wanted))
            .ok_or_else(|| Refusal::invalid("server_type", "server type not found"))?;
        let place = reference(body, "location").unwrap_or_else(|| "fsn1".into());
        let location = catalogue::location(&place)
            .ok_or_else(|| Refusal::invalid("location", "location not found"))?;
        let image = self.image_for(&reference(body, "image").unwrap_or_default(), kind)?;
        if self.servers.values().any(|server| server.name == name) {
            return Err(Refusal::taken("server name is already used"));
        }
        let ids = |field: &str| {
            let list = body[field].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(Value::as_u64).collect::<Vec<_>>()
        };
        let volumes = ids("volumes");
        let is_on = |field: &str| body["public_net"][field].as_bool().unwrap_or(true);
        let (ipv4, ipv6) = (is_on("enable_ipv4"), is_on("enable_ipv6"));
        self.check_volumes_for(&volumes, location)?;
        let list = body["firewalls"].as_array().cloned().unwrap_or_default();
        let firewalls: Vec<u64> =
            list.iter().filter_map(|entry| entry["firewall"].as_u64()).collect();
        if firewalls.iter().any(|id| !self.firewalls.contains_key(id)) {
            return Err(Refusal::not_found("firewall"));
        }
        let nets = [ipv4, ipv6].into_iter().filter(|is_on| *is_on).count();
        self.check_quota(kind, nets)?;
        self.check_stock(kind, location)?;
        let id = self.new_id();
        let item = Item::Server { server_type: kind.name.into(), location: location.name.into() };
        self.ledger.open(id, &name, item, now);
        let server = Server {
            id,
            name,
            status: ServerStatus::Initializing,
            created: now,
            kind,
            location,
            image,
            labels,
            user_data,
            firewalls,
            ipv4: ipv4.then(|| format!("192.0.2.{}", id % 250 + 1)),
            ipv6,
            is_protected: false,
        };
        self.servers.insert(id, server);
        let created = self.begin("create_server", vec![("server", id)], now);
        let ready = self.actions[&created].ends;
        let mut actions = vec![created];
        if body["start_after_create"].as_bool() != Some(false) {
            actions.push(self.begin("start_server", vec![("server", id)], ready));
        }
        for volume in volumes {
            let resources = vec![("server", id), ("volume", volume)];
            actions.push(self.begin("attach_volume", resources, ready));
        }
        Ok((id, actions))
    }

    fn check_quota(&self, kind: &ServerType, addresses: usize) -> Result<(), Refusal> {
        let over = |limit: &str| {
            let mut refusal = Refusal::new("resource_limit_exceeded", format!("{limit} exceeded"));
            refusal.details = serde_json::json!({ "limits": [{ "name": limit }] });
            Err(refusal)
        };
        if self.servers.len() >= self.scenario.quota.servers {
            return over("server_limit");
        }
        if self.addresses() + addresses > self.scenario.quota.primary_ips() {
            return over("primary_ip_limit");
        }
        let dedicated = self.servers.values().filter(|server| server.kind.is_dedicated());
        let cores: u32 = dedicated.map(|server| server.kind.cores).sum();
        if kind.is_dedicated() && cores + kind.cores > self.scenario.quota.dedicated_cores {
            return over("dedicated_core_limit");
        }
        Ok(())
    }

    /// The number of primary IP addresses, of which a server has one of each family.
    fn addresses(&self) -> usize {
        let of = |server: &Server| usize::from(server.ipv4.is_some()) + usize::from(server.ipv6);
        self.servers.values().map(of).sum()
    }

    fn check_stock(&self, kind: &ServerType, location: &Location) -> Result<(), Refusal> {
        if !kind.is_supported_in(location.name) {
            let mut refusal = Refusal::invalid("location", "unsupported location for server type");
            refusal.message = "unsupported location for server type".into();
            return Err(refusal);
        }
        if !self.scenario.stock_of(kind.name, location.name).there {
            return Err(Refusal::new("resource_unavailable", "error during placement"));
        }
        Ok(())
    }

    /// Carries out `DELETE /servers/{id}`; returns the id of the action.
    pub fn delete_server(&mut self, id: u64, now: i64) -> Result<u64, Refusal> {
        self.unlocked_server(id)?;
        self.check_deletion("server", id)?;
        self.set_status(id, ServerStatus::Deleting);
        Ok(self.begin("delete_server", vec![("server", id)], now))
    }

    /// Carries out `POST /servers/{id}/actions/VERB`; returns the id of the action.
    pub fn power(&mut self, id: u64, verb: &str, now: i64) -> Result<u64, Refusal> {
        let server = self.unlocked_server(id)?;
        let command = match verb {
            "poweron" => "start_server",
            "poweroff" => "stop_server",
            _ => "shutdown_server",
        };
        if command == "start_server" {
            server.status = ServerStatus::Starting;
            self.effects.push(Effect::Boot(id));
        }
        Ok(self.begin(command, vec![("server", id)], now))
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

    fn unlocked_server(&mut self, id: u64) -> Result<&mut Server, Refusal> {
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

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
