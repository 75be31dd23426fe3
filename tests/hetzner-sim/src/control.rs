//! The control endpoint `/control/...`, which is not part of the API.
//!
//! ```text
//! GET  /control/calls        lists the calls of the API
//! POST /control/scenario     replaces the scenario and keeps all resources
//! POST /control/advance      {"secs": 3600}: advances virtual time
//! POST /control/rate         {"rate": 60}: sets the speed of virtual time
//! GET  /control/ledger       the bill
//! GET  /control/state        servers and volumes
//! GET  /control/held         waits until a call is held; returns its number
//! POST /control/release      closes the connection of the held call
//! POST /control/delete_server  {"id": 1}: somebody deletes a server in the console
//! POST /control/delete_volume  {"id": 1}: the same for a volume, attached or not
//! POST /control/detach_volume  {"id": 1}: somebody detaches a volume in the console
//! GET  /control/violations   responses that did not match the schemas
//! ```

use std::sync::Arc;

use serde_json::{Value, json};

use crate::render;
use crate::scenario::Scenario;
use crate::simulator::{ByHand, Shared, lock};

/// Serves one request.
pub async fn serve(shared: &Arc<Shared>, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let answer = match (method, path) {
        ("GET", "/calls") => json!(shared.calls()),
        ("GET", "/ledger") => {
            let (ledger, sum) = shared.ledger();
            json!({ "lines": ledger.lines, "sum": sum, "total": sum.total() })
        }
        ("GET", "/state") => state(shared),
        ("GET", "/violations") => json!(shared.violations()),
        ("GET", "/held") => json!(shared.wait_until_held().await),
        ("POST", "/release") => {
            shared.release();
            Value::Null
        }
        ("POST", "/advance") => {
            shared.advance(body["secs"].as_f64().unwrap_or(0.0));
            Value::Null
        }
        ("POST", "/rate") => {
            lock(&shared.clock).set_rate(body["rate"].as_f64().unwrap_or(1.0));
            Value::Null
        }
        ("POST", "/delete_server" | "/delete_volume" | "/detach_volume") => {
            let by_hand = match path {
                "/delete_server" => ByHand::DeleteServer,
                "/delete_volume" => ByHand::DeleteVolume,
                _ => ByHand::DetachVolume,
            };
            match shared.by_hand(by_hand, body["id"].as_u64().unwrap_or(0)) {
                Ok(()) => Value::Null,
                Err(refusal) => return (refusal.status, refusal.body()),
            }
        }
        ("POST", "/scenario") => match serde_json::from_value::<Scenario>(body) {
            Ok(scenario) => {
                lock(&shared.world).scenario = scenario;
                Value::Null
            }
            Err(error) => return (422, json!({ "error": error.to_string() })),
        },
        _ => return (404, json!({ "error": "no such control" })),
    };
    (200, answer)
}

fn state(shared: &Arc<Shared>) -> Value {
    let world = lock(&shared.world);
    let servers: Vec<Value> =
        world.servers.values().map(|one| render::server(&world, one)).collect();
    let volumes: Vec<Value> =
        world.volumes.values().map(|one| render::volume(&world, one)).collect();
    json!({ "servers": servers, "volumes": volumes })
}
