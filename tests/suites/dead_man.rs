//! The dead man's switch: a server whose keeper is gone deletes itself.
//!
//! An agent measures its lease in real seconds, so that the leases here are short ones.

use std::process::Stdio;

use burst_tests::{Sandbox, wait_until};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Fault, FaultKind, Scenario, Simulator};

use crate::hetzner::{cloud, logs, names, sandbox_on};

/// A sandbox whose servers are idle for two seconds at most, then delete themselves within one.
fn hurried_on(simulator: &Simulator) -> Sandbox {
    sandbox_on(simulator)
        .with("CARGO_BURST_KEEP_PAID_HOUR", "false")
        .with("CARGO_BURST_KEEP_ALIVE_SECS", "2")
        .with("CARGO_BURST_DEAD_MAN_SECS", "1")
        .with("CARGO_BURST_RECONNECT_SECS", "1")
}

fn servers(simulator: &Simulator) -> usize {
    lock(&simulator.shared().world).servers.len()
}

fn faulty_deletion(kind: FaultKind) -> Fault {
    let (method, route) = (Some("DELETE".to_owned()), Some("/servers/{id}".to_owned()));
    Fault { method, route, call: None, times: Some(1), kind }
}

/// The client is off in the middle of a run: keeper and command are killed, and its network is
/// gone. The API refuses at first, since an action has the server locked, and then does not answer.
#[test]
fn a_server_whose_client_is_gone_deletes_itself() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = hurried_on(&simulator);
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {\n    println!(\"begun\");\n    \
         loop { std::thread::sleep(std::time::Duration::from_secs(9)); }\n}\n",
    );
    let mut run = project.command("run -q").stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stdout = std::io::BufReader::new(run.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    assert_eq!(said, "begun\n", "{}", logs(&simulator, &sandbox));
    let locked = FaultKind::Answer { status: 423, code: Some("locked".into()), applied: false };
    lock(&simulator.shared().world).scenario.faults =
        vec![faulty_deletion(locked), faulty_deletion(FaultKind::Drop { applied: false })];
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    simulator.shared().hosts().unwrap().block(server, &["udp", "tcp"]).unwrap();
    sandbox.kill_keeper();
    run.kill().unwrap();
    run.wait().unwrap();
    simulator.shared().forget_calls();
    wait_until("the server's deletion by itself", || servers(&simulator) == 0);
    // The server has called nothing else, and there is nobody else.
    assert_eq!(names(&simulator.shared().calls()), ["DELETE /servers/{id}"; 3]);
    assert!(sandbox.keeper().is_none());
    assert_eq!(simulator.shared().ledger().1.server_hours, 1);
}

/// The keeper has stopped the agent to delete its server, and was killed before it could.
#[test]
fn a_server_whose_deletion_was_interrupted_deletes_itself() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = hurried_on(&simulator).with("CARGO_BURST_KEEP_ALIVE_SECS", "5");
    let project = sandbox.hello("app");
    project.ok("sync");
    lock(&simulator.shared().world).scenario.faults =
        vec![faulty_deletion(FaultKind::Hold { applied: false })];
    let mut down = project.command("down").stderr(Stdio::null()).spawn().unwrap();
    wait_until("the held call", || simulator.shared().held().is_some());
    sandbox.kill_keeper();
    down.kill().unwrap();
    down.wait().unwrap();
    simulator.shared().release();
    wait_until("the server's deletion by itself", || servers(&simulator) == 0);
    assert!(sandbox.keeper().is_none());
}

/// The agent confirms that it has no request any more, long before its lease has ended.
#[test]
fn a_switch_that_is_turned_off_is_revoked_at_once() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let deletes_itself = |arguments: &str, switch: &str| {
        let mut command = project.command(arguments);
        command.env("CARGO_BURST_DEAD_MAN_SWITCH", switch);
        assert!(command.stderr(Stdio::null()).status().unwrap().success());
        let status = project.ok("status --json").stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["hetzner"]["servers"][0]["deletes_itself_at"].is_string()
    };
    assert!(deletes_itself("sync", "true"));
    wait_until("the end of the switch", || !deletes_itself("sync", "false"));
    wait_until("the switch", || deletes_itself("sync", "true"));
    // One that is kept until `down` must not delete itself.
    wait_until("the end of the switch", || !deletes_itself("sync --no-reap", "true"));
}

/// A command prepares the server, which takes minutes where the API is slow: that does not keep the
/// lease from being renewed.
#[test]
fn a_lease_is_renewed_while_a_command_prepares_the_server() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let deletes_itself = || {
        let status = project.ok("status --json").stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["hetzner"]["servers"][0]["deletes_itself_at"].is_string()
    };
    assert!(deletes_itself());
    let (method, route) = (Some("POST".to_owned()), Some("/volumes".to_owned()));
    let kind = FaultKind::Hold { applied: false };
    lock(&simulator.shared().world).scenario.faults =
        vec![Fault { method, route, call: None, times: Some(1), kind }];
    let mut preparing = sandbox.hello("other").command("sync");
    let mut preparing = preparing.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the held call", || simulator.shared().held().is_some());
    // This one waits for the other one, and has another wish already.
    let mut waiting = project.command("sync");
    waiting.env("CARGO_BURST_DEAD_MAN_SWITCH", "false").stderr(Stdio::null());
    let mut waiting = waiting.spawn().unwrap();
    wait_until("the end of the switch", || !deletes_itself());
    // The server is still being prepared: it has not got the other project's volume.
    assert_eq!(lock(&simulator.shared().world).volumes.len(), 1);
    simulator.shared().release();
    assert!(waiting.wait().unwrap().success(), "{}", logs(&simulator, &sandbox));
    preparing.wait().unwrap();
}
