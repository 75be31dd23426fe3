//! Operations on firewalls.

use serde_json::Value;

use super::{Firewall, World, labels_of, text};
use crate::refusal::Refusal;
use crate::selector::{Labels, selects};

impl World {
    /// Carries out `POST /firewalls`; returns the id.
    pub fn create_firewall(&mut self, body: &Value, now: i64) -> Result<u64, Refusal> {
        let name = text(body, "name").to_owned();
        let labels = labels_of(body)?.unwrap_or_default();
        let rules = body["rules"].as_array().cloned().unwrap_or_default();
        check_rules(&rules)?;
        if self.firewalls.values().any(|firewall| firewall.name == name) {
            return Err(Refusal::taken("firewall name is already used"));
        }
        let list = body["apply_to"].as_array().cloned().unwrap_or_default();
        let selectors: Vec<String> = list
            .iter()
            .filter_map(|one| one["label_selector"]["selector"].as_str().map(str::to_owned))
            .collect();
        for selector in &selectors {
            selects(selector, &Labels::new())?;
        }
        let id = self.new_id();
        let firewall =
            Firewall { id, name, labels, rules, created: now, selectors, used_until: now };
        self.firewalls.insert(id, firewall);
        Ok(id)
    }

    /// Carries out `PUT /firewalls/{id}`.
    pub fn update_firewall(&mut self, id: u64, body: &Value) -> Result<(), Refusal> {
        let labels = labels_of(body)?;
        let firewall = self.firewalls.get_mut(&id).ok_or_else(|| Refusal::not_found("firewall"))?;
        firewall.labels = labels.unwrap_or_else(|| std::mem::take(&mut firewall.labels));
        if let Some(name) = body["name"].as_str() {
            firewall.name = name.to_owned();
        }
        Ok(())
    }

    /// Carries out `POST /firewalls/{id}/actions/set_rules`; returns the action.
    pub fn set_firewall_rules(&mut self, id: u64, body: &Value, now: i64) -> Result<u64, Refusal> {
        let rules = body["rules"].as_array().cloned().unwrap_or_default();
        check_rules(&rules)?;
        let firewall = self.firewalls.get_mut(&id).ok_or_else(|| Refusal::not_found("firewall"))?;
        firewall.rules = rules;
        Ok(self.begin("set_firewall_rules", vec![("firewall", id)], now))
    }

    /// Carries out `DELETE /firewalls/{id}`.
    pub fn delete_firewall(&mut self, id: u64, now: i64) -> Result<(), Refusal> {
        let firewall = self.firewalls.get(&id).ok_or_else(|| Refusal::not_found("firewall"))?;
        if now < firewall.used_until || !self.servers_behind(id).is_empty() {
            return Err(Refusal::new("resource_in_use", "firewall is still in use"));
        }
        self.firewalls.remove(&id);
        Ok(())
    }

    /// The ids of the servers that a firewall applies to.
    pub fn servers_behind(&self, firewall: u64) -> Vec<u64> {
        let selectors = self.firewalls.get(&firewall).map(|firewall| firewall.selectors.clone());
        let selectors = selectors.unwrap_or_default();
        let behind = self.servers.values().filter(|server| {
            server.firewalls.contains(&firewall)
                || selectors.iter().any(|text| selects(text, &server.labels) == Ok(true))
        });
        behind.map(|server| server.id).collect()
    }
}

/// What the schemas do not say: how many rules there may be, and that a port belongs to TCP and
/// UDP.
fn check_rules(rules: &[Value]) -> Result<(), Refusal> {
    if rules.len() > 50 {
        return Err(Refusal::invalid("rules", "must be at most 50"));
    }
    let has_ports = |rule: &Value| matches!(rule["protocol"].as_str(), Some("tcp" | "udp"));
    match rules.iter().any(|rule| has_ports(rule) == rule["port"].is_null()) {
        true => Err(Refusal::invalid("rules", "a port is required for tcp and udp alone")),
        false => Ok(()),
    }
}
