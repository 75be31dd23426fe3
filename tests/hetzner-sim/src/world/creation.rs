//! The creation of a server.

use serde_json::Value;

use super::{Family, Server, ServerStatus, World, labels_of, reference, text};
use crate::catalogue::{self, Location, ServerType};
use crate::ledger::Item;
use crate::refusal::Refusal;
use crate::selector::Labels;

/// Largest user data in bytes.
const USER_DATA_BYTES_MAX: usize = 32 << 10;

/// A server as a request wants it, with everything that it names.
struct Wanted {
    name: String,
    labels: Labels,
    user_data: String,
    kind: &'static ServerType,
    location: &'static Location,
    image: u64,
    volumes: Vec<u64>,
    firewalls: Vec<u64>,
    networks: Vec<u64>,
    /// The families of its addresses, each with the id of one that exists.
    addresses: Vec<(Family, Option<u64>)>,
    has_ssh_keys: bool,
}

impl World {
    /// Carries out `POST /servers`; returns the ids of the server and of its actions.
    pub fn create_server(&mut self, body: &Value, now: i64) -> Result<(u64, Vec<u64>), Refusal> {
        let wanted = self.wanted_server(body)?;
        self.check_quota(&wanted)?;
        self.check_stock(wanted.kind, wanted.location)?;
        let id = self.add_server(&wanted, now);
        let created = self.begin("create_server", vec![("server", id)], now);
        let ready = self.actions[&created].ends;
        let mut actions = vec![created];
        if body["start_after_create"].as_bool() != Some(false) {
            actions.push(self.begin("start_server", vec![("server", id)], ready));
        }
        for volume in wanted.volumes {
            let resources = vec![("server", id), ("volume", volume)];
            actions.push(self.begin("attach_volume", resources, ready));
        }
        Ok((id, actions))
    }

    fn wanted_server(&self, body: &Value) -> Result<Wanted, Refusal> {
        let name = text(body, "name").to_owned();
        let labels = labels_of(body)?.unwrap_or_default();
        let user_data = user_data_of(body)?;
        if !is_host_name(&name) {
            return Err(Refusal::invalid("name", "is not a valid hostname"));
        }
        let kind = reference(&body["server_type"])
            .and_then(|wanted| catalogue::server_type(&wanted))
            .ok_or_else(|| Refusal::invalid("server_type", "server type not found"))?;
        let place = reference(&body["location"]).unwrap_or_else(|| "fsn1".into());
        let location = catalogue::location(&place)
            .ok_or_else(|| Refusal::invalid("location", "location not found"))?;
        let image = self.image_for(
            &reference(&body["image"]).unwrap_or_default(),
            kind.architecture(),
            kind.disk,
        )?;
        if self.servers.values().any(|server| server.name == name) {
            return Err(Refusal::taken("server name is already used"));
        }
        let list = |field: &str| body[field].as_array().cloned().unwrap_or_default();
        let ids = |field: &str| list(field).iter().filter_map(Value::as_u64).collect::<Vec<_>>();
        let (volumes, networks) = (ids("volumes"), ids("networks"));
        self.check_volumes_for(&volumes, location)?;
        let firewalls: Vec<u64> =
            list("firewalls").iter().filter_map(|entry| entry["firewall"].as_u64()).collect();
        if firewalls.iter().any(|id| !self.firewalls.contains_key(id)) {
            return Err(Refusal::not_found("firewall"));
        }
        self.check_networks_for(&networks, location)?;
        // There are none.
        if !body["placement_group"].is_null() {
            return Err(Refusal::not_found("placement_group"));
        }
        let ssh_keys = list("ssh_keys");
        self.check_ssh_keys(&ssh_keys)?;
        let addresses = self.wanted_addresses(&body["public_net"], location)?;
        if addresses.is_empty() && networks.is_empty() {
            let message = "a server without networks needs enable_ipv4 or enable_ipv6";
            return Err(Refusal::invalid("public_net", message));
        }
        let has_ssh_keys = !ssh_keys.is_empty();
        Ok(Wanted {
            name,
            labels,
            user_data,
            kind,
            location,
            image,
            volumes,
            firewalls,
            networks,
            addresses,
            has_ssh_keys,
        })
    }

