//! Primary IP addresses: one IPv4 address or one IPv6 network, with or without a server.
//!
//! With real hosts an address belongs to the host: one that is assigned to another server shows
//! that server's address from then on.

use serde_json::Value;

use super::actions::Change;
use super::{ServerStatus, World, labels_of, reference, text};
use crate::catalogue::{self, Location};
use crate::ledger::Item;
use crate::refusal::Refusal;
use crate::selector::Labels;

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// One IPv4 address.
    V4,
    /// A network of IPv6 addresses, of which the server has the first.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// An address for documentation, which is that of no host.
    fn address(self, id: u64) -> String {
        match self {
            Self::V4 => format!("192.0.2.{}", id % 250 + 1),
            Self::V6 => format!("2001:db8:{:x}::/64", id & 0xffff),
        }
    }
}

/// A primary IP address.
#[derive(Clone, Debug)]
pub struct PrimaryIp {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The family.
    pub family: Family,
    /// The IPv4 address, or the IPv6 network with the length of its prefix.
    pub ip: String,
    /// The location.
    pub location: &'static Location,
    /// The id of its server.
    pub server: Option<u64>,
    /// Whether it is deleted with its server.
    pub auto_delete: bool,
    /// Whether its deletion is refused.
    pub is_protected: bool,
    /// The labels.
    pub labels: Labels,
    /// The time of creation, in milliseconds of virtual time.
    pub created: i64,
}

impl World {
    /// Carries out `POST /primary_ips`; returns the id and that of the action that assigns it.
    pub fn create_primary_ip(
        &mut self,
        body: &Value,
        now: i64,
    ) -> Result<(u64, Option<u64>), Refusal> {
        let name = text(body, "name");
        let labels = labels_of(body)?.unwrap_or_default();
        let family = if body["type"] == "ipv4" { Family::V4 } else { Family::V6 };
        let server = body["assignee_id"].as_u64();
        let location = match (server, reference(&body["location"])) {
            (Some(server), None) => {
                self.servers.get(&server).ok_or_else(|| Refusal::not_found("server"))?.location
            }
            (None, Some(place)) => catalogue::location(&place)
                .ok_or_else(|| Refusal::invalid("location", "location not found"))?,
            _ => return Err(Refusal::invalid("location", "either location or assignee is needed")),
        };
        if self.primary_ips.values().any(|other| other.name == name) {
            return Err(Refusal::taken("primary IP name is already used"));
        }
        self.check_addresses(1)?;
        if let Some(server) = server {
            self.check_assignment(family, server)?;
        }
        let id = self.add_primary_ip(family, location, now);
        let action = server.map(|server| self.begin_assignment(id, server, now));
        let held = self.primary_ips.get_mut(&id).ok_or_else(|| Refusal::not_found("primary_ip"))?;
        held.name = name.to_owned();
        held.labels = labels;
        held.auto_delete = body["auto_delete"].as_bool().unwrap_or(false);
        Ok((id, action))
    }

    /// Adds an address without a server, with a name of its own.
    pub(super) fn add_primary_ip(
        &mut self,
        family: Family,
        location: &'static Location,
        now: i64,
    ) -> u64 {
        let id = self.new_id();
        let name = format!("primary_ip-{id}");
        if family == Family::V4 {
            self.ledger.open(id, &name, Item::Address, now);
        }
        let address = PrimaryIp {
            id,
            name,
            family,
            ip: family.address(id),
            location,
            server: None,
            auto_delete: false,
            is_protected: false,
            labels: Labels::new(),
            created: now,
        };
        self.primary_ips.insert(id, address);
        id
    }

    /// Refuses so many more addresses than the account may have.
    pub(super) fn check_addresses(&self, more: usize) -> Result<(), Refusal> {
        match self.primary_ips.len() + more > self.scenario.quota.primary_ips() {
            true => Err(Refusal::limit("primary_ip_limit")),
            false => Ok(()),
        }
    }

