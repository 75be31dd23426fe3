//! The books: what commands record of resources that exist, came and went, against the bill of
//! the simulator.

use burst_tests::{Project, wait_until};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Options, Scenario, Simulator};
use serde_json::{Value, json};

use crate::hetzner::{TOKEN, cloud, sandbox_on};

/// A simulator without hosts: nothing is built on its servers.
fn api() -> Simulator {
    Simulator::start(Options::new(TOKEN, mid_month())).unwrap()
}

fn now(simulator: &Simulator) -> i64 {
    lock(&simulator.shared().clock).now()
}

/// The labels of another machine of ours, which keeps its resources.
fn labels(role: &str) -> Value {
    json!({
        "managed-by": "cargo-burst", "cargo-burst.role": role,
        "cargo-burst.owner": "0123456789abcdef", "cargo-burst.keep-alive": "always",
    })
}

/// Another machine creates a server.
fn create_server(simulator: &Simulator) -> u64 {
    let body = json!({
        "name": "another", "server_type": "cx53", "location": "hel1", "image": "1001",
        "labels": labels("server"),
    });
    let now = now(simulator);
    lock(&simulator.shared().world).create_server(&body, now).unwrap().0
}

/// Another machine creates a volume.
fn create_volume(simulator: &Simulator) {
    let body = json!({
        "name": "another", "size": 100, "location": "hel1", "labels": labels("volume"),
    });
    let now = now(simulator);
    lock(&simulator.shared().world).create_volume(&body, now).unwrap();
}

fn delete_server(simulator: &Simulator, id: u64) {
    let now = now(simulator);
    lock(&simulator.shared().world).delete_server(id, now).unwrap();
    simulator.shared().settle();
}

fn json_of(project: &Project<'_>, arguments: &str) -> Value {
    serde_json::from_str(&project.ok(arguments).stdout).unwrap()
}

/// The month of `status`, which asks the API.
fn month(project: &Project<'_>) -> Value {
    json_of(project, "status --json")["hetzner"]["this_month"].clone()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap()
}

/// The middle of a month (2026-11-15, 12:00 UTC), so that no hour of a test starts in another one.
fn mid_month() -> Scenario {
    Scenario { now: Some(1_794_744_000), ..Scenario::default() }
}

#[test]
fn over_forty_months_the_rule_of_deletion_is_near_the_best_in_hindsight() {
    burst_tests::month::check(&burst_tests::month::months());
}

#[test]
fn what_others_create_and_delete_is_booked_as_billed() {
    let simulator = api();
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    assert_eq!(month(&project)["started_hours"], 0);
    let server = create_server(&simulator);
    create_volume(&simulator);
    assert_eq!(month(&project)["started_hours"], 1);
    simulator.shared().advance(2.5 * 3600.0);
    let found = month(&project);
    let bill = simulator.shared().ledger().1;
    assert_eq!(found["started_hours"], bill.server_hours);
    assert_eq!(found["started_hours"], 3);
    assert!((number(&found, "servers") - bill.servers - bill.addresses).abs() < 1e-9);
    // Volumes by started hours; the simulator's bill has their exact time.
    assert!(number(&found, "volumes") >= bill.volumes, "{found} {bill:?}");
    assert!((number(&found, "volumes") - 3.0 * 5.72 / 720.0).abs() < 1e-9, "{found}");
    // Deleted in the console. From the next listing on it costs nothing more.
    delete_server(&simulator, server);
    simulator.shared().advance(60.0);
    assert_eq!(month(&project)["started_hours"], 3);
    simulator.shared().advance(5.0 * 3600.0);
    assert_eq!(month(&project)["started_hours"], 3);
    let record = sandbox.path().join("state/cargo-burst/hetzner/audit.jsonl");
    let closed = std::fs::read_to_string(record).unwrap();
    let closed: Vec<Value> =
        closed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let closed: Vec<&Value> = closed.iter().filter(|line| line["event"] == "closed").collect();
    assert_eq!(closed.len(), 1, "{closed:#?}");
    assert_eq!((&closed[0]["id"], &closed[0]["reason"]), (&json!(server), &json!("gone")));
    let (seen, at) = (number(closed[0], "seen"), number(closed[0], "at"));
    // By the API's own record of the deletion, not by the listing a minute later.
    assert!((0.0..30.0).contains(&(at - seen)), "{closed:#?}");
}

