//! The bodies of create calls: name, labels and rules of a server, a volume and the
//! firewall. Pure.
//!
//! Invariant: every resource has the labels of its owner and role from its creation on.

use burst_agent::transport::SERVER_PORT;
use burst_agent::user_data::UserData;
use burst_hcloud::firewall::{Firewall, NewFirewall, Rule};
use burst_hcloud::label::to_value;
use burst_hcloud::server::{NewPublicNet, NewServer};
use burst_hcloud::volume::NewVolume;
use burst_hcloud::{Id, Labels};

use super::naming::{
    self, FIREWALL, FIREWALL_NAME, HOST, KEEP_PAID_HOUR, KEYS, Owner, PROJECT, PROJECT_NAME,
    SERVER, TCP_RULES, VOLUME,
};
use super::request::ServerRequest;

/// What all bodies of one request have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders<'a> {
    /// The owner of the resources.
    pub(super) owner: &'a Owner,
    /// The request of the command.
    pub(super) request: &'a ServerRequest,
    /// The API's time in unix seconds.
    pub(super) now: i64,
}

/// The choices for one server.
#[derive(Debug)]
pub(super) struct ServerChoice<'a> {
    /// The server type.
    pub(super) server_type: &'a str,
    /// The location.
    pub(super) location: &'a str,
    /// The image.
    pub(super) image: Id,
    /// A volume in that location, which is attached from the start.
    pub(super) volume: Option<Id>,
    /// The name of the server's key pair.
    pub(super) keys: &'a str,
    /// The keys, as the agent reads them.
    pub(super) user_data: &'a UserData,
}

impl Orders<'_> {
    /// The body of a server.
    pub(super) fn server(&self, choice: &ServerChoice<'_>) -> NewServer {
        let mut labels = self.server_identity();
        labels.extend(naming::lifetime(self.now, self.request.keep_alive));
        labels.insert(KEYS.into(), choice.keys.into());
        labels.insert(HOST.into(), naming::host_label());
        let keeps = if self.request.keep_paid_hour { "yes" } else { "no" };
        labels.insert(KEEP_PAID_HOUR.into(), keeps.into());
        NewServer {
            name: self.owner.server_name(),
            server_type: choice.server_type.to_owned(),
            location: choice.location.to_owned(),
            image: choice.image,
            volumes: choice.volume.into_iter().collect(),
            labels,
            user_data: choice.user_data.to_text(),
            automount: false,
            ssh_keys: Vec::new(),
            public_net: NewPublicNet { enable_ipv4: self.request.public_ipv4, enable_ipv6: true },
        }
    }

    /// The labels by which a server that exists already is recognised as ours.
    pub(super) fn server_identity(&self) -> Labels {
        naming::identity(SERVER, self.owner)
    }

    /// The body of the project's volume in a location.
    pub(super) fn volume(&self, location: &str) -> NewVolume {
        let mut labels = self.volume_identity();
        labels.extend(naming::lifetime(self.now, self.request.volume_keep_alive));
        labels.insert(PROJECT.into(), self.request.project.as_str().into());
        labels.insert(PROJECT_NAME.into(), to_value(&self.request.project_name));
        NewVolume {
            name: self.owner.volume_name(&self.request.project, location),
            size: self.request.volume_gb,
            location: location.to_owned(),
            labels,
        }
    }

    /// The labels by which a volume that exists already is recognised as ours.
    pub(super) fn volume_identity(&self) -> Labels {
        naming::identity(VOLUME, self.owner)
    }
}

/// The body of the firewall, which all owners share: the agent's port and nothing else.
pub(super) fn firewall() -> NewFirewall {
    NewFirewall {
        name: FIREWALL_NAME.into(),
        labels: with_tcp_label(naming::shared_identity(FIREWALL)),
        rules: vec![Rule::udp(SERVER_PORT), Rule::tcp(SERVER_PORT)],
        apply_to: vec![naming::ours(Some(SERVER))],
    }
}

