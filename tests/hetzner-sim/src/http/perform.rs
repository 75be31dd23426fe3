//! Execution of requests on the world.

use serde_json::{Value, json};

use super::route::Route;
use crate::catalogue;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render;
use crate::selector::{Labels, selects};
use crate::world::World;

/// The content of a response.
pub(crate) enum Written {
    /// The complete body.
    Value(Value),
    /// A new server, rendered once it has its address.
    Server {
        /// The id of the server.
        id: u64,
        /// The ids of its actions.
        actions: Vec<u64>,
    },
}

/// Carries out a request; returns status and response.
pub(crate) fn perform(
    world: &mut World,
    route: &Route,
    query: &Query,
    body: &Value,
    now: i64,
) -> Result<(u16, Written), Refusal> {
    let method = route.method.as_str();
    if route.kind == "servers" && method == "POST" && route.id.is_none() {
        let (id, actions) = world.create_server(body, now)?;
        return Ok((201, Written::Server { id, actions }));
    }
    let (status, value) = match method {
        "GET" => (200, get(world, route, query, now)?),
        "PUT" => (200, put(world, route, body)?),
        "DELETE" => delete(world, route, now)?,
        _ => (201, post(world, route, body, now)?),
    };
    Ok((status, Written::Value(value)))
}

/// The response to the creation of a server.
pub(crate) fn created_server(world: &World, id: u64, actions: &[u64], now: i64) -> Value {
    let written = |id: &u64| render::action(&world.actions[id], now);
    json!({
        "server": world.servers.get(&id).map(|server| render::server(world, server)),
        "action": actions.first().map(written),
        "next_actions": actions.iter().skip(1).map(written).collect::<Vec<_>>(),
        "root_password": "not-a-real-one",
    })
}

fn get(world: &World, route: &Route, query: &Query, now: i64) -> Result<Value, Refusal> {
    match route.id {
        Some(id) => one(world, &route.kind, id, now),
        None if route.kind == "pricing" => Ok(render::pricing()),
        None => list(world, &route.kind, query, now),
    }
}

fn one(world: &World, kind: &str, id: u64, now: i64) -> Result<Value, Refusal> {
    let (name, found) = match kind {
        "servers" => ("server", world.servers.get(&id).map(|one| render::server(world, one))),
        "volumes" => ("volume", world.volumes.get(&id).map(|one| render::volume(world, one))),
        "images" => ("image", world.images.get(&id).map(render::image)),
        "firewalls" => {
            ("firewall", world.firewalls.get(&id).map(|one| render::firewall(world, one)))
        }
        "ssh_keys" => ("ssh_key", world.ssh_keys.get(&id).map(render::ssh_key)),
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

fn list(world: &World, kind: &str, query: &Query, now: i64) -> Result<Value, Refusal> {
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
                let status = if one.image_gb.is_some() { "available" } else { "creating" };
                if passes(None, &one.labels)?
                    && query.lets_pass("type", "snapshot")
                    && query.lets_pass("status", status)
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
        "actions" => {
            let ids: Vec<u64> = query.all("id").filter_map(|id| id.parse().ok()).collect();
            if ids.is_empty() {
                return Err(Refusal::invalid("id", "is needed"));
            }
            let actions = ids.iter().filter_map(|id| world.actions.get(id));
            found.extend(actions.map(|one| render::action(one, now)));
        }
        _ => found = catalogue_list(world, kind, query),
    }
    query.page(kind, found)
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

fn put(world: &mut World, route: &Route, body: &Value) -> Result<Value, Refusal> {
    let id = route.id.unwrap_or(0);
    match route.kind.as_str() {
        "servers" => world.update_server(id, body)?,
        "volumes" => world.update_volume(id, body)?,
        "images" => world.update_image(id, body)?,
        _ => world.update_firewall(id, body)?,
    }
    one(world, &route.kind, id, 0)
}

fn delete(world: &mut World, route: &Route, now: i64) -> Result<(u16, Value), Refusal> {
    let id = route.id.unwrap_or(0);
    match route.kind.as_str() {
        "servers" => {
            let action = world.delete_server(id, now)?;
            return Ok((200, json!({ "action": render::action(&world.actions[&action], now) })));
        }
        "volumes" => world.delete_volume(id, now)?,
        "images" => world.delete_image(id, now)?,
        "ssh_keys" => world.delete_ssh_key(id)?,
        _ => world.delete_firewall(id, now)?,
    }
    Ok((204, Value::Null))
}

fn post(world: &mut World, route: &Route, body: &Value, now: i64) -> Result<Value, Refusal> {
    let id = route.id.unwrap_or(0);
    let action = match (route.kind.as_str(), route.verb.as_deref()) {
        ("volumes", None) => {
            let (id, actions) = world.create_volume(body, now)?;
            let written = |id: &u64| render::action(&world.actions[id], now);
            return Ok(json!({
                "volume": render::volume(world, &world.volumes[&id]),
                "action": actions.first().map(written),
                "next_actions": actions.iter().skip(1).map(written).collect::<Vec<_>>(),
            }));
        }
        ("firewalls", None) => {
            let id = world.create_firewall(body, now)?;
            let firewall = render::firewall(world, &world.firewalls[&id]);
            return Ok(json!({ "firewall": firewall, "actions": [] }));
        }
        ("firewalls", Some("set_rules")) => {
            let action = world.set_firewall_rules(id, body, now)?;
            return Ok(json!({ "actions": [render::action(&world.actions[&action], now)] }));
        }
        ("ssh_keys", _) => {
            let id = world.create_ssh_key(body, now)?;
            return Ok(json!({ "ssh_key": render::ssh_key(&world.ssh_keys[&id]) }));
        }
        ("servers", Some("create_image")) => {
            let (image, action) = world.create_image(id, body, now)?;
            return Ok(json!({
                "image": render::image(&world.images[&image]),
                "action": render::action(&world.actions[&action], now),
            }));
        }
        (_, Some("change_protection")) => {
            world.change_protection(route.resource(), id, body, now)?
        }
        ("servers", Some(verb)) => world.power(id, verb, now)?,
        (_, verb) => world.volume_action(id, verb.unwrap_or_default(), body, now)?,
    };
    Ok(json!({ "action": render::action(&world.actions[&action], now) }))
}
