//! The keeper stays while something exists that costs money, and what it cannot do is said.

use std::path::PathBuf;

use burst_tests::{Project, Sandbox, assert_explained, ended, wait_until};
use hetzner_sim::scenario::Access;
use hetzner_sim::simulator::lock;
use hetzner_sim::{Fault, FaultKind, Scenario, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::hetzner::{TOKEN, cloud, logs, sandbox_on};

/// A sandbox whose servers do not delete themselves: only a keeper does.
fn without_switch(simulator: &Simulator) -> Sandbox {
    sandbox_on(simulator).with("CARGO_BURST_DEAD_MAN_SWITCH", "false")
}

/// A simulator with real hosts, a sandbox and its project after a first command, which leaves an
/// idle server behind.
struct Idle {
    simulator: Simulator,
    sandbox: Sandbox,
}

impl Idle {
    fn new(sandbox: impl Fn(&Simulator) -> Sandbox) -> Option<Self> {
        let simulator = cloud(Scenario::default())?;
        let sandbox = sandbox(&simulator);
        let idle = Self { simulator, sandbox };
        idle.project().ok("sync");
        Some(idle)
    }

    fn project(&self) -> Project<'_> {
        self.sandbox.hello("app")
    }

    fn counts(&self) -> (usize, usize) {
        let world = lock(&self.simulator.shared().world);
        (world.servers.len(), world.volumes.len())
    }

    fn holdings(&self) -> PathBuf {
        self.sandbox.path().join("state/cargo-burst/keeper/holdings.json")
    }

    /// The only holding that is written down.
    fn holding(&self) -> Value {
        let text = std::fs::read(self.holdings()).unwrap_or_default();
        let all: Value = serde_json::from_slice(&text).unwrap_or_default();
        all.as_object().and_then(|all| all.values().next().cloned()).unwrap_or_default()
    }

    /// Whether the keeper that runs looks after all accounts that have something.
    fn all_are_kept(&self) -> bool {
        let text = std::fs::read(self.holdings()).unwrap_or_default();
        let all: Value = serde_json::from_slice(&text).unwrap_or_default();
        let keeper = self.sandbox.keeper().map(i64::from);
        all.as_object().is_some_and(|all| all.values().all(|one| one["keeper"].as_i64() == keeper))
    }

    fn signal_keeper(&self, signal: Signal) {
        kill(Pid::from_raw(self.sandbox.keeper().expect("a keeper")), signal).unwrap();
    }

    fn reject_all(&self) {
        let kind =
            FaultKind::Answer { status: 401, code: Some("unauthorized".into()), applied: false };
        let fault = Fault { method: None, route: None, call: None, times: None, kind };
        lock(&self.simulator.shared().world).scenario.faults = vec![fault];
    }

    fn accept_all(&self) {
        lock(&self.simulator.shared().world).scenario.faults.clear();
    }

    /// The paid hour is over soon; with the next response a keeper learns that.
    fn let_the_hour_pass(&self) {
        self.simulator.shared().advance(3500.0);
    }
}

#[test]
fn status_has_a_keeper_take_over_what_a_killed_one_has_left() {
    let Some(idle) = Idle::new(without_switch) else { return };
    idle.sandbox.kill_keeper();
    let project = idle.project();
    let status: Value = serde_json::from_str(&project.ok("status --json").stdout).unwrap();
    assert_eq!(status["hetzner"]["servers"][0]["deleted_by"], "keeper", "{status}");
    assert_eq!(status["hetzner"]["volumes"][0]["deleted_by"], "keeper", "{status}");
    assert!(idle.sandbox.keeper().is_some());
    // Any response tells that keeper the time.
    idle.let_the_hour_pass();
    project.ok("status");
    wait_until("the deletion by the keeper of `status`", || idle.counts().0 == 0);
}

#[test]
fn a_rejected_token_does_not_end_the_keeper_and_the_next_command_says_so() {
    let Some(idle) = Idle::new(without_switch) else { return };
    idle.let_the_hour_pass();
    idle.reject_all();
    let project = idle.project();
    assert_eq!(project.burst("reap").code, Some(116));
    wait_until("the trouble", || !idle.holding()["trouble"].is_null());
    let expected = "warning: for [..] the keeper could not ask for cargo-burst-[..] and 1 volume, \
                    which may cost money: cannot list the servers and volumes at Hetzner: [..] \
                    (unauthorized, correlation id sim-[..]); next attempt [..]; see `cargo burst \
                    status`";
    let warned = |arguments: &str| {
        let found = project.ok(arguments);
        burst_tests::assert_lines(&found.warnings().join("\n"), expected);
    };
    warned("audit");
    let keeper = idle.sandbox.keeper();
    assert!(keeper.is_some());
    // The next keeper knows what there is, though it was never listed for it.
    idle.sandbox.kill_keeper();
    warned("config");
    let next = idle.sandbox.keeper();
    assert!(next.is_some() && next != keeper);
    wait_until("an attempt of the next keeper", || {
        idle.holding()["trouble"]["failures"].as_u64().is_some_and(|failures| failures >= 2)
    });
    assert_eq!(idle.counts(), (1, 1));
    let mode = |path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions())
    };
    assert_eq!(mode(idle.holdings()) & 0o777, 0o600);
    let written = std::fs::read_to_string(idle.holdings()).unwrap();
    assert!(!written.contains(TOKEN), "{written}");
    // With the first answer the keeper works again, whatever its pause.
    idle.accept_all();
    project.ok("status");
    wait_until("the deletion", || idle.counts().0 == 0);
    wait_until("the end of the trouble", || idle.holding()["trouble"].is_null());
    assert_eq!(project.ok("audit").warnings(), Vec::<&str>::new());
}

