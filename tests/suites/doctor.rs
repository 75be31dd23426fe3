//! `doctor`: each check through the program, against the simulator.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use burst_hcloud::retry::Retries;
use burst_hcloud::server::{NewPublicNet, NewServer};
use burst_hcloud::{Client, Selector, Token, label};
use burst_tests::{Ended, Sandbox, assert_explained, ended};
use hetzner_sim::scenario::Access;
use hetzner_sim::{Options, Scenario, Simulator};
use serde_json::Value;

use crate::hetzner::{TOKEN, cloud, logs, sandbox_on};
use crate::sandbox;

/// The checks in their order.
const NAMES: [&str; 16] = [
    "settings",
    "toolchain",
    "namespaces",
    "clock",
    "endpoint",
    "token",
    "rights",
    "quota",
    "image",
    "ports",
    "buffers",
    "disk",
    "permissions",
    "keeper",
    "timer",
    "versions",
];

/// The checks of the API.
const OF_API: [&str; 6] = ["endpoint", "token", "rights", "quota", "image", "ports"];

/// What `doctor --json` has printed.
struct Diagnosis {
    ended: Ended,
    checks: BTreeMap<String, Value>,
}

impl Diagnosis {
    /// Runs it.
    fn of(sandbox: &Sandbox) -> Self {
        let ended = ended(sandbox.burst_command(sandbox.path(), "doctor --json").output().unwrap());
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        let checks = document["checks"].as_array().unwrap();
        let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES);
        let failed = ended.code != Some(0);
        assert_eq!(
            document["error"]["exit_code"].as_i64(),
            failed.then(|| ended.code.unwrap().into())
        );
        let checks = names.iter().zip(checks);
        let checks = checks.map(|(name, check)| ((*name).to_owned(), check.clone())).collect();
        Self { ended, checks }
    }

    fn text(&self, name: &str, key: &str) -> &str {
        self.checks[name][key].as_str().unwrap_or("null")
    }

    /// Asserts the states of some checks.
    #[track_caller]
    fn assert_states(&self, expected: &[(&str, &str)]) {
        for (name, state) in expected {
            assert_eq!(self.text(name, "state"), *state, "{name}: {:#?}", self.checks[*name]);
        }
    }
}

fn api_only(scenario: Scenario) -> Simulator {
    Simulator::start(Options::new(TOKEN, scenario)).unwrap()
}

#[test]
fn a_fresh_home_is_examined_without_a_token_and_left_as_it_is() {
    let sandbox = sandbox();
    let found = Diagnosis::of(&sandbox);
    assert_eq!(found.ended.code, Some(0), "{:#?}", found.ended);
    found.assert_states(&OF_API.map(|name| (name, "skipped")));
    let fine = ["settings", "toolchain", "clock", "permissions", "keeper", "timer", "versions"];
    found.assert_states(&fine.map(|name| (name, "ok")));
    assert_eq!(found.text("token", "finding"), "no token is set: cargo runs on this machine");
    for name in ["home", "cache", "state", "config"] {
        assert_eq!(fs::read_dir(sandbox.path().join(name)).unwrap().count(), 0, "{name}");
    }
    let text = ended(sandbox.burst_command(sandbox.path(), "doctor").output().unwrap());
    let last = text.stdout.lines().last().unwrap();
    assert!(last.ends_with(", 0 errors, 6 skipped"), "{last}");
    let profile =
        ended(sandbox.burst_command(sandbox.path(), "doctor --apparmor-profile").output().unwrap());
    let program = env!("CARGO_BIN_EXE_cargo-burst-under-test");
    let line = format!("\nprofile cargo-burst \"{program}\" flags=(unconfined) {{\n  userns,\n");
    assert!(profile.stdout.contains(&line), "{}", profile.stdout);
}

