//! `down` while detached runs are running.

use burst_tests::{assert_explained, ended};
use hetzner_sim::Scenario;

use super::attached_to_sleep;
use crate::hetzner::{cloud, sandbox_on};
use crate::sandbox;
use crate::terminals::keyboard::project;

#[test]
fn down_names_the_detached_run_that_it_ends_and_is_the_end_in_its_record() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let attached = attached_to_sleep(&project);
    let down = project.burst("down --yes");
    assert_eq!(down.code, Some(0));
    let name = "detached run 1: `cargo run -q -- sh -c echo ready; exec sleep 1000` of";
    assert_eq!(down.stderr, format!("burst: ending {name} {}\n", project.root.display()));
    let told = "error: run 1 was ended by `cargo burst down`\n\
                hint: start it again; what it had changed comes back with the next command of its \
                workspace";
    assert_explained(&ended(attached.wait_with_output().unwrap()), 114, told);
    assert_explained(&project.burst("attach 1"), 114, told);
    let document: serde_json::Value =
        serde_json::from_str(&project.ok("status --json").stdout).unwrap();
    let run = &document["runs"][0];
    assert_eq!([&run["state"], &run["signal"]], [&serde_json::json!("ended"), &().into()]);
    assert_eq!(run["ended_by_down"], true);
    // Nothing is left to be named.
    assert_eq!(project.burst("down").stderr, "");
}

#[test]
fn down_ends_a_detached_run_on_a_server_and_is_its_end() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = project(&sandbox);
    let attached = attached_to_sleep(&project);
    let down = project.burst("down --yes");
    assert_eq!(down.code, Some(0), "{down:?}");
    assert!(down.stderr.starts_with("burst: ending detached run 1: `cargo run -q "), "{down:?}");
    let shown = ended(attached.wait_with_output().unwrap());
    assert_explained(
        &shown,
        114,
        "error: run 1 was ended by `cargo burst down`\n\
         hint: start it again; what it had changed comes back with the next command of its workspace",
    );
}