#[test]
fn a_new_token_of_the_same_project_takes_over() {
    let Some(idle) = Idle::new(without_switch) else { return };
    let tokens = [(TOKEN.to_owned(), Access::Revoked), ("new".to_owned(), Access::ReadWrite)];
    lock(&idle.simulator.shared().world).scenario.tokens = tokens.into();
    let project = idle.project();
    assert_eq!(project.burst("reap").code, Some(116));
    assert_eq!(project.ok("audit").warnings().len(), 1);
    let with_new = |arguments: &str| {
        let mut command = project.command(arguments);
        let found = ended(command.env("HCLOUD_TOKEN", "new").output().unwrap());
        assert_eq!(found.code, Some(0), "{found:#?}");
        found
    };
    with_new("status");
    wait_until("the old token's end", || idle.holding()["trouble"].is_null());
    assert_eq!(with_new("audit").warnings(), Vec::<&str>::new());
    idle.let_the_hour_pass();
    with_new("status");
    wait_until("the deletion", || idle.counts().0 == 0);
}

#[test]
fn down_forgets_what_a_rejected_token_has_left_only_where_it_was_seen() {
    let Some(idle) = Idle::new(without_switch) else { return };
    let tokens = [(TOKEN.to_owned(), Access::Revoked), ("new".to_owned(), Access::ReadWrite)];
    lock(&idle.simulator.shared().world).scenario.tokens = tokens.into();
    let project = idle.project();
    assert_eq!(project.burst("reap").code, Some(116));
    let Some(elsewhere) = cloud(Scenario::default()) else { return };
    let down = |variable: &str, value: &str| {
        let mut command = project.command("down --with-volumes --yes");
        let found = ended(command.env(variable, value).output().unwrap());
        assert_eq!(found.code, Some(0), "{found:#?}");
    };
    // By the keeper that has the rejected token, and without a keeper.
    for _ in 0..2 {
        down("HCLOUD_ENDPOINT", &elsewhere.endpoint());
        assert_eq!(idle.holding()["volumes"].as_array().map(Vec::len), Some(1));
        assert_eq!(project.ok("audit").warnings().len(), 1);
        idle.sandbox.kill_keeper();
        wait_until("the keeper's end", || idle.sandbox.keeper().is_none());
    }
    down("HCLOUD_TOKEN", "new");
    assert_eq!((idle.counts(), idle.holding()), ((0, 0), Value::Null));
}

#[test]
fn what_a_killed_keeper_has_left_is_told_with_the_token_of_another_account() {
    let Some(idle) = Idle::new(without_switch) else { return };
    idle.sandbox.kill_keeper();
    wait_until("the keeper's end", || idle.sandbox.keeper().is_none());
    let Some(elsewhere) = cloud(Scenario::default()) else { return };
    let project = idle.project();
    let expected = "warning: cargo-burst-[..] and 1 volume existed at Hetzner when last listed, \
                    and NOBODY will delete it: set the token [..]";
    // Without a keeper, and with the keeper of that account.
    for command in ["status", "sync", "audit"] {
        let mut command = project.command(command);
        let found = command.env("HCLOUD_ENDPOINT", elsewhere.endpoint()).output().unwrap();
        burst_tests::assert_lines(&ended(found).warnings().join("\n"), expected);
    }
    assert!(idle.sandbox.keeper().is_some());
    // `doctor` tells it only; the next command has that keeper look after it.
    drop(project.burst("doctor"));
    assert!(!idle.all_are_kept());
    assert_eq!(project.ok("config").warnings(), Vec::<&str>::new());
    assert!(idle.all_are_kept());
}

