//! The JSON representation of resources.

mod network;

pub use network::{firewall, network, primary_ip};

use serde_json::{Value, json};

use crate::catalogue::{self, IMAGE_GB_MONTH, IPV4_HOURLY, LOCATIONS, Location, ServerType};
use crate::clock::rfc3339;
use crate::scenario::Scenario;
use crate::world::{Action, Family, Image, Outcome, Server, SshKey, Volume, World};

/// The factor between net and gross prices: German VAT.
const VAT: f64 = 1.19;

fn price(net: f64) -> Value {
    json!({ "net": format!("{net:.10}"), "gross": format!("{:.10}", net * VAT) })
}

/// The root password of every server that has one.
pub const PASSWORD: &str = "not-a-real-one";

/// The root password of a new or rebuilt server: one with SSH keys has none.
pub fn root_password(world: &World, server: u64) -> Option<&'static str> {
    world.servers.get(&server).filter(|server| !server.has_ssh_keys).map(|_| PASSWORD)
}

/// The representation of a location.
pub fn location(location: &Location) -> Value {
    json!({
        "id": location.id,
        "name": location.name,
        "description": format!("{} DC Park", location.city),
        "country": location.country,
        "city": location.city,
        "latitude": 50.0,
        "longitude": 10.0,
        "network_zone": location.zone,
    })
}

fn type_prices(kind: &ServerType) -> Vec<Value> {
    let places = LOCATIONS.iter().filter(|location| kind.is_supported_in(location.name));
    places
        .map(|location| {
            json!({
                "location": location.name,
                "price_hourly": price(kind.hourly_in(location.name)),
                "price_monthly": price(kind.monthly_in(location.name)),
                "included_traffic": 21_990_232_555_520_u64,
                "price_per_tb_traffic": price(1.0),
            })
        })
        .collect()
}

/// The representation of a server type.
pub fn server_type(kind: &ServerType, scenario: &Scenario) -> Value {
    let places = LOCATIONS.iter().filter(|location| kind.is_supported_in(location.name));
    let locations: Vec<Value> = places
        .map(|location| {
            json!({
                "id": location.id,
                "name": location.name,
                "deprecation": null,
                "available": scenario.stock_of(kind.name, location.name).shown,
                "recommended": false,
            })
        })
        .collect();
    json!({
        "id": kind.id,
        "name": kind.name,
        "description": kind.name.to_uppercase(),
        "category": "Shared vCPU",
        "cores": kind.cores,
        "memory": kind.memory,
        "disk": kind.disk,
        "deprecated": false,
        "deprecation": null,
        "prices": type_prices(kind),
        "storage_type": "local",
        "cpu_type": if kind.is_dedicated() { "dedicated" } else { "shared" },
        "architecture": kind.architecture(),
        "locations": locations,
    })
}

/// The representation of a server.
pub fn server(world: &World, server: &Server) -> Value {
    let firewalls: Vec<Value> = world
        .firewalls
        .keys()
        .filter(|id| world.servers_behind(**id).contains(&server.id))
        .map(|id| json!({ "id": id, "status": "applied" }))
        .collect();
    let address = |family: Family| {
        let address = world.primary_ip_of(server.id, family)?;
        let names = match family {
            Family::V4 => json!("host.example"),
            Family::V6 => json!([]),
        };
        Some(json!({ "id": address.id, "ip": address.ip, "blocked": false, "dns_ptr": names }))
    };
    let networks = world.networks.values().flat_map(|network| {
        let of_server = network.servers.iter().filter(|(id, _)| *id == server.id);
        of_server.map(|(id, ip)| {
            json!({
                "network": network.id,
                "ip": ip.to_string(),
                "alias_ips": [],
                "mac_address": format!("86:00:00:{:02x}:{:02x}:{:02x}", id >> 16, id >> 8 & 255, id & 255),
            })
        })
    });
    json!({
        "id": server.id,
        "name": server.name,
        "status": server.status.name(),
        "created": rfc3339(server.created),
        "public_net": {
            "ipv4": address(Family::V4),
            "ipv6": address(Family::V6),
            "floating_ips": [],
            "firewalls": firewalls,
        },
        "private_net": networks.collect::<Vec<_>>(),
        "server_type": server_type(server.kind, &world.scenario),
        "location": location(server.location),
        "image": world.images.get(&server.image).map(image),
        "iso": null,
        "rescue_enabled": server.rescue_until.is_some(),
        "locked": world.is_locked("server", server.id),
        "backup_window": null,
        "outgoing_traffic": 0,
        "ingoing_traffic": 0,
        "included_traffic": 21_990_232_555_520_u64,
        "protection": { "delete": server.is_protected, "rebuild": server.is_protected },
        "labels": server.labels,
        "volumes": world.volumes_of(server.id),
        "load_balancers": [],
        "primary_disk_size": server.disk_gb,
        "placement_group": null,
    })
}

