//! Operations on firewalls.

use serde_json::Value;

use super::actions::Change;
use super::rules::{self, Rule};
use super::{World, labels_of, text};
use crate::refusal::Refusal;
use crate::selector::{Labels, selects};

/// A firewall.
#[derive(Clone, Debug)]
pub struct Firewall {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The labels.
    pub labels: Labels,
    /// The rules as they were sent.
    pub rules: Vec<Value>,
    /// The time of creation, in milliseconds of virtual time.
    pub created: i64,
    /// Selectors of the servers that it applies to.
    pub selectors: Vec<String>,
    /// The virtual time until which it counts as used without a server.
    pub used_until: i64,
}

/// A resource that a firewall is applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A server.
    Server(u64),
    /// All servers that a label selector matches.
    Selector(String),
}

impl World {
    /// Carries out `POST /firewalls`; returns the id.
    pub fn create_firewall(&mut self, body: &Value, now: i64) -> Result<u64, Refusal> {
        let name = text(body, "name").to_owned();
        let labels = labels_of(body)?.unwrap_or_default();
        let rules = rules::checked(&body["rules"].as_array().cloned().unwrap_or_default())?;
        if self.firewalls.values().any(|firewall| firewall.name == name) {
            return Err(Refusal::taken("firewall name is already used"));
        }
        let targets = self.targets(&body["apply_to"])?;
        let id = self.new_id();
        let (selectors, used_until) = (Vec::new(), now);
        let firewall = Firewall { id, name, labels, rules, created: now, selectors, used_until };
        self.firewalls.insert(id, firewall);
        for target in &targets {
            self.set_applied(id, target, true);
        }
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

    /// Carries out `POST /firewalls/{id}/actions/VERB`; returns the ids of the actions.
    pub fn firewall_action(
        &mut self,
        id: u64,
        verb: &str,
        body: &Value,
        now: i64,
    ) -> Result<Vec<u64>, Refusal> {
        let firewall = self.firewalls.get_mut(&id).ok_or_else(|| Refusal::not_found("firewall"))?;
        let (is_applied, list) = match verb {
            "set_rules" => {
                let list = body["rules"].as_array().cloned().unwrap_or_default();
                firewall.rules = rules::checked(&list)?;
                return Ok(vec![self.begin("set_firewall_rules", vec![("firewall", id)], now)]);
            }
            "apply_to_resources" => (true, &body["apply_to"]),
            _ => (false, &body["remove_from"]),
        };
        let targets = self.targets(list)?;
        for target in &targets {
            self.check_target(id, target, is_applied)?;
        }
        let command = if is_applied { "apply_firewall" } else { "remove_firewall" };
        let begin = |target: Target| {
            let mut resources = vec![("firewall", id)];
            if let Target::Server(server) = target {
                resources.push(("server", server));
            }
            self.begin_change(command, resources, Change::Firewall { target, is_applied }, now)
        };
        Ok(targets.into_iter().map(begin).collect())
    }

    /// The resources of a request.
    fn targets(&self, list: &Value) -> Result<Vec<Target>, Refusal> {
        let mut targets = Vec::new();
        for one in list.as_array().cloned().unwrap_or_default() {
            let server = one["server"]["id"].as_u64();
            match (text(&one, "type"), server, one["label_selector"]["selector"].as_str()) {
                ("server", Some(server), None) => {
                    if !self.servers.contains_key(&server) {
                        return Err(missing());
                    }
                    targets.push(Target::Server(server));
                }
                ("label_selector", None, Some(selector)) => {
                    selects(selector, &Labels::new())?;
                    targets.push(Target::Selector(selector.to_owned()));
                }
                _ => return Err(Refusal::invalid("type", "does not fit the resource")),
            }
        }
        Ok(targets)
    }

    fn check_target(&self, id: u64, target: &Target, is_applied: bool) -> Result<(), Refusal> {
        let is_held = match target {
            Target::Server(server) => self.servers[server].firewalls.contains(&id),
            Target::Selector(selector) => self.firewalls[&id].selectors.contains(selector),
        };
        match (target, is_applied, is_held) {
            (_, true, true) => {
                let message = "firewall is already applied to the resource";
                Err(Refusal::new("firewall_already_applied", message))
            }
            (Target::Server(server), true, false) if !self.has_address(*server) => {
                let message = "server has no public network";
                Err(Refusal::new("private_net_only_server", message))
            }
            (Target::Server(server), false, false) if self.servers_behind(id).contains(server) => {
                let message = "firewall is applied by a label selector";
                Err(Refusal::new("firewall_managed_by_label_selector", message))
            }
            (_, false, false) => Err(missing()),
            _ => Ok(()),
        }
    }

    fn has_address(&self, server: u64) -> bool {
        self.primary_ips.values().any(|address| address.server == Some(server))
    }

    /// Applies a firewall to a resource, or takes it off.
    pub(super) fn set_applied(&mut self, id: u64, target: &Target, is_applied: bool) {
        match target {
            Target::Server(server) => {
                let Some(server) = self.servers.get_mut(server) else { return };
                server.firewalls.retain(|other| *other != id);
                server.firewalls.extend(is_applied.then_some(id));
            }
            Target::Selector(selector) => {
                let Some(firewall) = self.firewalls.get_mut(&id) else { return };
                firewall.selectors.retain(|other| other != selector);
                firewall.selectors.extend(is_applied.then(|| selector.clone()));
            }
        }
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
        let selectors = self.firewalls.get(&firewall).map(|firewall| firewall.selectors.as_slice());
        let behind = self.servers.values().filter(|server| {
            server.firewalls.contains(&firewall)
                || selectors
                    .unwrap_or_default()
                    .iter()
                    .any(|text| selects(text, &server.labels) == Ok(true))
        });
        behind.map(|server| server.id).collect()
    }

    /// The rules of all firewalls of a server; `None` where it has no firewall, which allows
    /// everything.
    pub fn rules_of(&self, server: u64) -> Option<Vec<Rule>> {
        let behind = |id: &&u64| self.servers_behind(**id).contains(&server);
        let firewalls: Vec<&Firewall> =
            self.firewalls.keys().filter(behind).map(|id| &self.firewalls[id]).collect();
        let rules = firewalls.iter().flat_map(|firewall| &firewall.rules);
        let rules = rules.filter_map(|rule| Rule::parse(rule, "rules").ok()).collect();
        (!firewalls.is_empty()).then_some(rules)
    }
}

fn missing() -> Refusal {
    Refusal::new("firewall_resource_not_found", "the resource of the firewall was not found")
}
