//! What a test wants to be different: latencies, faults, stock, quota, time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::selector::Labels;

/// A scenario. Every part has a default; times of actions are virtual seconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// How long actions take, by command; `default` for those that are not named.
    pub action_secs: BTreeMap<String, f64>,
    /// How long each call takes, in real milliseconds.
    pub call_millis: u64,
    /// Where virtual time begins, as unix seconds; else now.
    pub now: Option<i64>,
    /// How fast it runs.
    pub rate: f64,
    /// What is out of stock.
    pub stock: Vec<Stock>,
    /// Quotas of the account.
    pub quota: Quota,
    /// The rate limit.
    pub requests: Requests,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Tokens beside the one that the simulator was started with.
    pub tokens: BTreeMap<String, Access>,
    /// Snapshots that are there from the beginning.
    pub snapshots: Vec<Snapshot>,
    /// Whether servers stay on when they are asked to shut down.
    pub ignores_shutdown: bool,
    /// How long a firewall counts as used after its last server is gone.
    pub firewall_lingers_secs: f64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            action_secs: [("default".to_owned(), 0.05)].into(),
            call_millis: 0,
            now: None,
            rate: 1.0,
            stock: Vec::new(),
            quota: Quota::default(),
            requests: Requests::default(),
            faults: Vec::new(),
            tokens: BTreeMap::new(),
            snapshots: vec![Snapshot::default()],
            ignores_shutdown: false,
            firewall_lingers_secs: 0.0,
        }
    }
}

impl Scenario {
    /// How long an action takes, in virtual milliseconds.
    pub fn action_millis(&self, command: &str) -> i64 {
        let secs = self.action_secs.get(command).or_else(|| self.action_secs.get("default"));
        (secs.copied().unwrap_or(0.0) * 1000.0) as i64
    }

    /// The stock rule for a type in a location.
    pub fn stock_of(&self, server_type: &str, location: &str) -> Stock {
        let fits = |rule: &&Stock| {
            rule.server_type.as_deref().is_none_or(|name| name == server_type)
                && rule.location.as_deref().is_none_or(|name| name == location)
        };
        self.stock.iter().find(fits).cloned().unwrap_or_default()
    }
}

/// What is out of stock.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stock {
    /// Of which type; all.
    pub server_type: Option<String>,
    /// Where; everywhere.
    pub location: Option<String>,
    /// What the list of types shows.
    pub shown: bool,
    /// Whether it really can be created.
    pub there: bool,
}

impl Default for Stock {
    fn default() -> Self {
        Self { server_type: None, location: None, shown: true, there: true }
    }
}

/// Quotas of the account.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Servers.
    pub servers: usize,
    /// Volumes.
    pub volumes: usize,
    /// Cores of servers with cores of their own.
    pub dedicated_cores: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self { servers: 10, volumes: 40, dedicated_cores: 200 }
    }
}

/// The rate limit: a bucket that fills up.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requests {
    /// What the bucket holds.
    pub burst: f64,
    /// How fast it fills, by virtual time.
    pub per_second: f64,
}

impl Default for Requests {
    fn default() -> Self {
        Self { burst: 3600.0, per_second: 1.0 }
    }
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// All.
    ReadWrite,
    /// Look.
    ReadOnly,
    /// Nothing any more.
    Revoked,
}

/// A snapshot.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// Its labels.
    pub labels: Labels,
    /// Its architecture.
    pub architecture: String,
    /// GB that a server's disk must have.
    pub disk_gb: u32,
    /// GB that are stored.
    pub image_gb: f64,
}

impl Default for Snapshot {
    fn default() -> Self {
        let labels = [("managed-by", "cargo-burst"), ("cargo-burst.role", "image")];
        Self {
            labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
            architecture: "x86".into(),
            disk_gb: 40,
            image_gb: 2.3,
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only calls with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only calls of this route, such as `/servers/{id}`.
    #[serde(default)]
    pub route: Option<String>,
    /// Only the call of this number in the log.
    #[serde(default)]
    pub call: Option<usize>,
    /// How often; for ever.
    #[serde(default)]
    pub times: Option<u32>,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Another answer is given; the deed is done all the same if `applied`.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The error code; without one the body is a gateway's HTML.
        #[serde(default)]
        code: Option<String>,
        /// Whether the deed is done.
        applied: bool,
    },
    /// The connection is closed without an answer.
    Drop {
        /// Whether the deed is done.
        applied: bool,
    },
    /// The call is held until it is released, and then dropped.
    Hold {
        /// Whether the deed is done before.
        applied: bool,
    },
    /// The first action that the call begins ends in an error.
    ActionFails {
        /// The error's code.
        code: String,
    },
}
