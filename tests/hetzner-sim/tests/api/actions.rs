//! Actions of servers, and their lists.

use hetzner_sim::Scenario;
use serde_json::{Value, json};

use crate::Api;

/// Carries out an action of a server; returns the response.
fn act(api: &Api, server: u64, verb: &str, body: &Value) -> Value {
    api.ok("POST", &format!("/servers/{server}/actions/{verb}"), body)
}

fn server(api: &Api, id: u64) -> Value {
    api.get(&format!("/servers/{id}"))["server"].clone()
}

#[test]
fn actions_are_listed_by_server() {
    let api = Api::new(Scenario::default());
    let (one, other) = (api.server("a", &json!({})), api.server("b", &json!({})));
    act(&api, one, "reset", &Value::Null);
    act(&api, one, "reboot", &Value::Null);
    let commands = |path: &str| -> Vec<String> {
        let actions = api.get(path)["actions"].as_array().unwrap().clone();
        actions.iter().map(|action| action["command"].as_str().unwrap().to_owned()).collect()
    };
    let made = ["create_server", "start_server"];
    let all = [&made[..], &["reset_server", "reboot_server"]].concat();
    assert_eq!(commands(&format!("/servers/{one}/actions")), all);
    assert_eq!(commands(&format!("/servers/{other}/actions?status=success")), made);
    assert!(commands(&format!("/servers/{other}/actions?status=running")).is_empty());
    assert_eq!(
        commands("/servers/actions?sort=id:desc&per_page=2"),
        ["reboot_server", "reset_server"]
    );
    assert_eq!(commands("/servers/actions").len(), 6);
    api.refused("GET", "/servers/4/actions", &Value::Null, (404, "not_found"));
    api.refused("GET", "/actions", &Value::Null, (422, "invalid_input"));
    let first = api.get(&format!("/servers/{one}/actions"))["actions"][0]["id"].clone();
    assert_eq!(api.get(&format!("/actions?id={first}"))["actions"][0]["command"], "create_server");
}

#[test]
fn a_server_that_is_not_started_is_off_until_it_is() {
    let api = Api::new(Scenario::default());
    let id = api.server("s", &json!({ "start_after_create": false }));
    assert_eq!(server(&api, id)["status"], "off");
    act(&api, id, "poweron", &Value::Null);
    assert_eq!(server(&api, id)["status"], "running");
}

#[test]
fn a_server_is_rebuilt_from_an_image() {
    let api = Api::new(Scenario::default());
    let id = api.server("s", &json!({ "user_data": "old" }));
    let protect = |on: bool| {
        act(&api, id, "change_protection", &json!({ "delete": on, "rebuild": on }));
    };
    let path = format!("/servers/{id}/actions/rebuild");
    let body = json!({ "image": "debian-13", "user_data": "new" });
    protect(true);
    api.refused("POST", &path, &body, (423, "protected"));
    protect(false);
    api.refused("POST", &path, &json!({ "image": "debian-1" }), (422, "invalid_input"));
    let before = server(&api, id);
    let answer = api.ok("POST", &path, &body);
    assert_eq!(api.outcome(&answer)["command"], "rebuild_server");
    assert!(answer["root_password"].is_string());
    let after = server(&api, id);
    assert_eq!(
        (&after["image"]["name"], &after["status"]),
        (&json!("debian-13"), &json!("running"))
    );
    assert_eq!(after["public_net"], before["public_net"]);
    let data = || {
        hetzner_sim::simulator::lock(&api.simulator.shared().world).servers[&id].user_data.clone()
    };
    assert_eq!(data(), "new");
    api.ok("POST", &path, &json!({ "image": "debian-12" }));
    assert_eq!(data(), "new");
}

#[test]
fn a_server_that_is_off_gets_another_type() {
    let api = Api::new(Scenario::default());
    let id = api.server("s", &json!({ "server_type": "cx23" }));
    let path = format!("/servers/{id}/actions/change_type");
    let to = |kind: &str, grows: bool| json!({ "server_type": kind, "upgrade_disk": grows });
    api.refused("POST", &path, &to("cx33", false), (422, "server_not_stopped"));
    let off = || act(&api, id, "poweroff", &Value::Null);
    off();
    api.refused("POST", &path, &to("cax41", true), (422, "invalid_server_type"));
    api.refused("POST", &path, &to("cx99", true), (404, "not_found"));
    api.ok("POST", &path, &to("cx33", false));
    let shown = server(&api, id);
    assert_eq!(
        (&shown["server_type"]["name"], &shown["primary_disk_size"]),
        (&json!("cx33"), &json!(40))
    );
    assert_eq!(shown["status"], "running");
    off();
    api.ok("POST", &path, &to("cx53", true));
    assert_eq!(server(&api, id)["primary_disk_size"], 320);
    off();
    api.refused("POST", &path, &to("cx33", false), (422, "invalid_server_type"));
    // Each type is a line of the bill.
    let lines = api.simulator.shared().ledger().0.lines;
    assert_eq!(lines.iter().filter(|line| line.id == id).count(), 3);
}

#[test]
fn the_rescue_system_is_started_once_and_within_an_hour() {
    let api = Api::new(Scenario::default());
    let id = api.server("s", &json!({}));
    let is_on = || server(&api, id)["rescue_enabled"].clone();
    let enable = || act(&api, id, "enable_rescue", &json!({ "type": "linux64" }));
    assert!(enable()["root_password"].is_string());
    assert_eq!(is_on(), true);
    act(&api, id, "reset", &Value::Null);
    assert_eq!(is_on(), false);
    enable();
    act(&api, id, "disable_rescue", &Value::Null);
    assert_eq!(is_on(), false);
    enable();
    api.simulator.shared().advance(3599.0);
    assert_eq!(is_on(), true);
    api.simulator.shared().advance(2.0);
    assert_eq!(is_on(), false);
}
