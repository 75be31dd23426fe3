//! Servers and volumes that Hetzner refuses: the next type or location is tried, what was made
//! meanwhile is taken back, and each refusal is a cause of the error.

use burst_tests::assert_explained;
use hetzner_sim::scenario::{Quota, Snapshot, Stock};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Fault, FaultKind, Options, Scenario, Simulator};

use crate::hetzner::{TOKEN, cloud, logs, names, sandbox_on};

/// A simulator without hosts, for commands that get no server.
fn api_only(scenario: Scenario) -> Simulator {
    Simulator::start(Options::new(TOKEN, scenario)).unwrap()
}

/// How many servers were asked for.
fn orders(simulator: &Simulator) -> usize {
    names(&simulator.shared().calls()).iter().filter(|name| *name == "POST /servers").count()
}

/// Type and location of each server, and the location of each volume.
fn there(simulator: &Simulator) -> (Vec<String>, Vec<String>) {
    let world = lock(&simulator.shared().world);
    let servers = world.servers.values();
    let servers = servers.map(|server| format!("{} in {}", server.kind.name, server.location.name));
    let volumes = world.volumes.values().map(|volume| volume.location.name.to_owned());
    (servers.collect(), volumes.collect())
}

/// Asserts that a cold start on these types ends with an error, and leaves nothing.
#[track_caller]
fn assert_refused(simulator: &Simulator, types: &str, calls: usize, expected: &str) {
    let sandbox = sandbox_on(simulator).with("CARGO_BURST_SERVER_TYPE", types);
    assert_explained(&sandbox.hello("app").burst("sync"), 117, expected);
    assert_eq!(orders(simulator), calls);
    assert_eq!(there(simulator), (Vec::new(), Vec::new()));
}

const NOTHING: &str = "error: no server is available in the configured locations and types\n";

/// The limit of dedicated cores is the account's: other locations and larger types are not tried.
#[test]
fn a_type_above_the_quota_of_dedicated_cores_is_tried_once() {
    let quota = Quota { dedicated_cores: 4, ..Quota::default() };
    let refusal = |types: &str, place: &str| {
        format!(
            "{types} in {place}: POST /servers: dedicated_core_limit exceeded; limit \
             dedicated_core_limit (resource_limit_exceeded, correlation id sim-[..])\n"
        )
    };
    let scenario = Scenario { quota: quota.clone(), ..Scenario::default() };
    assert_refused(
        &api_only(scenario.clone()),
        "ccx33,ccx63",
        1,
        &format!(
            "{NOTHING}caused by: {}\
             hint: request a higher limit of dedicated cores in the Hetzner console (new accounts \
             have few or none), or set `server_type` to types with shared cores, such as cpx62\n",
            refusal("ccx33", "hel1")
        ),
    );
    let Some(simulator) = cloud(scenario) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_SERVER_TYPE", "ccx33,ccx63,cx53");
    let found = sandbox.hello("app").burst("sync");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    // Each is announced with its price before it is ordered.
    let announced: Vec<&str> = found
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("burst: creating a "))
        .filter_map(|line| line.split_once(" and a volume"))
        .map(|(server, _)| server)
        .collect();
    assert_eq!(
        announced,
        [
            "ccx33 server in hel1 for EUR 0.22 per started hour",
            "cx53 server in hel1 for EUR 0.05 per started hour"
        ]
    );
    assert_eq!(orders(&simulator), 2);
    assert_eq!(there(&simulator), (vec!["cx53 in hel1".into()], vec!["hel1".into()]));
}

#[test]
fn what_the_lists_rule_out_is_not_ordered() {
    let snapshots = vec![Snapshot { disk_gb: 80, ..Snapshot::default() }];
    let scenario = Scenario { snapshots, ..Scenario::default() };
    assert_refused(
        &api_only(scenario.clone()),
        "cx23,cax41,cpx12",
        0,
        &format!(
            "{NOTHING}caused by: cx23: its disk has 40 GB, the image needs 80 GB\n\
             caused by: cax41: there is no image for its architecture (arm)\n\
             caused by: cpx12: its disk has 40 GB, the image needs 80 GB\n\
             hint: set `server_type` to types with larger disks; or set `server_type` to types of \
             the image's architecture\n"
        ),
    );
    // Sold out as the lists say: tried last.
    let sold_out =
        Stock { server_type: Some("cx53".into()), shown: false, there: true, ..Stock::default() };
    let Some(simulator) = cloud(Scenario { stock: vec![sold_out], ..scenario }) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_SERVER_TYPE", "cx23,cx53,cpx62");
    let found = sandbox.hello("app").burst("sync");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(orders(&simulator), 1);
    assert_eq!(there(&simulator), (vec!["cpx62 in hel1".into()], vec!["hel1".into()]));
}