#[test]
fn files_that_others_may_read_are_errors() {
    let sandbox = sandbox();
    let mode = |path: &str, mode| {
        fs::set_permissions(sandbox.path().join(path), Permissions::from_mode(mode)).unwrap();
    };
    let keys = "state/cargo-burst/hetzner/0123456789abcdef/keys/fedcba9876543210";
    fs::create_dir_all(sandbox.path().join(keys)).unwrap();
    let key = format!("{keys}/shim.key");
    fs::write(sandbox.path().join(&key), "").unwrap();
    mode(&key, 0o640);
    let found = Diagnosis::of(&sandbox);
    assert_eq!(found.ended.code, Some(123), "{:#?}", found.ended);
    let shown = sandbox.path().join(&key).display().to_string();
    let expected = format!("other users may read `{shown}` (mode 640)");
    assert_eq!(found.text("permissions", "finding"), expected);
    assert!(
        found.text("permissions", "next_step").starts_with(&format!("`chmod go-rwx '{shown}'`"))
    );
    mode(&key, 0o600);
    Diagnosis::of(&sandbox).assert_states(&[("permissions", "ok")]);
    // Settings that cannot be used hide nothing else.
    sandbox.settings("hetzner_token = 'x'\n");
    mode("config/cargo-burst/config.toml", 0o644);
    let found = Diagnosis::of(&sandbox);
    assert_eq!(found.ended.code, Some(111), "{:#?}", found.ended);
    found.assert_states(&[("settings", "error"), ("permissions", "ok"), ("toolchain", "ok")]);
    found.assert_states(&OF_API.map(|name| (name, "skipped")));
    assert!(found.text("settings", "next_step").starts_with("run `chmod 600 "));
}

#[test]
fn the_rights_of_the_token_are_found_out() {
    let tokens = [("read".into(), Access::ReadOnly), ("old".into(), Access::Revoked)].into();
    let simulator = api_only(Scenario { tokens, ..Scenario::default() });
    let with = |token| Diagnosis::of(&sandbox_on(&simulator).with("HCLOUD_TOKEN", token));
    let right = with(TOKEN);
    assert_eq!(right.ended.code, Some(0), "{:#?}", right.ended);
    right
        .assert_states(&["endpoint", "token", "rights", "quota", "image"].map(|name| (name, "ok")));
    right.assert_states(&[("ports", "skipped"), ("clock", "ok")]);
    let of_variable = "accepted, set in the environment variable HCLOUD_TOKEN";
    assert_eq!(right.text("token", "finding"), of_variable);
    let read = with("read");
    assert_eq!(read.ended.code, Some(116), "{:#?}", read.ended);
    read.assert_states(&[("endpoint", "ok"), ("token", "ok"), ("rights", "error")]);
    let revoked = with("old");
    assert_eq!(revoked.ended.code, Some(116), "{:#?}", revoked.ended);
    revoked.assert_states(&[("endpoint", "ok"), ("token", "error"), ("rights", "skipped")]);
    let sandbox = sandbox_on(&simulator).with("HCLOUD_TOKEN", "old");
    let text = ended(sandbox.burst_command(sandbox.path(), "doctor").output().unwrap());
    assert_explained(
        &text,
        116,
        "error: the check `token` failed\n\
         caused by: cannot ask the Hetzner API for its resources: GET /[..]: the token you have \
         provided is invalid (unauthorized, correlation id sim-[..]) (set in the environment \
         variable HCLOUD_TOKEN)\n\
         hint: create a token in the Hetzner console (project, Security, API tokens, Read & Write) \
         and set it with `cargo burst init` or in HCLOUD_TOKEN",
    );
    // Nothing was made or changed.
    let changes = simulator.shared().calls().into_iter().filter(|call| call.method != "GET");
    assert!(
        changes
            .into_iter()
            .all(|call| call.name() == "PUT /servers/{id}" && call.status != Some(200))
    );
    assert_eq!(simulator.shared().ledger().0.lines.len(), 1);
}

#[test]
fn an_endpoint_that_does_not_answer_ends_its_checks_alone() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1", silent.local_addr().unwrap());
    let sandbox = sandbox().with("HCLOUD_TOKEN", TOKEN).with("HCLOUD_ENDPOINT", &endpoint);
    let found = Diagnosis::of(&sandbox);
    assert_eq!(found.ended.code, Some(120), "{:#?}", found.ended);
    let finding = format!("{endpoint} has not answered within 8 s");
    assert_eq!(found.text("endpoint", "finding"), finding);
    found.assert_states(&OF_API[1..].iter().map(|name| (*name, "skipped")).collect::<Vec<_>>());
    found.assert_states(&[("toolchain", "ok"), ("clock", "ok"), ("keeper", "ok")]);
}

