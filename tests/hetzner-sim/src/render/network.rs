//! The representation of firewalls, addresses and networks.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::location;
use crate::clock::rfc3339;
use crate::selector::selects;
use crate::world::{Firewall, PrimaryIp, PrivateNetwork, World};

/// The representation of a firewall.
pub fn firewall(world: &World, firewall: &Firewall) -> Value {
    let rules: Vec<Value> = firewall
        .rules
        .iter()
        .map(|rule| {
            json!({
                "description": rule["description"],
                "direction": rule["direction"],
                "protocol": rule["protocol"],
                "port": rule["port"],
                "source_ips": rule["source_ips"].as_array().cloned().unwrap_or_default(),
                "destination_ips": rule["destination_ips"].as_array().cloned().unwrap_or_default(),
            })
        })
        .collect();
    let server = |id: u64| json!({ "type": "server", "server": { "id": id } });
    let direct = world.servers.values().filter(|one| one.firewalls.contains(&firewall.id));
    let mut applied: Vec<Value> = direct.map(|one| server(one.id)).collect();
    for selector in &firewall.selectors {
        let selected =
            world.servers.values().filter(|one| selects(selector, &one.labels) == Ok(true));
        applied.push(json!({
            "type": "label_selector",
            "label_selector": { "selector": selector },
            "applied_to_resources": selected.map(|one| server(one.id)).collect::<Vec<_>>(),
        }));
    }
    json!({
        "id": firewall.id,
        "name": firewall.name,
        "labels": firewall.labels,
        "created": rfc3339(firewall.created),
        "rules": rules,
        "applied_to": applied,
    })
}

/// The representation of a primary IP address.
pub fn primary_ip(address: &PrimaryIp) -> Value {
    json!({
        "id": address.id,
        "name": address.name,
        "type": address.family.name(),
        "ip": address.ip,
        "location": location(address.location),
        "assignee_id": address.server,
        "assignee_type": "server",
        "auto_delete": address.auto_delete,
        "blocked": false,
        "dns_ptr": [],
        "protection": { "delete": address.is_protected },
        "labels": address.labels,
        "created": rfc3339(address.created),
    })
}

/// The representation of a private network.
pub fn network(network: &PrivateNetwork) -> Value {
    let gateway = Ipv4Addr::from(network.range.first_v4() + 1).to_string();
    let subnets = network.subnets.iter().map(|(zone, range)| {
        json!({
            "type": "cloud",
            "network_zone": zone,
            "ip_range": range.to_string(),
            "gateway": gateway,
            "vswitch_id": null,
        })
    });
    json!({
        "id": network.id,
        "name": network.name,
        "ip_range": network.range.to_string(),
        "subnets": subnets.collect::<Vec<_>>(),
        "routes": [],
        "servers": network.servers.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "load_balancers": [],
        "protection": { "delete": false },
        "labels": network.labels,
        "created": rfc3339(network.created),
        "expose_routes_to_vswitch": false,
    })
}
