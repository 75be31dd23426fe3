//! Protection against deletion.

use hetzner_sim::Scenario;
use serde_json::{Value, json};

use crate::Api;

#[test]
fn a_protected_resource_is_not_deleted() {
    let api = Api::new(Scenario::default());
    let (server, volume) = (api.server("s", &json!({})), api.volume("v"));
    for (kind, id) in [("server", server), ("volume", volume), ("image", 1001)] {
        let path = format!("/{kind}s/{id}");
        let change = format!("{path}/actions/change_protection");
        assert_eq!(api.get(&path)[kind]["protection"]["delete"], false);
        let both = |on: bool| match kind {
            "server" => json!({ "delete": on, "rebuild": on }),
            _ => json!({ "delete": on }),
        };
        let answer = api.ok("POST", &change, &both(true));
        assert_eq!(api.outcome(&answer)["command"], "change_protection");
        assert_eq!(api.get(&path)[kind]["protection"]["delete"], true);
        let message = api.refused("DELETE", &path, &Value::Null, (423, "protected"));
        assert_eq!(message, format!("{kind} deletion is protected"));
        api.ok("POST", &change, &both(false));
        api.ok("DELETE", &path, &Value::Null);
        api.refused("GET", &path, &Value::Null, (404, "not_found"));
        api.refused("POST", &change, &both(true), (404, "not_found"));
    }
}

#[test]
fn protection_takes_effect_when_its_action_ends() {
    let secs = [("change_protection".to_owned(), 30.0)].into();
    let api = Api::new(Scenario { action_secs: secs, ..Scenario::default() });
    let volume = api.volume("v");
    let path = format!("/volumes/{volume}");
    let change = format!("{path}/actions/change_protection");
    api.ok("POST", &change, &json!({ "delete": true }));
    assert_eq!(api.get(&path)["volume"]["protection"]["delete"], false);
    api.refused("POST", &change, &json!({ "delete": false }), (423, "locked"));
    api.simulator.shared().advance(31.0);
    assert_eq!(api.get(&path)["volume"]["protection"]["delete"], true);
    // Servers have two protections, which must be equal.
    let change = format!("/servers/{}/actions/change_protection", api.server("s", &json!({})));
    api.refused("POST", &change, &json!({ "delete": true }), (422, "invalid_input"));
}
