//! Firewalls. Without a rule for it, nothing comes in.

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::Error;
use crate::label::{Labels, Selector};
use crate::resource::Resource;
use crate::{Id, Made};

/// A firewall.
#[derive(Clone, Debug, Deserialize)]
pub struct Firewall {
    /// Its number.
    pub id: Id,
    /// Its name, unique in the project.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// What may come in.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Rule {
    /// `in` or `out`.
    pub direction: String,
    /// `udp`, `tcp` and others.
    pub protocol: String,
    /// A port or a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// From where, for `in`.
    #[serde(default)]
    pub source_ips: Vec<String>,
}

impl Rule {
    /// Lets datagrams to one port in, from anywhere.
    pub fn udp(port: u16) -> Self {
        Self {
            direction: "in".into(),
            protocol: "udp".into(),
            port: Some(port.to_string()),
            source_ips: vec!["0.0.0.0/0".into(), "::/0".into()],
        }
    }
}

/// What a firewall is to be.
#[derive(Clone, Debug, Serialize)]
pub struct NewFirewall {
    /// Its name, unique in the project.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// The servers that it is applied to, also those to come.
    #[serde(serialize_with = "selectors")]
    pub apply_to: Vec<Selector>,
}

/// As the API wants selectors of servers.
fn selectors<S: serde::Serializer>(selectors: &[Selector], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(selectors.iter().map(|selector| {
        let selector = selector.to_string();
        serde_json::json!({ "type": "label_selector", "label_selector": { "selector": selector } })
    }))
}

impl Resource for Firewall {
    const ONE: &'static str = "firewall";
    const MANY: &'static str = "firewalls";

    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Client {
    /// The firewalls that a selector selects.
    pub async fn firewalls(&self, selector: &Selector) -> Result<Vec<Firewall>, Error> {
        self.selected(selector, Vec::new()).await
    }

    /// Creates a firewall, or adopts the one of that name that bears all of `ours`.
    pub async fn create_firewall(
        &self,
        new: &NewFirewall,
        ours: &Labels,
    ) -> Result<Made<Firewall>, Error> {
        self.made(&new.name, new, ours).await
    }
}