#[test]
fn a_keeper_takes_an_account_over_although_the_api_cannot_tell_its_project() {
    let Some(idle) = Idle::new(without_switch) else { return };
    let project = idle.project();
    let with_new = |arguments: &str| {
        let mut command = project.command(arguments);
        ended(command.env("HCLOUD_TOKEN", "new").output().unwrap())
    };
    let holdings = || -> serde_json::Map<String, Value> {
        let text = std::fs::read(idle.holdings()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    };
    let kill_keeper = || {
        idle.sandbox.kill_keeper();
        wait_until("the keeper's end", || idle.sandbox.keeper().is_none());
    };
    // Each token has an account of its own, of which one has another volume.
    let tokens = [("new".to_owned(), Access::ReadWrite)];
    lock(&idle.simulator.shared().world).scenario.tokens = tokens.into();
    let mut both = holdings();
    let first = both.keys().next().cloned().unwrap();
    kill_keeper();
    assert_eq!(with_new("status").code, Some(0));
    kill_keeper();
    let (second, mut other) = holdings().into_iter().find(|(name, _)| *name != first).unwrap();
    other["servers"] = serde_json::json!([]);
    other["volumes"] = serde_json::json!([{"id": 4711, "name": "another"}]);
    both.insert(second.clone(), other);
    std::fs::write(idle.holdings(), serde_json::to_vec(&both).unwrap()).unwrap();
    // A keeper has seen the resources of the first; then the API fails.
    for _ in 0..2 {
        project.ok("status");
    }
    idle.reject_all();
    let config = with_new("config");
    assert!(!config.stderr.contains("no keeper looks after"), "{config:#?}");
    assert!(idle.all_are_kept(), "{:#?}", holdings());
    assert!(holdings().contains_key(&second));
    wait_until("its reaping", || !holdings()[&second]["trouble"].is_null());
    // The question is asked again: it is the same project, whose account is kept once.
    idle.accept_all();
    assert_eq!(with_new("status").code, Some(0));
    wait_until("one account", || holdings().len() == 1 && idle.all_are_kept());
}

#[test]
fn a_keeper_that_is_asked_to_end_deletes_the_idle_server() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let Some(idle) = Idle::new(without_switch) else { return };
        idle.signal_keeper(signal);
        wait_until("the end of the keeper", || idle.sandbox.keeper().is_none());
        assert_eq!(idle.counts(), (0, 1), "{}", logs(&idle.simulator, &idle.sandbox));
        let holding = idle.holding();
        assert_eq!(holding["servers"], serde_json::json!([]), "{holding}");
        assert_eq!(holding["volumes"].as_array().map(Vec::len), Some(1), "{holding}");
        // Without a token nobody can, and says so.
        let mut without = idle.project().command("status");
        let without = ended(without.env("HCLOUD_TOKEN", "").output().unwrap());
        let warning = "warning: 1 volume existed at Hetzner when last listed, and NOBODY will \
                       delete it: set the token (HCLOUD_TOKEN or `cargo burst init`), then run \
                       `cargo burst status`";
        assert_eq!(without.warnings(), [warning], "{without:#?}");
        // The next command of any kind has a keeper look after the volume.
        idle.project().ok("config");
        assert!(idle.sandbox.keeper().is_some());
    }
}

#[test]
fn a_keeper_that_is_asked_to_end_leaves_a_server_in_use_and_one_that_is_kept() {
    let Some(idle) = Idle::new(sandbox_on) else { return };
    let project = idle.project();
    project.write(
        "src/main.rs",
        "fn main() {\n    println!(\"begun\");\n    let mut line = String::new();\n    \
         std::io::stdin().read_line(&mut line).unwrap();\n    print!(\"told {line}\");\n}\n",
    );
    let mut command = project.command("run -q");
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut run = command.spawn().unwrap();
    let mut stdout = std::io::BufReader::new(run.stdout.take().unwrap());
    let mut said = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    let keeper = idle.sandbox.keeper();
    idle.signal_keeper(Signal::SIGTERM);
    // The command starts the next keeper, and its run goes on.
    wait_until("the next keeper", || {
        let next = idle.sandbox.keeper();
        next.is_some() && next != keeper
    });
    std::io::Write::write_all(&mut run.stdin.take().unwrap(), b"go\n").unwrap();
    assert_eq!(std::io::read_to_string(stdout).unwrap(), "told go\n");
    assert!(run.wait().unwrap().success());
    assert!(idle.holding()["servers"][0]["deletes_itself_at"].is_i64(), "{}", idle.holding());
    project.ok("sync --no-reap");
    idle.signal_keeper(Signal::SIGTERM);
    wait_until("the end of the keeper", || idle.sandbox.keeper().is_none());
    assert_eq!(idle.counts(), (1, 1));
}

