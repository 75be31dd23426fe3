//! Primary IP addresses.

use hetzner_sim::Scenario;
use hetzner_sim::scenario::Quota;
use serde_json::{Value, json};

use crate::{Api, wanted};

fn new(name: &str, kind: &str) -> Value {
    json!({ "name": name, "type": kind, "location": "fsn1" })
}

/// Creates an address; returns its id.
fn address(api: &Api, name: &str, kind: &str) -> u64 {
    api.ok("POST", "/primary_ips", &new(name, kind))["primary_ip"]["id"].as_u64().unwrap()
}

#[test]
fn an_address_of_ones_own_outlives_its_server() {
    let api = Api::new(Scenario::default());
    let (four, six) = (address(&api, "four", "ipv4"), address(&api, "six", "ipv6"));
    let public_net = json!({ "public_net": { "ipv4": four } });
    let server = api.server("s", &public_net);
    let path = format!("/servers/{server}");
    let shown = api.get(&path)["server"]["public_net"].clone();
    assert_eq!(shown["ipv4"]["id"], four);
    let made = shown["ipv6"]["id"].clone();
    assert_eq!(api.get(&format!("/primary_ips/{made}"))["primary_ip"]["auto_delete"], true);
    let again = wanted("t", &public_net);
    api.refused("POST", "/servers", &again, (422, "primary_ip_assigned"));
    let wrong = wanted("t", &json!({ "public_net": { "ipv4": six } }));
    api.refused("POST", "/servers", &wrong, (412, "primary_ip_version_mismatch"));
    let far = json!({ "location": "hel1", "public_net": { "ipv6": six } });
    let far = wanted("t", &far);
    api.refused("POST", "/servers", &far, (422, "primary_ip_datacenter_mismatch"));
    let own = format!("/primary_ips/{four}");
    api.refused("DELETE", &own, &Value::Null, (422, "must_be_unassigned"));
    api.ok("DELETE", &path, &Value::Null);
    assert_eq!(api.get(&own)["primary_ip"]["assignee_id"], Value::Null);
    api.refused("GET", &format!("/primary_ips/{made}"), &Value::Null, (404, "not_found"));
    api.ok("DELETE", &own, &Value::Null);
}

#[test]
fn addresses_move_between_servers_that_are_off() {
    let api = Api::new(Scenario::default());
    let four = address(&api, "four", "ipv4");
    let server = api.server("s", &json!({ "public_net": { "enable_ipv4": false } }));
    let assign = format!("/primary_ips/{four}/actions/assign");
    let unassign = format!("/primary_ips/{four}/actions/unassign");
    let to = json!({ "assignee_id": server, "assignee_type": "server" });
    api.refused("POST", &unassign, &Value::Null, (422, "primary_ip_not_assigned"));
    api.refused("POST", &assign, &to, (422, "server_not_stopped"));
    api.ok("POST", &format!("/servers/{server}/actions/poweroff"), &Value::Null);
    api.ok("POST", &assign, &to);
    let shown = || api.get(&format!("/servers/{server}"))["server"]["public_net"]["ipv4"].clone();
    assert_eq!(shown()["id"], four);
    api.refused("POST", &assign, &to, (422, "primary_ip_already_assigned"));
    let other =
        json!({ "name": "b", "type": "ipv4", "assignee_id": server, "assignee_type": "server" });
    api.refused("POST", "/primary_ips", &other, (422, "server_has_ipv4"));
    api.ok("POST", &unassign, &Value::Null);
    assert_eq!(shown(), Value::Null);
    let answer = api.ok("POST", "/primary_ips", &other);
    assert_eq!(api.outcome(&answer)["command"], "assign_primary_ip");
    assert_eq!(shown()["id"], answer["primary_ip"]["id"]);
}

#[test]
fn addresses_have_names_protection_and_a_quota() {
    let quota = Quota { primary_ips: Some(2), ..Quota::default() };
    let api = Api::new(Scenario { quota, ..Scenario::default() });
    let id = address(&api, "four", "ipv4");
    let path = format!("/primary_ips/{id}");
    api.refused("POST", "/primary_ips", &new("four", "ipv4"), (409, "uniqueness_error"));
    let change = format!("{path}/actions/change_protection");
    api.ok("POST", &change, &json!({ "delete": true }));
    api.refused("DELETE", &path, &Value::Null, (423, "protected"));
    api.ok(
        "PUT",
        &path,
        &json!({ "name": "renamed", "auto_delete": true, "labels": { "a": "b" } }),
    );
    let found = api.get("/primary_ips?name=renamed&label_selector=a==b");
    assert_eq!(found["primary_ips"][0]["id"], id);
    assert_eq!(found["primary_ips"][0]["auto_delete"], true);
    address(&api, "six", "ipv6");
    api.refused("POST", "/primary_ips", &new("more", "ipv6"), (403, "resource_limit_exceeded"));
}
