//! Private networks, as far as servers can be created in them. Hosts have no interface for them.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::{World, labels_of, text};
use crate::catalogue::Location;
use crate::cidr::Cidr;
use crate::refusal::Refusal;
use crate::selector::Labels;

/// The private ranges of RFC 1918.
const PRIVATE: [&str; 3] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

/// A private network.
#[derive(Clone, Debug)]
pub struct PrivateNetwork {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The labels.
    pub labels: Labels,
    /// The time of creation, in milliseconds of virtual time.
    pub created: i64,
    /// The range of its addresses.
    pub range: Cidr,
    /// The subnets: network zone and range.
    pub subnets: Vec<(String, Cidr)>,
    /// The servers with their addresses.
    pub servers: Vec<(u64, Ipv4Addr)>,
}

impl World {
    /// Carries out `POST /networks`; returns the id.
    pub fn create_network(&mut self, body: &Value, now: i64) -> Result<u64, Refusal> {
        let name = text(body, "name").to_owned();
        let labels = labels_of(body)?.unwrap_or_default();
        let range = private_range(text(body, "ip_range"), "ip_range")?;
        let mut subnets = Vec::new();
        for subnet in body["subnets"].as_array().cloned().unwrap_or_default() {
            let within = match subnet["ip_range"].as_str() {
                Some(text) => private_range(text, "subnets.ip_range")?,
                None => range,
            };
            if !range.contains(&within) {
                return Err(Refusal::invalid("subnets.ip_range", "is not within the network"));
            }
            subnets.push((text(&subnet, "network_zone").to_owned(), within));
        }
        if self.networks.values().any(|network| network.name == name) {
            return Err(Refusal::taken("network name is already used"));
        }
        let id = self.new_id();
        let servers = Vec::new();
        let network = PrivateNetwork { id, name, labels, created: now, range, subnets, servers };
        self.networks.insert(id, network);
        Ok(id)
    }

    /// Carries out `PUT /networks/{id}`.
    pub fn update_network(&mut self, id: u64, body: &Value) -> Result<(), Refusal> {
        let labels = labels_of(body)?;
        let network = self.networks.get_mut(&id).ok_or_else(|| Refusal::not_found("network"))?;
        network.labels = labels.unwrap_or_else(|| std::mem::take(&mut network.labels));
        if let Some(name) = body["name"].as_str() {
            network.name = name.to_owned();
        }
        Ok(())
    }

    /// Carries out `DELETE /networks/{id}`.
    pub fn delete_network(&mut self, id: u64) -> Result<(), Refusal> {
        let network = self.networks.get(&id).ok_or_else(|| Refusal::not_found("network"))?;
        if !network.servers.is_empty() {
            return Err(Refusal::new("resource_in_use", "network is still in use"));
        }
        self.networks.remove(&id);
        Ok(())
    }

    /// Refuses networks that do not exist or have no subnet in the zone of a location.
    pub(super) fn check_networks_for(
        &self,
        networks: &[u64],
        location: &Location,
    ) -> Result<(), Refusal> {
        for id in networks {
            let network = self.networks.get(id).ok_or_else(|| Refusal::not_found("network"))?;
            if !network.subnets.iter().any(|(zone, _)| zone == location.zone) {
                let message = format!("network has no subnet in {}", location.zone);
                return Err(Refusal::invalid("networks", &message));
            }
        }
        Ok(())
    }

    /// Gives a server the next address of a network's first subnet in its zone.
    pub(super) fn join_network(&mut self, network: u64, server: u64) {
        let zone = self.servers[&server].location.zone;
        let Some(network) = self.networks.get_mut(&network) else { return };
        let Some((_, range)) = network.subnets.iter().find(|(other, _)| other == zone) else {
            return;
        };
        // The first one is the gateway's.
        let used = network.servers.iter().map(|(_, address)| u32::from(*address));
        let next = used.max().unwrap_or_else(|| range.first_v4() + 1) + 1;
        network.servers.push((server, Ipv4Addr::from(next)));
    }

    /// Takes a server out of all networks.
    pub(super) fn leave_networks(&mut self, server: u64) {
        for network in self.networks.values_mut() {
            network.servers.retain(|(other, _)| *other != server);
        }
    }
}

fn private_range(text: &str, field: &str) -> Result<Cidr, Refusal> {
    let range = Cidr::parse(text).map_err(|error| Refusal::invalid(field, &error.to_string()))?;
    let is_private = PRIVATE
        .iter()
        .any(|private| Cidr::parse(private).is_ok_and(|private| private.contains(&range)));
    match is_private {
        true => Ok(range),
        false => Err(Refusal::invalid(field, "must be a private IPv4 range of RFC 1918")),
    }
}
