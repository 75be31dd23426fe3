//! Execution of requests on the world.

use serde_json::{Value, json};

use super::list::{actions_of, list, one};
use super::post::post;
use super::route::Route;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render;
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
        "root_password": render::root_password(world, id),
    })
}

fn get(world: &World, route: &Route, query: &Query, now: i64) -> Result<Value, Refusal> {
    if route.lists_actions {
        return actions_of(world, route, query, now);
    }
    match route.id {
        Some(id) => one(world, &route.kind, id, now),
        None if route.kind == "pricing" => Ok(render::pricing()),
        None => list(world, &route.kind, query, now),
    }
}

fn put(world: &mut World, route: &Route, body: &Value) -> Result<Value, Refusal> {
    let id = route.id.unwrap_or(0);
    match route.kind.as_str() {
        "servers" => world.update_server(id, body)?,
        "volumes" => world.update_volume(id, body)?,
        "images" => world.update_image(id, body)?,
        "primary_ips" => world.update_primary_ip(id, body)?,
        "networks" => world.update_network(id, body)?,
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
        "primary_ips" => world.delete_primary_ip(id, now)?,
        "networks" => world.delete_network(id)?,
        _ => world.delete_firewall(id, now)?,
    }
    Ok((204, Value::Null))
}
