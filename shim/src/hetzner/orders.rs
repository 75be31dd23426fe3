//! The bodies of create calls: name, labels and rules of a server, a volume and the
//! firewall. Pure.
//!
//! Invariant: every resource has the labels of its owner and role from its creation on.

use burst_agent::transport::SERVER_PORT;
use burst_agent::user_data::UserData;
use burst_hcloud::firewall::{NewFirewall, Rule};
use burst_hcloud::label::to_value;
use burst_hcloud::server::NewServer;
use burst_hcloud::volume::NewVolume;
use burst_hcloud::{Id, Labels};

use super::naming::{
    self, FIREWALL, FIREWALL_NAME, HOST, KEEP_PAID_HOUR, KEYS, Owner, PROJECT, PROJECT_NAME,
    SERVER, VOLUME,
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
        labels: naming::shared_identity(FIREWALL),
        rules: vec![Rule::udp(SERVER_PORT), Rule::tcp(SERVER_PORT)],
        apply_to: vec![naming::ours(Some(SERVER))],
    }
}

/// The rules of the firewall with TCP beside UDP, from the same networks; `None` if they are so.
/// Versions before this one have opened the port of UDP alone. A rule that the user has
/// narrowed is not widened, one that the user has removed stays away.
pub(super) fn with_tcp(rules: &[Rule]) -> Option<Vec<Rule>> {
    let port = SERVER_PORT.to_string();
    let to_agent = |rule: &&Rule| rule.direction == "in" && rule.port.as_ref() == Some(&port);
    let of = |protocol| rules.iter().filter(to_agent).find(|rule| rule.protocol == protocol);
    let (udp, None) = (of("udp")?, of("tcp")) else { return None };
    let tcp = Rule { protocol: "tcp".into(), ..udp.clone() };
    Some(rules.iter().cloned().chain([tcp]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_of_an_earlier_version_gets_tcp() {
        let (udp, tcp) = (Rule::udp(SERVER_PORT), Rule::tcp(SERVER_PORT));
        let old = [udp.clone()];
        assert_eq!(with_tcp(&old), Some(vec![udp.clone(), tcp.clone()]));
        assert_eq!(with_tcp(&firewall().rules), None);
        assert_eq!(with_tcp(&[]), None);
        assert_eq!(with_tcp(&[Rule::udp(1), tcp]), None);
        let narrow = Rule { source_ips: vec!["192.0.2.7/32".into()], ..udp };
        let other = Rule::tcp(22);
        let found = with_tcp(&[other.clone(), narrow.clone()]);
        let twin = Rule { protocol: "tcp".into(), ..narrow.clone() };
        assert_eq!(found, Some(vec![other, narrow, twin]));
    }
}