#[test]
fn a_server_is_taken_back_where_there_is_no_space_for_its_volume() {
    let full = |places: &[&str]| places.iter().map(ToString::to_string).collect();
    let scenario =
        Scenario { volumes_full_in: full(&["hel1", "fsn1", "nbg1"]), ..Scenario::default() };
    let cause = |place: &str| {
        format!(
            "caused by: cx53 in {place}: POST /volumes: no space left in location {place} \
             (no_space_left_in_location, correlation id sim-[..])\n"
        )
    };
    // A server of another type would be without a volume, too.
    assert_refused(
        &api_only(scenario),
        "cx53,cpx62",
        3,
        &format!(
            "{NOTHING}{}hint: try again later, or list more values in `region` and `server_type`\n",
            ["hel1", "fsn1", "nbg1"].map(cause).concat()
        ),
    );
    let scenario = Scenario { volumes_full_in: full(&["hel1"]), ..Scenario::default() };
    let Some(simulator) = cloud(scenario) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let found = project.burst("sync");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(there(&simulator), (vec!["cx53 in fsn1".into()], vec!["fsn1".into()]));
    // Both are billed, and in the record.
    assert_eq!(simulator.shared().ledger().1.server_hours, 2);
    let record =
        std::fs::read_to_string(sandbox.path().join("state/cargo-burst/hetzner/audit.jsonl"));
    let record = record.unwrap();
    let events: Vec<serde_json::Value> =
        record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = |name: &str, key: &str| {
        let of_servers = events.iter().filter(|entry| entry["kind"] == "server");
        let named = of_servers.filter(|entry| entry["event"] == name);
        named.map(|entry| entry[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown("opened", "location"), ["hel1", "fsn1"]);
    assert_eq!(shown("closed", "reason"), ["not available"]);
}

/// Whatever fails for good, nothing of what was made beside it stays.
#[test]
fn what_was_made_is_taken_back_on_every_error() {
    let quota = Quota { volumes: 0, ..Quota::default() };
    assert_refused(
        &api_only(Scenario { quota, ..Scenario::default() }),
        "cx53",
        1,
        "error: cannot create a volume\n\
         caused by: POST /volumes: [..] (resource_limit_exceeded, correlation id sim-[..])\n\
         hint: delete servers or volumes that you no longer need (`cargo burst status --all` \
         lists those of cargo-burst), or request a higher limit in the Hetzner console\n",
    );
    let quota = Quota { primary_ips: Some(1), ..Quota::default() };
    assert_refused(
        &api_only(Scenario { quota, ..Scenario::default() }),
        "cx53,cpx62",
        1,
        "error: cannot create a server\n\
         caused by: POST /servers: primary_ip_limit exceeded; limit primary_ip_limit \
         (resource_limit_exceeded, correlation id sim-[..])\n\
         hint: delete servers or volumes that you no longer need (`cargo burst status --all` \
         lists those of cargo-burst), or request a higher limit in the Hetzner console\n",
    );
    for (route, created) in [("/servers", "server"), ("/firewalls", "firewall")] {
        let kind =
            FaultKind::Answer { status: 422, code: Some("invalid_input".into()), applied: false };
        let (method, route) = (Some("POST".into()), Some(route.into()));
        let faults = vec![Fault { method, route, call: None, times: None, kind }];
        let simulator = api_only(Scenario { faults, ..Scenario::default() });
        let sandbox = sandbox_on(&simulator);
        let found = sandbox.hello("app").burst("sync");
        assert_eq!(found.code, Some(120), "{found:#?}");
        let expected = match created {
            "server" => "error: cannot create a server\n",
            _ => "error: cannot create the firewall\n",
        };
        assert!(found.stderr.contains(expected), "{found:#?}");
        assert_eq!(there(&simulator), (Vec::new(), Vec::new()), "{created}");
        // The hour of the volume is billed.
        let record = sandbox.path().join("state/cargo-burst/hetzner/audit.jsonl");
        let record = std::fs::read_to_string(record).unwrap();
        let closed = record.lines().filter(|line| line.contains("\"reason\":\"not available\""));
        let of_volumes = closed.filter(|line| line.contains("\"kind\":\"volume\""));
        assert_eq!(of_volumes.count(), 1, "{record}");
    }
}