#[test]
fn the_budget_counts_other_machines_with_the_same_token() {
    let simulator = api();
    create_server(&simulator);
    simulator.shared().advance(4.1 * 3600.0);
    // Nothing is in the record of this machine, five hours of a cx53 are on the account.
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_MONTHLY_BUDGET", "0.26");
    let refused = sandbox.hello("app").burst("build");
    assert_eq!(refused.code, Some(118), "{refused:?}");
    let costs = "error: a cx53 in hel1 costs EUR 0.05 per started hour\n";
    assert!(refused.stderr.contains(costs), "{refused:?}");
    assert_eq!(lock(&simulator.shared().world).servers.len(), 1);
    let status = sandbox.hello("app").ok("status").stdout;
    let left = "this month: EUR 0.24; 0.02 left of the monthly budget of 0.26\n";
    assert!(status.ends_with(left), "{status}");
}

#[test]
fn a_deletion_by_hand_and_a_lost_record_leave_the_books_right() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("check");
    let record = sandbox.path().join("state/cargo-burst/hetzner/audit.jsonl");
    // As after a process that was killed between creation and record.
    std::fs::remove_file(&record).unwrap();
    project.ok("status");
    assert_eq!(json_of(&project, "audit --json")["servers"], 1);
    simulator.shared().advance(3700.0);
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    delete_server(&simulator, server);
    simulator.shared().advance(90.0);
    project.ok("reap");
    let bill = simulator.shared().ledger().1;
    let audit = json_of(&project, "audit --json");
    assert_eq!((&audit["servers"], &audit["started_hours"]), (&json!(1), &json!(2)));
    assert!((number(&audit, "cost") - bill.servers - bill.addresses).abs() < 1e-9, "{audit}");
    // The agent here is no server.
    let sandbox = sandbox.with("HCLOUD_TOKEN", "");
    let project = sandbox.hello("app");
    project.ok("check");
    let audit = json_of(&project, "audit --json");
    assert_eq!(audit["here"]["commands"], 1, "{audit}");
    assert_eq!(audit["commands"], 0, "{audit}");
    // Both agents have told the processor time of cargo and its programs.
    let record = std::fs::read_to_string(record).unwrap();
    let lines: Vec<Value> =
        record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.iter().rfind(|line| line["event"] == "command").unwrap();
    assert_eq!(last["place"], "here", "{last}");
    assert!(number(last, "cpu_secs") > 0.0, "{last}");
    assert_eq!(last["workspace"], project.root.to_str().unwrap());
}

#[test]
fn a_run_is_ended_when_its_time_is_over_and_none_begins_when_the_day_is() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_MAX_RUN_SECS", "5");
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() { println!(\"begun\"); std::thread::sleep(std::time::Duration::from_secs(600)) }",
    );
    let found = project.burst("run");
    assert_eq!((found.code, found.stdout.as_str()), (Some(118), "begun\n"), "{found:?}");
    let expected = "warning: the run is ended in 1 s: `max_run_secs` is 5; for the next one, raise it\n\
        warning: the run is interrupted: `max_run_secs` is 5\n";
    assert_eq!(format!("{}\n", found.warnings().join("\n")), expected, "{found:?}");
    let error = "error: the run was ended, since it took as long as your settings allow\n\
        caused by: `max_run_secs` is 5\n\
        hint: raise the setting, or set it for one command by its variable\n";
    assert!(found.stderr.ends_with(error), "{found:?}");
    let sandbox = sandbox.with("CARGO_BURST_MAX_DAY_SECS", "4");
    let refused = sandbox.hello("app").burst("check");
    assert_eq!(refused.code, Some(118), "{refused:?}");
    let error = "error: the time on servers of this day is used up\n\
        caused by: `max_day_secs` is 4, commands have run for ";
    assert!(refused.stderr.starts_with(error), "{refused:?}");
}

#[test]
fn the_time_of_a_command_that_is_killed_is_in_the_record() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_MAX_DAY_SECS", "86400");
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(600)) }",
    );
    let record = sandbox.path().join("state/cargo-burst/hetzner/audit.jsonl");
    let has = |event: &str| {
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        text.contains(&format!("\"event\":\"{event}\""))
    };
    let mut command = project.start("run");
    wait_until("the run is recorded", || has("used"));
    command.kill().unwrap();
    command.wait().unwrap();
    assert!(!has("command"));
}