    fn wanted_addresses(
        &self,
        public_net: &Value,
        location: &Location,
    ) -> Result<Vec<(Family, Option<u64>)>, Refusal> {
        let mut addresses = Vec::new();
        for family in Family::ALL {
            let name = family.name();
            if public_net[format!("enable_{name}")].as_bool() == Some(false) {
                continue;
            }
            let wanted = public_net[name].as_u64();
            if let Some(id) = wanted {
                let held = self.primary_ips.get(&id);
                let held = held.ok_or_else(|| Refusal::not_found("primary_ip"))?;
                let refused = |code: &str, message: &str| Err(Refusal::new(code, message));
                if held.family != family {
                    let message = "primary IP has the wrong version";
                    return refused("primary_ip_version_mismatch", message);
                }
                if held.server.is_some() {
                    return refused("primary_ip_assigned", "primary IP is already assigned");
                }
                if held.location.name != location.name {
                    let message = "primary IP is in another location";
                    return refused("primary_ip_datacenter_mismatch", message);
                }
            }
            addresses.push((family, wanted));
        }
        Ok(addresses)
    }

    fn add_server(&mut self, wanted: &Wanted, now: i64) -> u64 {
        let id = self.new_id();
        let (kind, location) = (wanted.kind, wanted.location);
        let item = Item::Server { server_type: kind.name.into(), location: location.name.into() };
        self.ledger.open(id, &wanted.name, item, now);
        let server = Server {
            id,
            name: wanted.name.clone(),
            status: ServerStatus::Initializing,
            created: now,
            kind,
            disk_gb: kind.disk,
            location,
            image: wanted.image,
            labels: wanted.labels.clone(),
            user_data: wanted.user_data.clone(),
            has_ssh_keys: wanted.has_ssh_keys,
            firewalls: wanted.firewalls.clone(),
            rescue_until: None,
            is_protected: false,
        };
        self.servers.insert(id, server);
        for (family, existing) in &wanted.addresses {
            let is_new = existing.is_none();
            let address =
                existing.unwrap_or_else(|| self.add_primary_ip(*family, wanted.location, now));
            if let Some(address) = self.primary_ips.get_mut(&address) {
                address.server = Some(id);
                address.auto_delete |= is_new;
            }
        }
        for network in &wanted.networks {
            self.join_network(*network, id);
        }
        id
    }

    fn check_quota(&self, wanted: &Wanted) -> Result<(), Refusal> {
        if self.servers.len() >= self.scenario.quota.servers {
            return Err(Refusal::limit("server_limit"));
        }
        let is_new = |(_, existing): &&(Family, Option<u64>)| existing.is_none();
        self.check_addresses(wanted.addresses.iter().filter(is_new).count())?;
        self.check_cores(wanted.kind, 0)
    }

    /// Refuses a type with more dedicated cores than are left once `freed` are given back.
    pub(super) fn check_cores(&self, kind: &ServerType, freed: u32) -> Result<(), Refusal> {
        let dedicated = self.servers.values().filter(|server| server.kind.is_dedicated());
        let cores: u32 = dedicated.map(|server| server.kind.cores).sum();
        let limit = self.scenario.quota.dedicated_cores;
        match kind.is_dedicated() && cores - freed + kind.cores > limit {
            true => Err(Refusal::limit("dedicated_core_limit")),
            false => Ok(()),
        }
    }

    /// Refuses a type that a location does not offer or does not have in stock.
    pub(super) fn check_stock(
        &self,
        kind: &ServerType,
        location: &Location,
    ) -> Result<(), Refusal> {
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
}

/// The user data of a body.
pub(super) fn user_data_of(body: &Value) -> Result<String, Refusal> {
    let user_data = text(body, "user_data");
    match user_data.len() > USER_DATA_BYTES_MAX {
        true => Err(Refusal::invalid("user_data", "must be at most 32768 bytes")),
        false => Ok(user_data.to_owned()),
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
