//! Private networks.

use hetzner_sim::Scenario;
use serde_json::{Value, json};

use crate::{Api, wanted};

#[test]
fn servers_have_addresses_in_private_networks() {
    let api = Api::new(Scenario::default());
    let subnet =
        json!({ "type": "cloud", "network_zone": "eu-central", "ip_range": "10.0.1.0/24" });
    let body = json!({ "name": "n", "ip_range": "10.0.0.0/16", "subnets": [subnet] });
    let id = api.ok("POST", "/networks", &body)["network"]["id"].as_u64().unwrap();
    let path = format!("/networks/{id}");
    let alone = json!({ "enable_ipv4": false, "enable_ipv6": false });
    let mut addresses = Vec::new();
    for name in ["a", "b"] {
        let server = api.server(name, &json!({ "networks": [id], "public_net": alone }));
        let shown = api.get(&format!("/servers/{server}"))["server"]["private_net"].clone();
        assert_eq!(shown[0]["network"], id);
        addresses.push(shown[0]["ip"].as_str().unwrap().to_owned());
    }
    assert_eq!(addresses, ["10.0.1.2", "10.0.1.3"]);
    let elsewhere =
        wanted("c", &json!({ "networks": [id], "location": "ash", "server_type": "cpx52" }));
    api.refused("POST", "/servers", &elsewhere, (422, "invalid_input"));
    api.refused("DELETE", &path, &Value::Null, (422, "resource_in_use"));
    for server in api.get(&path)["network"]["servers"].as_array().unwrap() {
        api.ok("DELETE", &format!("/servers/{server}"), &Value::Null);
    }
    api.ok("PUT", &path, &json!({ "name": "m" }));
    assert_eq!(api.get("/networks?name=m")["networks"][0]["subnets"][0]["gateway"], "10.0.0.1");
    api.ok("DELETE", &path, &Value::Null);
    api.refused("GET", &path, &Value::Null, (404, "not_found"));
}

#[test]
fn ranges_are_private_and_begin_where_their_prefix_ends() {
    let api = Api::new(Scenario::default());
    for range in ["8.8.0.0/16", "10.0.0.1/16", "10.0.0.0", "fd00::/64"] {
        let body = json!({ "name": "n", "ip_range": range });
        api.refused("POST", "/networks", &body, (422, "invalid_input"));
    }
    let subnet =
        json!({ "type": "cloud", "network_zone": "eu-central", "ip_range": "10.1.0.0/24" });
    let body = json!({ "name": "n", "ip_range": "10.0.0.0/16", "subnets": [subnet] });
    api.refused("POST", "/networks", &body, (422, "invalid_input"));
}
