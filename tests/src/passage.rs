//! Virtual time that passes for the simulator of the Hetzner API and for the keepers of
//! sandboxes.
//!
//! A keeper takes the time from the responses of the API, and asks only when it has a reason:
//! after a leap of the simulator's clock it would learn of it too late. Here a command makes each
//! keeper ask, and time stops wherever one has promised a deletion until it has kept its word.

use burst_hcloud::Timestamp;
use hetzner_sim::Simulator;
use hetzner_sim::simulator::lock;
use serde_json::Value;

use crate::{Sandbox, ended, wait_until};

/// A deletion that `status` promises.
struct Promise {
    name: String,
    at: i64,
}

/// Lets this much time pass, with all deletions that the keepers of these sandboxes promise
/// meanwhile. Fails if one is not made.
#[track_caller]
pub fn pass_time(simulator: &Simulator, sandboxes: &[&Sandbox], secs: i64) {
    let shared = simulator.shared();
    let end = shared.now_secs() + secs;
    loop {
        let promises: Vec<Promise> = sandboxes.iter().flat_map(|one| promises(one)).collect();
        let next = promises.iter().map(|promise| promise.at).min().unwrap_or(i64::MAX);
        // The whole second is over for a keeper whose clock lags behind by less than one.
        let stop = end.min(next.saturating_add(1));
        shared.advance((stop - shared.now_secs()).max(0) as f64);
        for sandbox in sandboxes {
            status(sandbox);
        }
        for promise in promises.iter().filter(|promise| promise.at < stop) {
            wait_until(&format!("the deletion of {}", promise.name), || {
                let world = lock(&shared.world);
                world.servers.values().all(|server| server.name != promise.name)
                    && world.volumes.values().all(|volume| volume.name != promise.name)
            });
        }
        if stop == end {
            return;
        }
    }
}

fn promises(sandbox: &Sandbox) -> Vec<Promise> {
    let status = status(sandbox);
    let list = |kind: &str| status["hetzner"][kind].as_array().cloned().unwrap_or_default();
    let promise = |one: Value| {
        let at: Timestamp = one["deleted_at"].as_str()?.parse().expect("a time");
        Some(Promise { name: one["name"].as_str()?.to_owned(), at: at.as_second() })
    };
    [list("servers"), list("volumes")].concat().into_iter().filter_map(promise).collect()
}

/// The status by a keeper, which asks the API for it.
#[track_caller]
fn status(sandbox: &Sandbox) -> Value {
    let output = sandbox.burst_command(sandbox.path(), "status --json").output();
    let ended = ended(output.expect("the program"));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}
