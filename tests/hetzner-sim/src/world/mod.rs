//! The world: servers, volumes, images, firewalls, addresses, networks, and their actions.
//!
//! Every operation takes the virtual time as an argument. A change begins an action, and
//! takes effect when [`World::settle`] completes the action. Changes to real hosts are
//! collected in `effects`.

mod actions;
mod console;
mod creation;
mod firewalls;
mod images;
mod networks;
mod power;
mod primary_ips;
mod protection;
mod rules;
mod servers;
mod ssh_keys;
mod volumes;

pub use actions::{Action, Outcome};
pub use firewalls::Firewall;
pub use images::Image;
pub use networks::PrivateNetwork;
pub use primary_ips::{Family, PrimaryIp};
pub use rules::Rule;
pub use servers::{Server, ServerStatus};
pub use ssh_keys::SshKey;
pub use volumes::Volume;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger::Ledger;
use crate::refusal::Refusal;
use crate::scenario::Scenario;
use crate::selector::{self, Labels};

/// A change to real hosts.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A server is switched on.
    Boot {
        /// The id of the server.
        server: u64,
        /// Whether its system starts an agent, as our image does.
        runs_agent: bool,
    },
    /// A server is switched off or deleted.
    Stop(u64),
    /// A volume is attached to a server.
    Plug {
        /// The id of the volume.
        volume: u64,
        /// The id of the server.
        server: u64,
    },
    /// A volume is detached from a server.
    Unplug {
        /// The id of the volume.
        volume: u64,
        /// The id of the server.
        server: u64,
    },
    /// A volume is deleted.
    Erase(u64),
    /// The disk of a server is emptied.
    Wipe(u64),
    /// A server has been deleted.
    Forget(u64),
}

/// All resources of the account.
#[derive(Debug)]
pub struct World {
    /// The scenario.
    pub scenario: Scenario,
    /// Servers by id.
    pub servers: BTreeMap<u64, Server>,
    /// Volumes by id.
    pub volumes: BTreeMap<u64, Volume>,
    /// Snapshots by id.
    pub images: BTreeMap<u64, Image>,
    /// Firewalls by id.
    pub firewalls: BTreeMap<u64, Firewall>,
    /// SSH keys by id.
    pub ssh_keys: BTreeMap<u64, SshKey>,
    /// Primary IP addresses by id.
    pub primary_ips: BTreeMap<u64, PrimaryIp>,
    /// Private networks by id.
    pub networks: BTreeMap<u64, PrivateNetwork>,
    /// Actions by id, including completed ones.
    pub actions: BTreeMap<u64, Action>,
    /// The bill.
    pub ledger: Ledger,
    /// Pending changes to real hosts, in order.
    pub effects: Vec<Effect>,
    /// The error code with which the next action fails.
    pub next_action_fails: Option<String>,
    /// Times and ids of the actions that the scenario undoes.
    undone: BTreeSet<(i64, u64)>,
    last_id: u64,
}

impl World {
    /// Creates the initial world of a scenario.
    pub fn new(scenario: Scenario, now: i64) -> Self {
        let mut world = Self {
            servers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            ssh_keys: BTreeMap::new(),
            primary_ips: BTreeMap::new(),
            networks: BTreeMap::new(),
            actions: BTreeMap::new(),
            ledger: Ledger::default(),
            effects: Vec::new(),
            next_action_fails: None,
            undone: BTreeSet::new(),
            last_id: 1000,
            scenario,
        };
        world.add_images(now);
        world
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether an action on a resource is in progress.
    pub fn is_locked(&self, kind: &str, id: u64) -> bool {
        // Firewalls change beside a server.
        let locks = |action: &&Action| {
            !matches!(action.command, "apply_firewall" | "remove_firewall") || kind == "firewall"
        };
        self.actions.values().filter(locks).any(|action| {
            action.outcome == Outcome::Running
                && action.resources.iter().any(|(other, at)| *other == kind && *at == id)
        })
    }
}

/// Parses the labels of a body.
fn labels_of(body: &Value) -> Result<Option<Labels>, Refusal> {
    let Some(labels) = body.get("labels") else { return Ok(None) };
    let labels: Labels = serde_json::from_value(labels.clone())
        .map_err(|_| Refusal::invalid("labels", "must be a map of strings"))?;
    selector::check(&labels)?;
    Ok(Some(labels))
}

/// Reads a string from a body.
fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

/// Reads a value that may be a name or an id.
fn reference(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}
