//! Firewalls: rules, and the resources that they apply to.

use hetzner_sim::Scenario;
use serde_json::{Value, json};

use crate::Api;

fn rule(more: &Value) -> Value {
    let mut rule = json!({ "direction": "in", "protocol": "tcp", "port": "80" });
    rule["source_ips"] = json!(["0.0.0.0/0"]);
    for (field, value) in more.as_object().unwrap() {
        rule[field] = value.clone();
    }
    rule
}

/// Creates a firewall; returns its path.
fn firewall(api: &Api, more: &Value) -> String {
    let mut body = json!({ "name": "f" });
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    let answer = api.ok("POST", "/firewalls", &body);
    format!("/firewalls/{}", answer["firewall"]["id"])
}

#[test]
fn bad_ports_and_ranges_are_refused() {
    let api = Api::new(Scenario::default());
    let path = firewall(&api, &json!({}));
    let set = format!("{path}/actions/set_rules");
    for bad in [
        json!({ "port": "0" }),
        json!({ "port": "65536" }),
        json!({ "port": "90-80" }),
        json!({ "port": "http" }),
        json!({ "port": null }),
        json!({ "protocol": "icmp" }),
        json!({ "source_ips": ["10.1.2.3/8"] }),
        json!({ "source_ips": ["10.0.0.0"] }),
        json!({ "source_ips": [] }),
        json!({ "source_ips": vec!["10.0.0.0/8"; 101] }),
        json!({ "destination_ips": ["10.0.0.0/8"] }),
        json!({ "direction": "out" }),
        json!({ "direction": "sideways" }),
    ] {
        let body = json!({ "rules": [rule(&json!({})), rule(&bad)] });
        api.refused("POST", &set, &body, (422, "invalid_input"));
        let body = json!({ "name": "g", "rules": [rule(&bad)] });
        api.refused("POST", "/firewalls", &body, (422, "invalid_input"));
    }
    let body = json!({ "rules": [rule(&json!({ "source_ips": ["10.1.2.3/8"] }))] });
    let (_, answer) = api.call("POST", &set, &body);
    let field = &answer["error"]["details"]["fields"][0];
    assert_eq!(field["name"], "rules.0.source_ips");
    assert_eq!(field["messages"][0], "10.1.2.3/8 is not the start of the cidr block 10.0.0.0/8");
    assert_eq!(api.get(&path)["firewall"]["rules"], json!([]));
    let good = json!({ "port": "80-90", "source_ips": ["2001:DB8:0::/32", "10.0.0.0/8"] });
    api.ok("POST", &set, &json!({ "rules": [rule(&good)] }));
    let rules = api.get(&path)["firewall"]["rules"].clone();
    assert_eq!(rules[0]["source_ips"], json!(["2001:db8::/32", "10.0.0.0/8"]));
    assert_eq!(rules[0]["port"], "80-90");
}

#[test]
fn firewalls_are_applied_and_removed() {
    let api = Api::new(Scenario::default());
    let path = firewall(&api, &json!({}));
    let server = api.server("s", &json!({ "labels": { "role": "x" } }));
    let target = json!({ "type": "server", "server": { "id": server } });
    let selected = json!({ "type": "label_selector", "label_selector": { "selector": "role=x" } });
    let (apply, remove) = (
        format!("{path}/actions/apply_to_resources"),
        format!("{path}/actions/remove_from_resources"),
    );
    let (to, from) =
        (|one: &Value| json!({ "apply_to": [one] }), |one: &Value| json!({ "remove_from": [one] }));
    let applied = || api.get(&path)["firewall"]["applied_to"].clone();
    let on_server = || {
        let server = api.get(&format!("/servers/{server}"));
        server["server"]["public_net"]["firewalls"].as_array().unwrap().len()
    };
    api.refused("POST", &remove, &from(&target), (404, "firewall_resource_not_found"));
    let answer = api.ok("POST", &apply, &to(&target));
    assert_eq!(answer["actions"][0]["command"], "apply_firewall");
    assert_eq!((applied(), on_server()), (json!([target]), 1));
    api.refused("POST", &apply, &to(&target), (422, "firewall_already_applied"));
    api.refused("DELETE", &path, &Value::Null, (422, "resource_in_use"));
    api.ok("POST", &remove, &from(&target));
    assert_eq!((applied(), on_server()), (json!([]), 0));
    api.ok("POST", &apply, &to(&selected));
    assert_eq!(applied()[0]["applied_to_resources"], json!([target]));
    assert_eq!(on_server(), 1);
    let managed = (422, "firewall_managed_by_label_selector");
    api.refused("POST", &remove, &from(&target), managed);
    api.ok("POST", &remove, &from(&selected));
    api.refused("POST", &remove, &from(&selected), (404, "firewall_resource_not_found"));
    let unknown = json!({ "type": "server", "server": { "id": 4 } });
    api.refused("POST", &apply, &to(&unknown), (404, "firewall_resource_not_found"));
    let neither = json!({ "type": "server" });
    api.refused("POST", &apply, &to(&neither), (422, "invalid_input"));
    api.ok("DELETE", &path, &Value::Null);
}

#[test]
fn a_firewall_counts_when_its_action_ends_and_locks_no_server() {
    let secs = [("apply_firewall".to_owned(), 30.0)].into();
    let api = Api::new(Scenario { action_secs: secs, ..Scenario::default() });
    let server = api.server("s", &json!({}));
    let target = json!({ "type": "server", "server": { "id": server } });
    let path = firewall(&api, &json!({}));
    api.ok("POST", &format!("{path}/actions/apply_to_resources"), &json!({ "apply_to": [target] }));
    let shown = || api.get(&format!("/servers/{server}"))["server"].clone();
    assert_eq!(shown()["public_net"]["firewalls"], json!([]));
    assert_eq!(shown()["locked"], false);
    api.simulator.shared().advance(31.0);
    assert_eq!(shown()["public_net"]["firewalls"].as_array().unwrap().len(), 1);
    // Also from its creation on.
    let path = firewall(&api, &json!({ "name": "g", "apply_to": [target] }));
    assert_eq!(api.get(&path)["firewall"]["applied_to"], json!([target]));
}