/// Creates a server as a command of another owner on a host would have, and no process looks after
/// it.
pub(crate) fn forgotten_server(simulator: &Simulator, host: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let labels = [
        ("managed-by", "cargo-burst"),
        ("cargo-burst.role", "server"),
        ("cargo-burst.owner", "0123456789abcdef"),
        ("cargo-burst.host", host),
        ("cargo-burst.keep-alive", "always"),
    ];
    let token = Token::parse(TOKEN).unwrap();
    let retries = Retries { max: 0, ..Retries::default() };
    let client = Client::new(&simulator.endpoint(), &token, retries, Arc::new(|| 0.5)).unwrap();
    runtime.block_on(async {
        let images = Selector::equals("cargo-burst.role", "image");
        let image = client.snapshots(&images).await.unwrap()[0].id;
        let server = NewServer {
            name: "forgotten".into(),
            server_type: "cx53".into(),
            location: "hel1".into(),
            image,
            volumes: Vec::new(),
            labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
            user_data: String::new(),
            automount: false,
            ssh_keys: Vec::new(),
            public_net: NewPublicNet { enable_ipv4: true, enable_ipv6: true },
        };
        client.create_server(&server, &server.labels).await.unwrap();
    });
}

#[test]
fn a_server_without_a_keeper_that_does_not_answer_and_a_wrong_clock_are_found() {
    // The 5th of April 2033 by Hetzner's clock.
    let instant = [("default".to_owned(), 0.0)].into();
    let now = Some(1_996_300_800);
    let simulator = api_only(Scenario { now, action_secs: instant, ..Scenario::default() });
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    forgotten_server(&simulator, &label::to_value(host.trim()));
    let sandbox = sandbox_on(&simulator);
    // It may boot.
    let young = Diagnosis::of(&sandbox);
    assert_eq!(young.ended.code, Some(121), "{:#?}", young.ended);
    young.assert_states(&[("clock", "warning"), ("ports", "skipped"), ("keeper", "error")]);
    assert!(young.text("clock", "finding").contains(" behind Hetzner's"));
    assert!(young.text("keeper", "finding").ends_with(" deletes forgotten"));
    simulator.shared().advance(180.0);
    let old = Diagnosis::of(&sandbox);
    assert_eq!(old.ended.code, Some(113), "{:#?}", old.ended);
    old.assert_states(&[("ports", "error"), ("keeper", "error")]);
    let silent = "port 7777 of forgotten answers neither by UDP nor by TCP";
    assert_eq!(old.text("ports", "finding"), silent);
}

#[test]
fn the_port_of_a_server_is_tried_and_the_keeper_tells_what_it_holds() {
    for (blocked, state, finding) in [
        (vec![], "ok", "port 7777 of 1 server answers by UDP and TCP"),
        (vec!["udp".to_owned()], "warning", "port 7777 of [..] answers by TCP and not by UDP"),
    ] {
        let Some(simulator) = cloud(Scenario { blocked, ..Scenario::default() }) else { return };
        let sandbox = sandbox_on(&simulator);
        let synced = sandbox.hello("app").burst("sync");
        assert_eq!(synced.code, Some(0), "{synced:#?}\n{}", logs(&simulator, &sandbox));
        let found = Diagnosis::of(&sandbox);
        assert_eq!(found.ended.code, Some(0), "{:#?}", found.ended);
        found.assert_states(&[("ports", state), ("keeper", "ok"), ("image", "ok")]);
        burst_tests::assert_lines(found.text("ports", "finding"), finding);
        let keeper = "runs (pid [..], version 0.1.0) for [..] s, with 1 account, 0 commands, \
                      connected to cargo-burst-[..]";
        burst_tests::assert_lines(found.text("keeper", "finding"), keeper);
        // `init` tells only what is wrong.
        let mut init = sandbox.burst_command(sandbox.path(), "init");
        let token = sandbox.path().join("token");
        fs::write(&token, TOKEN).unwrap();
        let init = ended(init.stdin(fs::File::open(&token).unwrap()).output().unwrap());
        assert_eq!(init.code, Some(0), "{init:#?}");
        let warned = init.stderr.contains("warning: port 7777 of cargo-burst-");
        assert_eq!(warned, state == "warning", "{init:#?}");
    }
}
