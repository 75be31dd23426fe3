//! What the creation of servers refuses, and the passwords of those that are created.

use hetzner_sim::Scenario;
use hetzner_sim::scenario::Quota;
use serde_json::{Value, json};

use crate::{Api, wanted};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me";

#[test]
fn a_server_with_ssh_keys_has_no_password() {
    let api = Api::new(Scenario::default());
    let key = api.ok("POST", "/ssh_keys", &json!({ "name": "k", "public_key": KEY }));
    let id = key["ssh_key"]["id"].clone();
    let password = |name: &str, keys: Value| {
        let more = json!({ "ssh_keys": keys });
        api.ok("POST", "/servers", &wanted(name, &more))["root_password"].clone()
    };
    assert_eq!(password("by-name", json!(["k"])), Value::Null);
    assert_eq!(password("by-id", json!([id])), Value::Null);
    assert!(password("none", json!([])).is_string());
    let unknown = wanted("unknown", &json!({ "ssh_keys": ["k", "other"] }));
    let message = api.refused("POST", "/servers", &unknown, (422, "invalid_input"));
    assert_eq!(message, "SSH key 'other' not found");
}

#[test]
fn what_a_server_names_must_exist() {
    let api = Api::new(Scenario::default());
    for (more, code) in [
        (json!({ "networks": [4] }), (404, "not_found")),
        (json!({ "placement_group": 4 }), (404, "not_found")),
        (json!({ "firewalls": [{ "firewall": 4 }] }), (404, "not_found")),
        (json!({ "volumes": [4] }), (404, "not_found")),
        (json!({ "image": 4 }), (422, "invalid_input")),
        (json!({ "server_type": "cx99" }), (422, "invalid_input")),
        (json!({ "location": "lun1" }), (422, "invalid_input")),
        (json!({ "name": "a_b" }), (422, "invalid_input")),
    ] {
        api.refused("POST", "/servers", &wanted("s", &more), code);
    }
    let unknown = wanted("s", &json!({ "labelkey": "x" }));
    let message = api.refused("POST", "/servers", &unknown, (422, "invalid_input"));
    assert_eq!(message, "invalid input: unknown field name 'labelkey'");
    assert_eq!(api.get("/servers")["servers"], json!([]));
}

#[test]
fn a_server_has_the_public_networks_that_it_wants() {
    let api = Api::new(Scenario::default());
    let public_net = |name: &str, wanted: Value| {
        let id = api.server(name, &json!({ "public_net": wanted }));
        api.get(&format!("/servers/{id}"))["server"]["public_net"].clone()
    };
    let both = public_net("both", json!({}));
    assert!(both["ipv4"]["ip"].is_string() && both["ipv6"]["ip"].is_string(), "{both}");
    let six = public_net("six", json!({ "enable_ipv4": false }));
    assert!(six["ipv4"].is_null() && six["ipv6"]["ip"].is_string(), "{six}");
    let four = public_net("four", json!({ "enable_ipv6": false }));
    assert!(four["ipv4"]["ip"].is_string() && four["ipv6"].is_null(), "{four}");
    let neither = json!({ "public_net": { "enable_ipv4": false, "enable_ipv6": false } });
    api.refused("POST", "/servers", &wanted("none", &neither), (422, "invalid_input"));
    // IPv6 is free.
    let lines = api.simulator.shared().ledger().0.lines;
    let is_address =
        |line: &&hetzner_sim::ledger::Line| line.item == hetzner_sim::ledger::Item::Address;
    assert_eq!(lines.iter().filter(is_address).count(), 2);
}

#[test]
fn volume_names_follow_their_rule() {
    let quota = Quota { volumes: 3, ..Quota::default() };
    let api = Api::new(Scenario { quota, ..Scenario::default() });
    let wanted = |name: &str| json!({ "name": name, "size": 10, "location": "fsn1" });
    let (long, longest) = ("v".repeat(65), "v".repeat(64));
    for name in ["", "-v", "v-", "a b", "a/b", "ä", &long] {
        api.refused("POST", "/volumes", &wanted(name), (422, "invalid_input"));
    }
    for name in ["a", "A.b_c-9", &longest] {
        api.ok("POST", "/volumes", &wanted(name));
    }
    let id = api.get("/volumes?name=a")["volumes"][0]["id"].clone();
    let bad = json!({ "name": "a b" });
    api.refused("PUT", &format!("/volumes/{id}"), &bad, (422, "invalid_input"));
    api.refused("POST", "/volumes", &wanted("more"), (403, "resource_limit_exceeded"));
}
