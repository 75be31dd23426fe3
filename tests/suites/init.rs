//! `init`: the dialogue on a terminal, and its answers without one.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use burst_tests::{
    Ended, Project, Sandbox, assert_explained, assert_lines, assert_progress, ended,
};
use hetzner_sim::scenario::{Access, Snapshot, Stock};
use hetzner_sim::{Options, Scenario, Simulator};

use crate::hetzner::{NOTHING, TOKEN, sandbox_on};
use crate::sandbox;
use crate::terminals::desk::Desk;

fn simulator(scenario: Scenario) -> Simulator {
    Simulator::start(Options::new(TOKEN, scenario)).unwrap()
}

/// A sandbox in which nothing is set but the API's address.
fn fresh(simulator: &Simulator) -> Sandbox {
    sandbox().with("HCLOUD_ENDPOINT", simulator.endpoint())
}

fn user_file(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("config/cargo-burst/config.toml")
}

fn written(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(user_file(sandbox)).unwrap()
}

/// `init` with a token on standard input.
fn init(project: &Project<'_>, token: &str, arguments: &str) -> Ended {
    let mut command = project.command(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    ended(child.wait_with_output().unwrap())
}

#[test]
fn unknown_and_read_only_tokens_are_refused() {
    let tokens = [("read".into(), Access::ReadOnly)].into();
    let simulator = simulator(Scenario { tokens, ..Scenario::default() });
    let sandbox = sandbox_on(&simulator).with("HCLOUD_TOKEN", "");
    let project = sandbox.hello("app");
    let read_only = "error: cannot use this token\n\
        caused by: PUT /servers/0: token is only allowed to perform GET requests (token_readonly, \
        correlation id sim-[..])\n\
        hint: create a token with the permission Read & Write in the Hetzner console, and set it \
        with `cargo burst init`\n";
    let unknown = "error: cannot use this token\n\
        caused by: GET /server_types: the token you have provided is invalid (unauthorized, \
        correlation id sim-[..])\n\
        hint: create a token in the Hetzner console (project, Security, API tokens, Read & Write) \
        and set it with `cargo burst init` or in HCLOUD_TOKEN\n";
    for (token, expected) in [("nonsense", unknown), ("read", read_only)] {
        assert_explained(&init(&project, token, "init"), 116, expected);
        assert!(!sandbox.path().join("config/cargo-burst").exists());
    }
}

#[test]
fn a_private_file_is_written() {
    let simulator = simulator(Scenario::default());
    let sandbox = sandbox_on(&simulator).with("HCLOUD_TOKEN", "");
    let project = sandbox.hello("app");
    let file = user_file(&sandbox);
    let found = init(&project, TOKEN, "init --server-type cpx62 --region fsn1 --region nbg1");
    let volume = "a volume of 10 GB: EUR 0.57 a month, for the time it exists";
    let wrote = format!("burst: wrote `{}`, readable only for you\n", file.display());
    assert_progress(
        &found,
        &format!(
            "burst: server type: cpx62\nburst: region: fsn1, nbg1\nburst: an afternoon of 4 hours \
             on a cpx62 in fsn1: EUR 0.84; 20 such a month: EUR 16.73; {volume}\n{wrote}"
        ),
    );
    assert!(found.stdout.contains("cpx62"), "{}", found.stdout);
    assert!(!format!("{found:?}").contains(TOKEN));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let expected = format!(
        "hetzner_token = \"{TOKEN}\"\nserver_type = \"cpx62\"\nregion = [\"fsn1\", \"nbg1\"]\n"
    );
    assert_eq!(written(&sandbox), expected);
    // An empty line keeps the token.
    let kept = init(&project, "", "init --server-type cpx62 --region fsn1");
    let told = format!("burst: the token of `{}` is kept\n", file.display());
    assert!(kept.code == Some(0) && kept.stderr.starts_with(&told), "{kept:?}");
    // What is not chosen is taken from the settings, and shown.
    std::fs::remove_file(&file).unwrap();
    assert_progress(
        &init(&project, TOKEN, "init"),
        &format!(
            "burst: server type: cx53 (environment variable CARGO_BURST_SERVER_TYPE)\nburst: \
             region: hel1, fsn1, nbg1 (default)\nburst: an afternoon of 4 hours on a cx53 in \
             hel1: EUR 0.19; 20 such a month: EUR 3.84; {volume}\n{wrote}"
        ),
    );
    for (arguments, expected) in [
        (
            "--server-type cpx99",
            "error: there is no server type `cpx99`\nhint: choose one of cx23, [..], ccx63\n",
        ),
        (
            "--server-type cax41",
            "error: the server type `cax41` cannot be used: there is no image for its \
             architecture\nhint: choose one of cx23, [..], ccx63\n",
        ),
        (
            "--region hel2",
            "error: there is no location `hel2`\nhint: choose one of ash, fsn1, hel1, hil, nbg1, \
             sin\n",
        ),
        (
            "--server-type cx53 --region ash",
            "error: the location `ash` does not offer cx53\nhint: choose one of fsn1, hel1, nbg1\n",
        ),
    ] {
        assert_explained(&init(&project, TOKEN, &format!("init {arguments}")), 117, expected);
    }
    // The token in the file is used.
    assert_lines(&project.ok("status").stdout, NOTHING);
}

const TOKEN_QUESTION: &str = "Read & Write";
const TYPES_QUESTION: &str = "server types, the first choice first [";
const PLACES_QUESTION: &str = "locations, the first choice first [";
const SWITCH_QUESTION: &str = "in memory alone (`dead_man_switch`). ";

#[test]
fn a_typing_error_does_not_end_the_dialogue_and_enter_keeps_what_is_set() {
    let sold_out = Stock {
        server_type: Some("cx53".into()),
        location: Some("hel1".into()),
        shown: false,
        there: false,
    };
    let simulator = simulator(Scenario { stock: vec![sold_out], ..Scenario::default() });
    let sandbox = fresh(&simulator);
    let project = sandbox.hello("app");
    let mut desk = Desk::start(&project.command("init"));
    for token in ["nonsense", TOKEN] {
        desk.find(&format!("{TOKEN_QUESTION}): "));
        desk.wait_until_hidden();
        desk.type_in(&format!("{token}\r"));
    }
    // The first table of offers that a new account can have, with what is sold out.
    let shown =
        desk.find("cx53      x86        16 shared    32 GB   320 GB      0.0473        29.49");
    assert!(!shown.contains(TOKEN), "{shown}");
    desk.expect("  fsn1 nbg1\r\n");
    desk.find("ccx63 *   x86     48 dedicated");
    desk.find(&format!("{TYPES_QUESTION}cx53"));
    desk.find("]: ");
    desk.type_in("cx35\r");
    desk.find("there is no server type `cx35`: choose one of ");
    desk.find(TYPES_QUESTION);
    desk.type_in("cx53\r");
    desk.find(&format!("{PLACES_QUESTION}fsn1, nbg1]: "));
    desk.type_in("ash\r");
    desk.find("the location `ash` does not offer cx53: choose one of fsn1, hel1, nbg1");
    desk.find(PLACES_QUESTION);
    desk.type_in("nbg1, hel1\r");
    desk.find(&format!("{SWITCH_QUESTION}[Y/n] "));
    desk.type_in("\r");
    desk.find("burst: server type: cx53\r\nburst: region: nbg1, hel1\r\n");
    desk.find("burst: an afternoon of 4 hours on a cx53 in nbg1: EUR 0.19; ");
    assert!(desk.leave().success());
    let first = format!(
        "hetzner_token = \"{TOKEN}\"\nserver_type = \"cx53\"\nregion = [\"nbg1\", \"hel1\"]\n"
    );
    assert_eq!(written(&sandbox), format!("{first}dead_man_switch = true\n"));
    // Enter alone keeps everything that is in stock.
    let kept =
        format!("{TOKEN_QUESTION}; Enter keeps that of `{}`): ", user_file(&sandbox).display());
    let mut desk = Desk::start(&project.command("init"));
    desk.find(&kept);
    desk.wait_until_hidden();
    desk.type_in("\r");
    desk.find(&format!("{TYPES_QUESTION}cx53]: "));
    desk.type_in("\r");
    desk.find(&format!("{PLACES_QUESTION}nbg1]: "));
    desk.type_in("\r");
    desk.find(&format!("{SWITCH_QUESTION}[Y/n] "));
    desk.type_in("n\r");
    assert!(desk.leave().success());
    let second = format!(
        "hetzner_token = \"{TOKEN}\"\nserver_type = \"cx53\"\nregion = [\"nbg1\"]\n\
         dead_man_switch = false\n"
    );
    assert_eq!(written(&sandbox), second);
    // The end of the input ends the dialogue, and nothing is written.
    let mut desk = Desk::start(&project.command("init --region fsn1"));
    desk.find(&kept);
    desk.wait_until_hidden();
    desk.type_in("\r");
    desk.find(TYPES_QUESTION);
    desk.type_in("\u{4}");
    desk.find("the dialogue has ended without an answer: nothing was written");
    assert_eq!(desk.leave().code(), Some(2));
    assert_eq!(written(&sandbox), second);
}

#[test]
fn what_no_image_can_run_on_is_no_offer_and_a_missing_image_is_said() {
    let offers = |snapshots| {
        let simulator = simulator(Scenario { snapshots, ..Scenario::default() });
        let sandbox = fresh(&simulator);
        let project = sandbox.hello("app");
        let found = init(&project, TOKEN, "init --json --region hel1");
        assert_eq!(found.code, Some(0), "{found:?}");
        let offers: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
        (offers, found.warnings().join("\n"))
    };
    let names = |offers: &serde_json::Value| -> Vec<String> {
        let offers = offers.as_array().unwrap().iter();
        offers.map(|offer| offer["server_type"].as_str().unwrap().to_owned()).collect()
    };
    let (without, warning) = offers(Vec::new());
    assert_eq!(
        warning,
        "warning: there is no image yet, and without one no server can be created: the command \
         that makes it does not exist yet"
    );
    assert_eq!(names(&without)[..2], ["cx23", "cx33"]);
    let image = |architecture: &str, disk_gb| Snapshot {
        architecture: architecture.into(),
        disk_gb,
        ..Snapshot::default()
    };
    let (for_arm, warning) = offers(vec![image("arm", 40)]);
    assert_eq!((names(&for_arm), warning), (vec!["cax11".into(), "cax41".into()], String::new()));
    let (large, _) = offers(vec![image("x86", 640)]);
    assert_eq!(names(&large), ["cpx62", "ccx63"]);
    assert_eq!(
        large[1],
        serde_json::json!({
            "server_type": "ccx63", "cores": 48.0, "cpu_type": "dedicated", "needs_quota": true,
            "memory_gb": 192.0, "disk_gb": 960.0, "architecture": "x86",
            "offers": [{
                "region": "hel1", "available": true,
                "hourly": large[1]["offers"][0]["hourly"],
                "monthly": large[1]["offers"][0]["monthly"],
            }],
        })
    );
}
