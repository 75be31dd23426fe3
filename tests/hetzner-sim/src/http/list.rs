//! Lists of resources.

use serde_json::Value;

use crate::catalogue;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render;
use crate::selector::{Labels, selects};
use crate::world::World;

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
