//! Scenarios: latencies, faults, stock, quotas and time, as a test requires.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::selector::Labels;

/// A scenario. Every field has a default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// The duration of actions by command, in seconds of virtual time; `default` is the
    /// duration of all others.
    pub action_secs: BTreeMap<String, f64>,
    /// The latency of each call, in milliseconds of real time.
    pub call_millis: u64,
    /// The initial virtual time in Unix seconds; by default the real time.
    pub now: Option<i64>,
    /// The speed of virtual time; 1 is real time.
    pub rate: f64,
    /// Rules for server types that are out of stock; the first that matches applies.
    pub stock: Vec<Stock>,
    /// The quotas of the account.
    pub quota: Quota,
    /// The rate limit.
    pub requests: Requests,
    /// The faults to inject.
    pub faults: Vec<Fault>,
    /// The faults of actions.
    pub action_faults: Vec<ActionFault>,
    /// The locations, by name, that have no space for another volume.
    pub volumes_full_in: Vec<String>,
    /// Tokens in addition to the one that the simulator was started with.
    pub tokens: BTreeMap<String, Access>,
    /// Snapshots that exist at the start.
    pub snapshots: Vec<Snapshot>,
    /// Whether servers ignore requests to shut down.
    pub ignores_shutdown: bool,
    /// The time for which a firewall counts as used after its last server was deleted, in
    /// seconds of virtual time.
    pub firewall_lingers_secs: f64,
    /// The control groups of hosts.
    pub control_groups: ControlGroups,
    /// The protocols, `udp` or `tcp`, that the network in front of new hosts drops on the
    /// agent's port.
    pub blocked: Vec<String>,
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
            action_faults: Vec::new(),
            volumes_full_in: Vec::new(),
            tokens: BTreeMap::new(),
            snapshots: vec![Snapshot::default()],
            ignores_shutdown: false,
            firewall_lingers_secs: 0.0,
            control_groups: ControlGroups::default(),
            blocked: Vec::new(),
        }
    }
}

impl Scenario {
    /// The duration of an action in milliseconds of virtual time.
    pub fn action_millis(&self, command: &str) -> i64 {
        let secs = self.action_secs.get(command).or_else(|| self.action_secs.get("default"));
        (secs.copied().unwrap_or(0.0) * 1000.0) as i64
    }

    /// The fault of an action that begins; counts as one use of it.
    pub(crate) fn take_action_fault(&mut self, command: &str) -> Option<ActionFaultKind> {
        let fits = |fault: &&mut ActionFault| fault.command == command && fault.times != Some(0);
        let fault = self.action_faults.iter_mut().find(fits)?;
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.kind.clone())
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

/// The control groups of hosts, which stand for the size of a machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlGroups {
    /// Whether hosts have any.
    pub there: bool,
    /// The memory of a host in MiB; by default that of this machine.
    pub memory_mib: Option<u64>,
    /// Most processes of a host; by default as many as this machine allows.
    pub processes: Option<u64>,
}

impl Default for ControlGroups {
    fn default() -> Self {
        Self { there: true, memory_mib: None, processes: None }
    }
}

/// The stock of server types.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stock {
    /// The server type; `None` for all.
    pub server_type: Option<String>,
    /// The location; `None` for all.
    pub location: Option<String>,
    /// Whether the list of server types shows it as available.
    pub shown: bool,
    /// Whether a server can be created.
    pub there: bool,
}

impl Default for Stock {
    fn default() -> Self {
        Self { server_type: None, location: None, shown: true, there: true }
    }
}

/// The quotas of the account.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Most servers.
    pub servers: usize,
    /// Most volumes.
    pub volumes: usize,
    /// Most cores of servers with dedicated cores.
    pub dedicated_cores: u32,
    /// Most primary IP addresses of both families; by default twice the servers.
    pub primary_ips: Option<usize>,
}

impl Quota {
    /// Most primary IP addresses.
    pub fn primary_ips(&self) -> usize {
        self.primary_ips.unwrap_or(self.servers * 2)
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self { servers: 10, volumes: 40, dedicated_cores: 200, primary_ips: None }
    }
}

/// The rate limit, a token bucket.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requests {
    /// The capacity of the bucket in requests.
    pub burst: f64,
    /// The rate at which it fills, in requests per second of virtual time.
    pub per_second: f64,
}

impl Default for Requests {
    fn default() -> Self {
        Self { burst: 3600.0, per_second: 1.0 }
    }
}

/// The permissions of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// All requests.
    ReadWrite,
    /// Only `GET` requests.
    ReadOnly,
    /// No requests: the token was revoked.
    Revoked,
}

/// A snapshot that exists at the start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// The labels.
    pub labels: Labels,
    /// The CPU architecture.
    pub architecture: String,
    /// The least size of a server's disk in GB.
    pub disk_gb: u32,
    /// The stored size in GB.
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

/// A fault, injected into the calls that match all of its conditions.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The HTTP method of the calls.
    #[serde(default)]
    pub method: Option<String>,
    /// The route of the calls, such as `/servers/{id}`.
    #[serde(default)]
    pub route: Option<String>,
    /// The index of the call in the log.
    #[serde(default)]
    pub call: Option<usize>,
    /// The number of calls that fail; `None` for all.
    #[serde(default)]
    pub times: Option<u32>,
    /// The effect of the fault.
    pub kind: FaultKind,
}

/// The effect of a fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The response is replaced by an error.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The error code; `None` for a body in HTML, as from a gateway.
        #[serde(default)]
        code: Option<String>,
        /// Whether the request is carried out.
        applied: bool,
    },
    /// The connection is closed without a response.
    Drop {
        /// Whether the request is carried out.
        applied: bool,
    },
    /// The call is held until it is released; then the connection is closed. Without `times`
    /// this is an endpoint that accepts connections and never answers.
    Hold {
        /// Whether the request is carried out before.
        applied: bool,
    },
    /// The first action that the call begins fails.
    ActionFails {
        /// The error code of the action.
        code: String,
    },
}

/// A fault of the actions that a command begins, by whichever call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ActionFault {
    /// The command of the actions, such as `attach_volume`.
    pub command: String,
    /// The number of actions that it befalls; `None` for all.
    #[serde(default)]
    pub times: Option<u32>,
    /// The effect of the fault.
    pub kind: ActionFaultKind,
}

/// The effect of an action's fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionFaultKind {
    /// The action fails with this error code when it would have succeeded.
    Fails {
        /// The error code of the action.
        code: String,
    },
    /// `attach_volume` only: the action succeeds, and later the volume is detached, without an
    /// action.
    Undone {
        /// The time from the success to that, in seconds of virtual time.
        after_secs: f64,
    },
}