#[test]
fn status_says_where_nobody_will_delete() {
    let Some(idle) = Idle::new(without_switch) else { return };
    let project = idle.project();
    idle.sandbox.kill_keeper();
    // No keeper can listen there.
    let socket = idle.sandbox.path().join("state/cargo-burst/keeper/socket");
    std::fs::remove_file(&socket).unwrap();
    std::fs::create_dir(&socket).unwrap();
    let status = project.ok("status");
    let clauses = [
        "NOBODY will delete it: run `cargo burst down`;",
        "NOBODY will delete it: run `cargo burst down --with-volumes`;",
    ];
    for (line, clause) in status.stdout.lines().zip(clauses) {
        assert!(line.contains(clause) && !line.contains("deleted in"), "{line}");
    }
    let warning = "warning: no keeper looks after what exists at Hetzner: the keeper does not \
                   start: [..]";
    burst_tests::assert_lines(&status.warnings().join("\n"), warning);
    let deleted_by = || {
        let status: Value = serde_json::from_str(&project.ok("status --json").stdout).unwrap();
        let line = |kind: &str| {
            let line = &status["hetzner"][kind][0];
            (line["deleted_by"].clone(), line["deleted_at"].is_null())
        };
        [line("servers"), line("volumes")]
    };
    assert_eq!(deleted_by(), [(Value::Null, true), (Value::Null, true)]);
    // The timer is somebody where it has the token.
    let wants = idle.sandbox.path().join("config/systemd/user/timers.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    std::os::unix::fs::symlink("../cargo-burst-reap.timer", wants.join("cargo-burst-reap.timer"))
        .unwrap();
    assert_eq!(deleted_by(), [(Value::Null, true), (Value::Null, true)]);
    let endpoint = idle.simulator.endpoint();
    idle.sandbox
        .private_settings(&format!("hetzner_token = '{TOKEN}'\nhetzner_endpoint = '{endpoint}'\n"));
    assert_eq!(deleted_by(), [("timer".into(), false), ("timer".into(), false)]);
}

#[test]
fn what_is_kept_is_kept_until_down() {
    let Some(idle) = Idle::new(without_switch) else { return };
    let project = idle.project();
    project.ok("sync --no-reap");
    project.ok("sync");
    let kept = || {
        let status = project.ok("status").stdout;
        status.matches("kept until `cargo burst down`").count()
    };
    assert_eq!(kept(), 2);
    // The labels say so soon, for the next keeper.
    let is_labelled = || {
        let world = lock(&idle.simulator.shared().world);
        let servers = world.servers.values().map(|server| &server.labels);
        let volumes = world.volumes.values().map(|volume| &volume.labels);
        servers.chain(volumes).all(|labels| labels["cargo-burst.keep-alive"] == "always")
    };
    wait_until("the labels", is_labelled);
    idle.sandbox.kill_keeper();
    project.ok("sync");
    assert_eq!(kept(), 2);
    idle.simulator.shared().advance(100_000.0);
    project.ok("reap");
    assert_eq!(idle.counts(), (1, 1));
    project.ok("down");
    assert_eq!(idle.counts(), (0, 1));
    let volume = project.ok("status").stdout;
    assert!(volume.contains("deleted in 59 min") || volume.contains("deleted in 1 h"), "{volume}");
    // The next server is kept no longer than others.
    project.ok("sync");
    assert_eq!(kept(), 0);
}

/// Another machine deletes all servers, and no volumes: what this one keeps stays kept.
#[test]
fn what_other_machines_keep_is_kept_when_servers_are_deleted() {
    let Some(idle) = Idle::new(without_switch) else { return };
    idle.project().ok("sync --no-reap");
    let keep_alive = || {
        let world = lock(&idle.simulator.shared().world);
        let labels = world.volumes.values().map(|volume| &volume.labels);
        labels.map(|labels| labels["cargo-burst.keep-alive"].clone()).collect::<Vec<_>>()
    };
    wait_until("the label", || keep_alive() == ["always"]);
    // Its keeper would write the label again.
    idle.sandbox.kill_keeper();
    let other = without_switch(&idle.simulator);
    other.hello("app").ok("down --all --yes");
    assert_eq!((idle.counts(), keep_alive()), ((0, 1), vec!["always".to_owned()]));
}

#[test]
fn the_timer_is_refused_with_a_token_that_it_cannot_see() {
    let sandbox = crate::sandbox().with("HCLOUD_TOKEN", TOKEN);
    let project = sandbox.hello("app");
    let expected = "error: the timer would delete nothing\n\
         caused by: it sees neither a token nor an endpoint that is only in the environment of a \
         shell, and your user config has not the same\n\
         hint: store the token with `cargo burst init`, then install the timer\n";
    assert_explained(&project.burst("reap --install-timer"), 116, expected);
    sandbox.private_settings("hetzner_token = 'another'\n");
    assert_explained(&project.burst("reap --install-timer"), 116, expected);
    assert!(!sandbox.path().join("config/systemd").exists());
}