    /// Carries out `POST /primary_ips/{id}/actions/VERB`; returns the id of the action.
    pub fn primary_ip_action(
        &mut self,
        id: u64,
        verb: &str,
        body: &Value,
        now: i64,
    ) -> Result<u64, Refusal> {
        let held = self.primary_ips.get(&id).ok_or_else(|| Refusal::not_found("primary_ip"))?;
        let (family, assigned, place) = (held.family, held.server, held.location);
        if self.is_locked("primary_ip", id) {
            return Err(Refusal::locked("primary_ip"));
        }
        if verb == "assign" {
            let server = body["assignee_id"].as_u64().unwrap_or(0);
            if assigned.is_some() {
                let message = "primary IP is already assigned to a server";
                return Err(Refusal::new("primary_ip_already_assigned", message));
            }
            self.check_assignment(family, server)?;
            if self.servers[&server].location.name != place.name {
                return Err(Refusal::invalid("assignee_id", "server is in another location"));
            }
            return Ok(self.begin_assignment(id, server, now));
        }
        let Some(server) = assigned else {
            return Err(Refusal::new("primary_ip_not_assigned", "primary IP is not assigned"));
        };
        self.check_is_off(server)?;
        let resources = vec![("primary_ip", id), ("server", server)];
        Ok(self.begin_change("unassign_primary_ip", resources, Change::Assignment(false), now))
    }

    fn begin_assignment(&mut self, id: u64, server: u64, now: i64) -> u64 {
        let resources = vec![("primary_ip", id), ("server", server)];
        self.begin_change("assign_primary_ip", resources, Change::Assignment(true), now)
    }

    fn check_assignment(&self, family: Family, server: u64) -> Result<(), Refusal> {
        self.check_is_off(server)?;
        match self.primary_ip_of(server, family) {
            None => Ok(()),
            Some(_) => {
                let code = format!("server_has_{}", family.name());
                Err(Refusal::new(&code, format!("server already has an {} address", family.name())))
            }
        }
    }

    fn check_is_off(&self, server: u64) -> Result<(), Refusal> {
        let server = self.servers.get(&server).ok_or_else(|| Refusal::not_found("server"))?;
        match server.status {
            ServerStatus::Off => Ok(()),
            _ => Err(Refusal::new("server_not_stopped", "server must be powered off")),
        }
    }

    /// The address of a server, of a family.
    pub fn primary_ip_of(&self, server: u64, family: Family) -> Option<&PrimaryIp> {
        let mut all = self.primary_ips.values();
        all.find(|address| address.server == Some(server) && address.family == family)
    }

    /// Deletes the addresses of a deleted server, or leaves them without one.
    pub(super) fn release_addresses(&mut self, server: u64, now: i64) {
        let of_server = self.primary_ips.values().filter(|one| one.server == Some(server));
        for (id, is_deleted) in of_server.map(|one| (one.id, one.auto_delete)).collect::<Vec<_>>() {
            if is_deleted {
                self.remove_primary_ip(id, now);
            } else if let Some(address) = self.primary_ips.get_mut(&id) {
                address.server = None;
            }
        }
    }

    /// Carries out `PUT /primary_ips/{id}`.
    pub fn update_primary_ip(&mut self, id: u64, body: &Value) -> Result<(), Refusal> {
        let labels = labels_of(body)?;
        let held = self.primary_ips.get_mut(&id).ok_or_else(|| Refusal::not_found("primary_ip"))?;
        held.labels = labels.unwrap_or_else(|| std::mem::take(&mut held.labels));
        held.auto_delete = body["auto_delete"].as_bool().unwrap_or(held.auto_delete);
        if let Some(name) = body["name"].as_str() {
            held.name = name.to_owned();
        }
        Ok(())
    }

    /// Carries out `DELETE /primary_ips/{id}`.
    pub fn delete_primary_ip(&mut self, id: u64, now: i64) -> Result<(), Refusal> {
        let held = self.primary_ips.get(&id).ok_or_else(|| Refusal::not_found("primary_ip"))?;
        if held.server.is_some() {
            return Err(Refusal::new("must_be_unassigned", "primary IP must be unassigned"));
        }
        self.check_deletion("primary_ip", id)?;
        self.remove_primary_ip(id, now);
        Ok(())
    }

    fn remove_primary_ip(&mut self, id: u64, now: i64) {
        self.primary_ips.remove(&id);
        self.ledger.close(id, now);
    }
}
