//! The server and volume that a command requests, from its settings and flags.
//!
//! Commands send it to the keeper, so it is serialisable. It holds no secret.

use std::time::Duration;

use burst_agent::transport::IdleTimeout;
use serde::{Deserialize, Serialize};

use super::naming::ProjectKey;

/// A request for a server with the volume of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerRequest {
    /// The key of the project.
    pub(crate) project: ProjectKey,
    /// The name of the project's directory, for display.
    pub(crate) project_name: String,
    /// Locations, in order of preference.
    pub(crate) regions: Vec<String>,
    /// Server types, in order of preference.
    pub(crate) server_types: Vec<String>,
    /// Whether a new server gets an IPv4 address, beside its IPv6 network.
    pub(crate) public_ipv4: bool,
    /// Size of the project's volume in GB.
    pub(crate) volume_gb: u64,
    /// Seconds that the idle server is kept; `None`: until it is deleted by hand.
    pub(crate) keep_alive: Option<i64>,
    /// Seconds that the idle volume is kept; `None`: until it is deleted by hand.
    pub(crate) volume_keep_alive: Option<i64>,
    /// Whether the idle server is kept until its paid hour ends.
    pub(crate) keep_paid_hour: bool,
    /// Seconds by which the server deletes itself later than a keeper would; `None`: it does not.
    pub(crate) dead_man: Option<u64>,
    /// Seconds for which a run on the server goes on without its connection.
    pub(crate) reconnect_secs: u64,
    /// Most EUR without tax that a started hour of a new server may cost; `None`: no limit.
    pub(crate) spend_at_most: Option<f64>,
    /// Most EUR without tax for all resources in a calendar month; `None`: no limit. It holds only
    /// beside `spend_at_most`, which is lowered to what is left of it.
    pub(crate) monthly_budget: Option<f64>,
    /// Seconds of silence after which both ends consider the connection lost.
    pub(crate) gone_after_secs: u64,
    /// Seconds for which the agent of a server that runs may be silent before its port counts as
    /// blocked.
    pub(crate) port_secs: u64,
}

impl ServerRequest {
    /// The timeout of connections.
    pub(super) fn idle_timeout(&self) -> IdleTimeout {
        IdleTimeout { gone_after: Duration::from_secs(self.gone_after_secs) }
    }

    /// The pairs of server type and location to try, in order: a type in all locations,
    /// then the next type. The location of the project's volume comes first, if the
    /// settings list it. Pairs that are not `in_stock` come last: such an order is rejected,
    /// but the API may be wrong.
    pub(super) fn candidates(
        &self,
        volume_at: Option<&str>,
        in_stock: impl Fn(&str, &str) -> bool,
    ) -> Vec<(&str, &str)> {
        let mut regions: Vec<&str> = self.regions.iter().map(String::as_str).collect();
        regions.sort_by_key(|region| Some(*region) != volume_at);
        let types = self.server_types.iter().map(String::as_str);
        let mut pairs: Vec<(&str, &str)> =
            types.flat_map(|name| regions.iter().map(move |region| (name, *region))).collect();
        pairs.sort_by_key(|(server_type, location)| !in_stock(server_type, location));
        pairs
    }

    /// The request with what is left of the monthly budget, of which this much is spent on all
    /// machines, as its limit. A request whose cost was agreed to stays as it is.
    pub(super) fn within_budget(&self, spent: f64) -> Self {
        let left = self.monthly_budget.map_or(f64::INFINITY, |budget| budget - spent);
        Self { spend_at_most: self.spend_at_most.map(|most| most.min(left)), ..self.clone() }
    }
}

#[cfg(test)]
impl ServerRequest {
    /// A request with the values that matter least, for tests.
    pub(crate) fn of_tests() -> Self {
        Self {
            project: ProjectKey::of(std::path::Path::new("/a")),
            project_name: "a".into(),
            regions: Vec::new(),
            server_types: Vec::new(),
            public_ipv4: true,
            volume_gb: 10,
            keep_alive: None,
            volume_keep_alive: None,
            keep_paid_hour: true,
            dead_man: None,
            reconnect_secs: 120,
            spend_at_most: None,
            monthly_budget: None,
            gone_after_secs: 15,
            port_secs: 90,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_budget_is_the_limit() {
        let limit = |spend_at_most, monthly_budget, spent| {
            let request =
                ServerRequest { spend_at_most, monthly_budget, ..ServerRequest::of_tests() };
            request.within_budget(spent).spend_at_most
        };
        assert_eq!(limit(Some(5.0), Some(40.0), 39.0), Some(1.0));
        assert_eq!(limit(Some(0.5), Some(40.0), 39.0), Some(0.5));
        assert_eq!(limit(Some(5.0), Some(40.0), 41.0), Some(-1.0));
        assert_eq!(limit(Some(5.0), None, 41.0), Some(5.0));
        // Agreed to.
        assert_eq!(limit(None, Some(40.0), 41.0), None);
    }

    #[test]
    fn the_location_of_the_volume_is_tried_first() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let request = ServerRequest {
            regions: texts(&["hel1", "fsn1"]),
            server_types: texts(&["ccx63", "ccx53"]),
            ..ServerRequest::of_tests()
        };
        let among = |at, in_stock: fn(&str, &str) -> bool| {
            let pairs = request.candidates(at, in_stock);
            let shown = pairs.iter().map(|(kind, place)| format!("{kind}@{place}"));
            shown.collect::<Vec<_>>().join(" ")
        };
        let shown = |at| among(at, |_, _| true);
        assert_eq!(shown(None), "ccx63@hel1 ccx63@fsn1 ccx53@hel1 ccx53@fsn1");
        assert_eq!(shown(Some("fsn1")), "ccx63@fsn1 ccx63@hel1 ccx53@fsn1 ccx53@hel1");
        assert_eq!(shown(Some("ash")), shown(None));
        let one = among(Some("fsn1"), |kind, place| (kind, place) != ("ccx63", "fsn1"));
        assert_eq!(one, "ccx63@hel1 ccx53@fsn1 ccx53@hel1 ccx63@fsn1");
        assert_eq!(among(None, |_, _| false), shown(None));
    }
}
