//! Firewalls. Incoming traffic that no rule allows is dropped.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::action::{Action, of_answer};
use crate::client::Client;
use crate::error::Error;
use crate::id::Id;
use crate::label::{Labels, Selector};
use crate::made::Made;
use crate::resource::Resource;

/// A firewall.
#[derive(Clone, Debug, Deserialize)]
pub struct Firewall {
    /// The id of the firewall.
    pub id: Id,
    /// The name, unique in the project.
    pub name: String,
    /// The labels.
    #[serde(default)]
    pub labels: Labels,
    /// The rules that allow traffic.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A rule that allows traffic.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Rule {
    /// `in` or `out`.
    pub direction: String,
    /// The protocol, such as `udp` or `tcp`.
    pub protocol: String,
    /// A port, or a range such as `80-85`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The networks that `in` traffic may come from, in CIDR notation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    /// The networks that `out` traffic may go to, in CIDR notation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_ips: Vec<String>,
    /// A note of the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Rule {
    /// Allows UDP to a port from any address.
    pub fn udp(port: u16) -> Self {
        Self::any("udp", port)
    }

    /// Allows TCP to a port from any address.
    pub fn tcp(port: u16) -> Self {
        Self::any("tcp", port)
    }

    fn any(protocol: &str, port: u16) -> Self {
        Self {
            direction: "in".into(),
            protocol: protocol.into(),
            port: Some(port.to_string()),
            source_ips: vec!["0.0.0.0/0".into(), "::/0".into()],
            destination_ips: Vec::new(),
            description: None,
        }
    }
}

/// The parameters of a new firewall.
#[derive(Clone, Debug, Serialize)]
pub struct NewFirewall {
    /// The name, unique in the project.
    pub name: String,
    /// The labels.
    pub labels: Labels,
    /// The rules that allow traffic.
    pub rules: Vec<Rule>,
    /// Selectors of the servers that the firewall applies to, including servers that are
    /// created later.
    #[serde(serialize_with = "selectors")]
    pub apply_to: Vec<Selector>,
}

/// Serialises selectors of servers in the API's form.
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
    /// Lists the firewalls that match a selector.
    pub async fn firewalls(&self, selector: &Selector) -> Result<Vec<Firewall>, Error> {
        self.selected(selector, Vec::new()).await
    }

    /// Creates a firewall, or adopts an existing one with that name and all labels in
    /// `ours`.
    pub async fn create_firewall(
        &self,
        new: &NewFirewall,
        ours: &Labels,
    ) -> Result<Made<Firewall>, Error> {
        self.made(&new.name, new, ours).await
    }

    /// Replaces all labels of a firewall.
    pub async fn label_firewall(&self, id: Id, labels: &Labels) -> Result<(), Error> {
        self.labelled::<Firewall>(id, labels).await
    }

    /// Replaces all rules of a firewall.
    pub async fn set_firewall_rules(&self, id: Id, rules: &[Rule]) -> Result<Vec<Action>, Error> {
        let path = format!("/firewalls/{id}/actions/set_rules");
        let body = serde_json::json!({ "rules": rules });
        let (mut answer, operation) = self.send(Method::POST, &path, &body).await?;
        of_answer(&mut answer, &operation)
    }
}