/// The representation of a volume.
pub fn volume(world: &World, volume: &Volume) -> Value {
    let creating = world.is_locked("volume", volume.id) && volume.server.is_none();
    json!({
        "id": volume.id,
        "name": volume.name,
        "created": rfc3339(volume.created),
        "server": volume.server,
        "location": location(volume.location),
        "size": volume.gb,
        "linux_device": format!("/dev/disk/by-id/scsi-0HC_Volume_{}", volume.id),
        "protection": { "delete": volume.is_protected },
        "labels": volume.labels,
        "status": if creating { "creating" } else { "available" },
        "format": volume.format,
    })
}

/// The representation of an image.
pub fn image(image: &Image) -> Value {
    let from = image.from.as_ref().map(|(id, name)| json!({ "id": id, "name": name }));
    json!({
        "id": image.id,
        "type": image.kind(),
        "status": image.status(),
        "name": image.name(),
        "description": image.description,
        "image_size": image.image_gb,
        "disk_size": image.disk_gb,
        "created": rfc3339(image.created),
        "created_from": from,
        "bound_to": null,
        "os_flavor": image.system.map_or("debian", |system| system.flavor),
        "os_version": image.system.map_or("12", |system| system.version),
        "rapid_deploy": image.system.is_some(),
        "protection": { "delete": image.is_protected },
        "deprecated": null,
        "deprecation": null,
        "deleted": null,
        "labels": image.labels,
        "architecture": image.architecture,
    })
}

/// The representation of an SSH key.
pub fn ssh_key(key: &SshKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "fingerprint": key.fingerprint,
        "public_key": key.public_key,
        "labels": key.labels,
        "created": rfc3339(key.created),
    })
}

/// The representation of an action at the virtual time `now`.
pub fn action(action: &Action, now: i64) -> Value {
    let (status, error) = match &action.outcome {
        Outcome::Running => ("running", Value::Null),
        Outcome::Success => ("success", Value::Null),
        Outcome::Error(code) => {
            ("error", json!({ "code": code, "message": format!("{} failed", action.command) }))
        }
    };
    let is_over = action.outcome != Outcome::Running;
    let span = (action.ends - action.started).max(1);
    let progress = ((now - action.started) * 100 / span).clamp(0, 99);
    let resources: Vec<Value> =
        action.resources.iter().map(|(kind, id)| json!({ "id": id, "type": kind })).collect();
    json!({
        "id": action.id,
        "command": action.command,
        "status": status,
        "progress": if is_over { 100 } else { progress },
        "started": rfc3339(action.started),
        "finished": is_over.then(|| rfc3339(action.ends)),
        "resources": resources,
        "error": error,
    })
}

/// The representation of the price list.
pub fn pricing() -> Value {
    let types: Vec<Value> = catalogue::SERVER_TYPES
        .iter()
        .map(|kind| json!({ "id": kind.id, "name": kind.name, "prices": type_prices(kind) }))
        .collect();
    let places = |hourly: f64| {
        LOCATIONS
            .iter()
            .map(|location| {
                json!({
                    "location": location.name,
                    "price_hourly": price(hourly),
                    "price_monthly": price(hourly * 624.0),
                })
            })
            .collect::<Vec<Value>>()
    };
    json!({ "pricing": {
        "currency": "EUR",
        "vat_rate": "19.000000",
        "primary_ips": [
            { "type": "ipv4", "prices": places(IPV4_HOURLY) },
            { "type": "ipv6", "prices": places(0.0) },
        ],
        "floating_ips": [],
        "image": { "price_per_gb_month": price(IMAGE_GB_MONTH) },
        "volume": { "price_per_gb_month": price(catalogue::VOLUME_GB_MONTH) },
        "server_backup": { "percentage": "20.000000" },
        "server_types": types,
        "load_balancer_types": [],
        "floating_ip": { "price_monthly": price(3.0) },
    }})
}
