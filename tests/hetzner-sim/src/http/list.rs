//! Reading of resources, one or a list.

use serde_json::{Value, json};

use super::route::Route;
use crate::catalogue;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render;
use crate::selector::{Labels, selects};
use crate::world::{Action, World};

/// The response to the listing of a kind of resources.
pub(super) fn list(world: &World, kind: &str, query: &Query, now: i64) -> Result<Value, Refusal> {
    let all: Vec<Value> = match kind {
        "servers" => world.servers.values().map(|one| render::server(world, one)).collect(),
        "volumes" => world.volumes.values().map(|one| render::volume(world, one)).collect(),
        "firewalls" => world.firewalls.values().map(|one| render::firewall(world, one)).collect(),
        "images" => world.images.values().map(render::image).collect(),
        "ssh_keys" => world.ssh_keys.values().map(render::ssh_key).collect(),
        "primary_ips" => world.primary_ips.values().map(render::primary_ip).collect(),
        "networks" => world.networks.values().map(render::network).collect(),
        "actions" => {
            let ids: Vec<u64> = query.all("id").filter_map(|id| id.parse().ok()).collect();
            if ids.is_empty() {
                return Err(Refusal::invalid("id", "is needed"));
            }
            let actions = ids.iter().filter_map(|id| world.actions.get(id));
            actions.map(|one| render::action(one, now)).collect()
        }
        "locations" => catalogue::LOCATIONS.iter().map(render::location).collect(),
        _ => {
            let types = catalogue::SERVER_TYPES.iter();
            types.map(|one| render::server_type(one, &world.scenario)).collect()
        }
    };
    let selector = query.one("label_selector").unwrap_or_default();
    let mut found = Vec::new();
    for one in all {
        let labels: Labels = serde_json::from_value(one["labels"].clone()).unwrap_or_default();
        if selects(selector, &labels)? && filters(kind).iter().all(|name| passes(query, name, &one))
        {
            found.push(one);
        }
    }
    query.page(kind, found)
}

/// The fields by which a list of this kind can be filtered, beside its labels.
fn filters(kind: &str) -> &'static [&'static str] {
    match kind {
        "servers" | "volumes" => &["name", "status"],
        "images" => &["name", "type", "status", "architecture"],
        "ssh_keys" => &["name", "fingerprint"],
        "primary_ips" => &["name", "ip"],
        "actions" => &["status"],
        _ => &["name"],
    }
}

/// Whether a resource has a value in a field that the query asks for.
fn passes(query: &Query, field: &str, resource: &Value) -> bool {
    match resource[field].as_str() {
        Some(value) => query.lets_pass(field, value),
        None => query.one(field).is_none(),
    }
}

/// The response to the reading of one resource.
pub(super) fn one(world: &World, kind: &str, id: u64, now: i64) -> Result<Value, Refusal> {
    let (name, found) = match kind {
        "servers" => ("server", world.servers.get(&id).map(|one| render::server(world, one))),
        "volumes" => ("volume", world.volumes.get(&id).map(|one| render::volume(world, one))),
        "images" => ("image", world.images.get(&id).map(render::image)),
        "firewalls" => {
            ("firewall", world.firewalls.get(&id).map(|one| render::firewall(world, one)))
        }
        "ssh_keys" => ("ssh_key", world.ssh_keys.get(&id).map(render::ssh_key)),
        "primary_ips" => ("primary_ip", world.primary_ips.get(&id).map(render::primary_ip)),
        "networks" => ("network", world.networks.get(&id).map(render::network)),
        "actions" => ("action", world.actions.get(&id).map(|one| render::action(one, now))),
        "locations" => ("location", catalogue::location(&id.to_string()).map(render::location)),
        _ => (
            "server_type",
            catalogue::server_type(&id.to_string())
                .map(|one| render::server_type(one, &world.scenario)),
        ),
    };
    found.map(|found| json!({ name: found })).ok_or_else(|| Refusal::not_found(name))
}

/// The response to the listing of a resource's actions, or of those of all resources of a kind.
pub(super) fn actions_of(
    world: &World,
    route: &Route,
    query: &Query,
    now: i64,
) -> Result<Value, Refusal> {
    let kind = route.resource();
    if let Some(id) = route.id {
        one(world, &route.kind, id, now)?;
    }
    let is_meant = |action: &&Action| {
        let mut resources = action.resources.iter();
        resources.any(|(other, id)| *other == kind && route.id.is_none_or(|wanted| wanted == *id))
            && query.lets_pass("id", &action.id.to_string())
    };
    let actions = world.actions.values().filter(is_meant).map(|one| render::action(one, now));
    query.page("actions", actions.filter(|one| passes(query, "status", one)).collect())
}
