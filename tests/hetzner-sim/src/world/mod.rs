//! What there is: servers, volumes, images, firewalls, and the actions under way.
//!
//! Everything takes the virtual time as an argument. A change begins an action; what
//! it changes becomes visible when [`World::settle`] finds its time come. What has to
//! happen to real hosts meanwhile is left in `effects`.

mod actions;
mod firewalls;
mod images;
mod servers;
mod ssh_keys;
mod volumes;

pub use actions::{Action, Outcome};
pub use servers::{Server, ServerStatus};
pub use ssh_keys::SshKey;
pub use volumes::Volume;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ledger::{Item, Ledger};
use crate::refusal::Refusal;
use crate::scenario::Scenario;
use crate::selector::{self, Labels};

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its number.
    pub id: u64,
    /// For people.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// Its architecture.
    pub architecture: String,
    /// GB that a server's disk must have.
    pub disk_gb: u32,
    /// GB that are stored; none while it is being made.
    pub image_gb: Option<f64>,
    /// When it was made.
    pub created: i64,
    /// The server it was made from.
    pub from: Option<(u64, String)>,
}

/// A firewall.
#[derive(Clone, Debug)]
pub struct Firewall {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its rules, as they were sent.
    pub rules: Vec<Value>,
    /// When it was made.
    pub created: i64,
    /// Selectors of servers that it is applied to.
    pub selectors: Vec<String>,
    /// Until when it counts as used although no server uses it.
    pub used_until: i64,
}

/// What has to happen to real hosts.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A server is switched on.
    Boot(u64),
    /// A server is switched off or deleted.
    Stop(u64),
    /// A volume appears on a server.
    Plug {
        /// Which.
        volume: u64,
        /// Where.
        server: u64,
    },
    /// A volume disappears from a server.
    Unplug {
        /// Which.
        volume: u64,
        /// Where.
        server: u64,
    },
    /// A volume is deleted.
    Erase(u64),
    /// A server is gone for good.
    Forget(u64),
}

/// All there is.
#[derive(Debug)]
pub struct World {
    /// What a test wants to be different.
    pub scenario: Scenario,
    /// Servers by number.
    pub servers: BTreeMap<u64, Server>,
    /// Volumes by number.
    pub volumes: BTreeMap<u64, Volume>,
    /// Snapshots by number.
    pub images: BTreeMap<u64, Image>,
    /// Firewalls by number.
    pub firewalls: BTreeMap<u64, Firewall>,
    /// SSH keys by number.
    pub ssh_keys: BTreeMap<u64, SshKey>,
    /// Actions by number, ended ones too.
    pub actions: BTreeMap<u64, Action>,
    /// The bill.
    pub ledger: Ledger,
    /// What has to happen to real hosts, in order.
    pub effects: Vec<Effect>,
    /// The error with which the next action ends.
    pub next_action_fails: Option<String>,
    last_id: u64,
}

impl World {
    /// At the beginning.
    pub fn new(scenario: Scenario, now: i64) -> Self {
        let mut world = Self {
            servers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            ssh_keys: BTreeMap::new(),
            actions: BTreeMap::new(),
            ledger: Ledger::default(),
            effects: Vec::new(),
            next_action_fails: None,
            last_id: 1000,
            scenario,
        };
        for snapshot in world.scenario.snapshots.clone() {
            let id = world.new_id();
            let item = Item::Storage { gb: snapshot.image_gb, is_image: true };
            world.ledger.open(id, "snapshot", item, now);
            world.images.insert(
                id,
                Image {
                    id,
                    description: "snapshot".into(),
                    labels: snapshot.labels,
                    architecture: snapshot.architecture,
                    disk_gb: snapshot.disk_gb,
                    image_gb: Some(snapshot.image_gb),
                    created: now,
                    from: None,
                },
            );
        }
        world
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether an action is under way on a resource.
    pub fn is_locked(&self, kind: &str, id: u64) -> bool {
        self.actions.values().any(|action| {
            action.outcome == Outcome::Running
                && action.resources.iter().any(|(other, at)| *other == kind && *at == id)
        })
    }
}

/// Reads labels from a body.
fn labels_of(body: &Value) -> Result<Option<Labels>, Refusal> {
    let Some(labels) = body.get("labels") else { return Ok(None) };
    let labels: Labels = serde_json::from_value(labels.clone())
        .map_err(|_| Refusal::invalid("labels", "must be a map of strings"))?;
    selector::check(&labels)?;
    Ok(Some(labels))
}

/// Reads a text from a body.
fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

/// Reads what may be a name or a number.
fn reference(body: &Value, field: &str) -> Option<String> {
    match &body[field] {
        Value::String(name) => Some(name.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}