/// What is missing in a firewall of an earlier version, which has opened the port of UDP alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TcpCompletion {
    /// All rules, if one is missing.
    pub(super) rules: Option<Vec<Rule>>,
    /// All labels, to be set after the rules: they say that this was done.
    pub(super) labels: Labels,
}

/// The rules of a firewall with TCP beside each rule of UDP for the agent, from the same networks:
/// a rule that the user has narrowed is not widened. `None` if that was done once. A rule that
/// the user has removed since stays away.
pub(super) fn tcp_completion(firewall: &Firewall) -> Option<TcpCompletion> {
    if firewall.labels.contains_key(TCP_RULES) {
        return None;
    }
    let port = SERVER_PORT.to_string();
    let is_for_agent = |rule: &&Rule, protocol: &str| {
        rule.direction == "in" && rule.port.as_ref() == Some(&port) && rule.protocol == protocol
    };
    let mut rules = firewall.rules.clone();
    for udp in firewall.rules.iter().filter(|rule| is_for_agent(rule, "udp")) {
        let mut tcp = rules.iter().filter(|rule| is_for_agent(rule, "tcp"));
        if !tcp.any(|rule| rule.source_ips == udp.source_ips) {
            rules.push(Rule { protocol: "tcp".into(), ..udp.clone() });
        }
    }
    let labels = with_tcp_label(firewall.labels.clone());
    let rules = (rules.len() > firewall.rules.len()).then_some(rules);
    Some(TcpCompletion { rules, labels })
}

fn with_tcp_label(mut labels: Labels) -> Labels {
    labels.insert(TCP_RULES.into(), "yes".into());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_rules(rules: &[Rule]) -> Firewall {
        let (labels, name) = (naming::shared_identity(FIREWALL), FIREWALL_NAME.to_owned());
        let id = serde_json::from_str("1").unwrap();
        Firewall { id, name, labels, rules: rules.to_vec() }
    }

    fn from(protocol: &str, network: &str) -> Rule {
        let source_ips = vec![network.to_owned()];
        Rule { protocol: protocol.into(), source_ips, ..Rule::udp(SERVER_PORT) }
    }

    #[test]
    fn each_rule_of_udp_in_a_firewall_of_an_earlier_version_gets_its_twin() {
        let (udp, tcp) = (Rule::udp(SERVER_PORT), Rule::tcp(SERVER_PORT));
        let rules = |rules: &[Rule]| tcp_completion(&with_rules(rules)).unwrap().rules;
        assert_eq!(rules(std::slice::from_ref(&udp)), Some(vec![udp.clone(), tcp.clone()]));
        assert_eq!(rules(&[udp.clone(), tcp.clone()]), None);
        assert_eq!(rules(&[]), None);
        assert_eq!(rules(&[Rule::udp(1)]), None);
        let [v4, v6] = ["192.0.2.7/32", "2001:db8::/64"];
        let (udp4, udp6) = (from("udp", v4), from("udp", v6));
        let old = [Rule::tcp(22), udp4.clone(), from("tcp", v4), udp6.clone()];
        let mut new = old.to_vec();
        new.push(from("tcp", v6));
        assert_eq!(rules(&old), Some(new));
        let twins = [udp4.clone(), udp6.clone(), from("tcp", v4), from("tcp", v6)];
        assert_eq!(rules(&[udp4, udp6]), Some(twins.to_vec()));
    }

    #[test]
    fn a_rule_that_the_user_has_removed_stays_away() {
        let mut firewall = with_rules(&[Rule::udp(SERVER_PORT)]);
        let done = tcp_completion(&firewall).unwrap();
        firewall.labels = done.labels;
        assert_eq!(tcp_completion(&firewall), None);
        assert!(
            naming::shared_identity(FIREWALL)
                .iter()
                .all(|label| { firewall.labels.get_key_value(label.0) == Some(label) })
        );
        firewall.labels = super::firewall().labels;
        assert_eq!(tcp_completion(&firewall), None);
    }
}
