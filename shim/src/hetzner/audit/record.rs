//! The lines of the record, and what they say together. Pure.
//!
//! A resource is identified by its kind and its id, which Hetzner never gives twice. Several
//! processes may append the same fact: later lines about a resource replace earlier ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A line of the record. Times are unix seconds, by the API's clock for resources and by
/// the local clock for commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A resource exists: it was created, or found in a listing.
    Opened(Box<Resource>),
    /// A resource does not exist any more.
    Closed(Closed),
    /// The API has listed the resources of an account.
    Listed {
        /// The account, by the digest that names it.
        account: String,
        /// When.
        at: i64,
    },
    /// A command has used a server. It may go on, so further lines may overlap.
    Used {
        /// Since when.
        began: i64,
        /// Until when, as far as is known.
        until: i64,
    },
    /// A command ran.
    Command(Box<Command>),
}

/// What can be billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A server with its address.
    Server,
    /// A volume.
    Volume,
    /// A snapshot.
    Image,
}

/// A resource, with what Hetzner charges for it since its creation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resource {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its id, unique among those of its kind.
    pub(crate) id: u64,
    /// Its name or description at Hetzner.
    pub(crate) name: String,
    /// The account that lists it, by the digest that names the account.
    pub(crate) account: String,
    /// Whether this installation created it.
    pub(crate) own: bool,
    /// Its location; empty for an image.
    pub(crate) location: String,
    /// The type of a server, such as `ccx63`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_type: Option<String>,
    /// Its creation.
    pub(crate) created: i64,
    /// What is charged, each as an item of its own: a server, and its address.
    pub(crate) rates: Vec<Rate>,
}

/// A price in EUR without tax.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// The price of a started hour; `None`: that share of the month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hourly: Option<f64>,
    /// The most for a calendar month; `None`: no limit is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) monthly: Option<f64>,
}

/// The end of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Closed {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its id.
    pub(crate) id: u64,
    /// The time of its deletion; where that is not known, when it was noticed, which is the
    /// latest that can be billed.
    pub(crate) at: i64,
    /// When it was last seen; only where the time of its deletion is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seen: Option<i64>,
    /// The reason: `idle`, `down`, `replaced`, or `gone` where something else has deleted it.
    pub(crate) reason: String,
}

/// A command in the record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// Its verb, such as `build`.
    pub(crate) verb: String,
    /// The path of its workspace.
    #[serde(default)]
    pub(crate) workspace: String,
    /// Where it ran.
    #[serde(default)]
    pub(crate) place: Place,
    /// Its start.
    pub(crate) began: i64,
    /// Seconds until the server answered.
    pub(crate) reach_secs: f64,
    /// Seconds for the sync.
    pub(crate) sync_secs: f64,
    /// Seconds for cargo.
    pub(crate) run_secs: f64,
    /// Seconds in total.
    pub(crate) total_secs: f64,
    /// Processor seconds of cargo and all its programs, if the agent told them.
    #[serde(default)]
    pub(crate) cpu_secs: Option<f64>,
    /// Whether a server had to be created.
    pub(crate) cold: bool,
}

/// Where a command ran.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// By the agent on this machine.
    #[default]
    Here,
    /// On a server of this type.
    Server {
        /// Such as `ccx63`.
        server_type: String,
        /// Such as `hel1`.
        location: String,
    },
}

/// A resource of the record and its end, if that is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing<'a> {
    /// The resource, by the last line about it.
    pub(super) resource: &'a Resource,
    /// Its end.
    pub(super) closed: Option<&'a Closed>,
}

/// All resources of a record.
pub(super) fn standings(entries: &[Entry]) -> BTreeMap<(Kind, u64), Standing<'_>> {
    let mut all = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Opened(resource) => {
                let standing = Standing { resource, closed: None };
                all.insert((resource.kind, resource.id), standing);
            }
            Entry::Closed(closed) => {
                // The first end counts: a later process may notice the same one.
                if let Some(standing) = all.get_mut(&(closed.kind, closed.id)) {
                    standing.closed = standing.closed.or(Some(closed));
                }
            }
            Entry::Listed { .. } | Entry::Used { .. } | Entry::Command(_) => {}
        }
    }
    all
}

/// The resources of a record, whether or not they exist.
pub(in crate::hetzner) fn recorded(entries: &[Entry]) -> BTreeMap<(Kind, u64), &Resource> {
    standings(entries).into_iter().map(|(key, standing)| (key, standing.resource)).collect()
}

/// The commands of a record.
pub(super) fn commands(entries: &[Entry]) -> impl Iterator<Item = &Command> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Command(command) => Some(command.as_ref()),
        _ => None,
    })
}

#[cfg(test)]
impl Resource {
    /// A server of this installation for EUR 0.50 an hour, for tests.
    pub(crate) fn server_of_tests(id: u64, created: i64) -> Self {
        Self {
            kind: Kind::Server,
            id,
            name: "s".into(),
            account: "a".into(),
            own: true,
            location: "hel1".into(),
            server_type: Some("cx53".into()),
            created,
            rates: vec![Rate { hourly: Some(0.5), monthly: None }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_counts_until_the_resource_is_seen_again() {
        let resource = Resource::server_of_tests(7, 10);
        let closed = |at| {
            let reason = "gone".to_owned();
            Entry::Closed(Closed { kind: Kind::Server, id: 7, at, seen: Some(20), reason })
        };
        let opened = Entry::Opened(Box::new(resource));
        let at = |entries: &[Entry]| {
            standings(entries)[&(Kind::Server, 7)].closed.map(|closed| closed.at)
        };
        assert_eq!(at(&[opened.clone(), closed(30), closed(40)]), Some(30));
        assert_eq!(at(&[opened.clone(), closed(30), opened.clone()]), None);
        // An end without a beginning is no resource.
        assert!(standings(&[closed(30)]).is_empty());
        // A volume may have the same id.
        let volume = Closed { kind: Kind::Volume, id: 7, at: 9, seen: None, reason: "down".into() };
        assert_eq!(at(&[opened, Entry::Closed(volume)]), None);
    }
}
