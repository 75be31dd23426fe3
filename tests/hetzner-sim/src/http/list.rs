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
    let selector = query.one("label_selector").unwrap_or_default();
    let passes = |name: Option<&str>, labels: &Labels| -> Result<bool, Refusal> {
        Ok(name.is_none_or(|name| query.lets_pass("name", name)) && selects(selector, labels)?)
    };
    let mut found = Vec::new();
    match kind {
        "servers" => {
            for one in world.servers.values() {
                if passes(Some(&one.name), &one.labels)? {
                    found.push(render::server(world, one));
                }
            }
        }
        "volumes" => {
            for one in world.volumes.values() {
                if passes(Some(&one.name), &one.labels)? {
                    found.push(render::volume(world, one));
                }
            }
        }
        "firewalls" => {
            for one in world.firewalls.values() {
                if passes(Some(&one.name), &one.labels)? {
                    found.push(render::firewall(world, one));
                }
            }
        }
        "images" => {
            for one in world.images.values() {
                if selects(selector, &one.labels)?
                    && (one.name().is_some_and(|name| query.lets_pass("name", name))
                        || query.one("name").is_none())
                    && query.lets_pass("type", one.kind())
                    && query.lets_pass("status", one.status())
                    && query.lets_pass("architecture", &one.architecture)
                {
                    found.push(render::image(one));
                }
            }
        }
        "ssh_keys" => {
            for one in world.ssh_keys.values() {
                if passes(Some(&one.name), &one.labels)?
                    && query.lets_pass("fingerprint", &one.fingerprint)
                {
                    found.push(render::ssh_key(one));
                }
            }
        }
        "primary_ips" => {
            for one in world.primary_ips.values() {
                if passes(Some(&one.name), &one.labels)? && query.lets_pass("ip", &one.ip) {
                    found.push(render::primary_ip(one));
                }
            }
        }
        "networks" => {
            for one in world.networks.values() {
                if passes(Some(&one.name), &one.labels)? {
                    found.push(render::network(one));
                }
            }
        }
        "actions" => {
            let ids: Vec<u64> = query.all("id").filter_map(|id| id.parse().ok()).collect();
            if ids.is_empty() {
                return Err(Refusal::invalid("id", "is needed"));
            }
            let actions = ids.iter().filter_map(|id| world.actions.get(id));
            let actions = actions.map(|one| render::action(one, now));
            found.extend(actions.filter(|one| passes_status(query, one)));
        }
        _ => found = catalogue_list(world, kind, query),
    }
    query.page(kind, found)
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

/// The list of locations or of server types.
fn catalogue_list(world: &World, kind: &str, query: &Query) -> Vec<Value> {
    if kind == "locations" {
        let named = catalogue::LOCATIONS.iter();
        return named
            .filter(|one| query.lets_pass("name", one.name))
            .map(render::location)
            .collect();
    }
    let named = catalogue::SERVER_TYPES.iter();
    named
        .filter(|one| query.lets_pass("name", one.name))
        .map(|one| render::server_type(one, &world.scenario))
        .collect()
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
    query.page("actions", actions.filter(|one| passes_status(query, one)).collect())
}

fn passes_status(query: &Query, action: &Value) -> bool {
    action["status"].as_str().is_some_and(|status| query.lets_pass("status", status))
}
