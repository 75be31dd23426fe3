//! `POST` requests: new resources, and actions of those that exist.

use serde_json::{Value, json};

use super::route::Route;
use crate::refusal::Refusal;
use crate::render;
use crate::world::World;

/// Carries out a `POST` request, other than one for a server; returns the body.
pub(super) fn post(
    world: &mut World,
    route: &Route,
    body: &Value,
    now: i64,
) -> Result<Value, Refusal> {
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
        ("firewalls", Some(verb)) => {
            let actions = world.firewall_action(id, verb, body, now)?;
            let written = actions.iter().map(|id| render::action(&world.actions[id], now));
            return Ok(json!({ "actions": written.collect::<Vec<_>>() }));
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
        ("primary_ips", None) => {
            let (id, action) = world.create_primary_ip(body, now)?;
            let action = action.map(|action| render::action(&world.actions[&action], now));
            let address = render::primary_ip(&world.primary_ips[&id]);
            return Ok(match action {
                Some(action) => json!({ "primary_ip": address, "action": action }),
                None => json!({ "primary_ip": address }),
            });
        }
        ("primary_ips", Some(verb @ ("assign" | "unassign"))) => {
            world.primary_ip_action(id, verb, body, now)?
        }
        ("networks", _) => {
            let id = world.create_network(body, now)?;
            return Ok(json!({ "network": render::network(&world.networks[&id]) }));
        }
        (_, Some("change_protection")) => {
            world.change_protection(route.resource(), id, body, now)?
        }
        ("servers", Some(verb)) => {
            let action = world.server_action(id, verb, body, now)?;
            let action = render::action(&world.actions[&action], now);
            return Ok(match verb {
                "rebuild" => {
                    let password = render::root_password(world, id);
                    json!({ "action": action, "root_password": password })
                }
                "enable_rescue" => {
                    json!({ "action": action, "root_password": render::PASSWORD })
                }
                _ => json!({ "action": action }),
            });
        }
        (_, verb) => world.volume_action(id, verb.unwrap_or_default(), body, now)?,
    };
    Ok(json!({ "action": render::action(&world.actions[&action], now) }))
}
