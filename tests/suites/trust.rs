use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use burst_tests::{Ended, Project, Sandbox, assert_explained, ended};
use serde_json::json;

use crate::sandbox;
use crate::terminals::terminal;

const FILE: &str = ".config/cargo-burst.toml";

/// What the file in these tests asks for.
const ASKS: &str = "server_type = 'ccx63'\nforward_env = ['RUST_LOG', 'DATABASE_URL']\n";

/// The same as requests.
const REQUESTS: [&str; 2] = [
    "server_type = [\"ccx63\"]  # yours: [\"cx53\", \"cpx62\", \"cpx52\", \"cpx42\"]",
    "forward_env = [\"DATABASE_URL\"]  # yours: []",
];

/// Asserts that a command is refused and has started nothing.
#[track_caller]
fn assert_refused(ended: &Ended, sandbox: &Sandbox, state: &str) {
    let causes = REQUESTS.map(|request| format!("caused by: {request}\n")).concat();
    assert_explained(
        ended,
        111,
        &format!(
            "error: `[..]/app/{FILE}` asks for more than your own settings and {state}\n{causes}\
             hint: read the file; `cargo burst trust` allows this content of it\n"
        ),
    );
    assert_eq!((ended.stdout.as_str(), sandbox.agent()), ("", None));
}

fn placed(text: &str, project: &Project<'_>) -> String {
    text.replace(project.root.to_str().unwrap(), "APP")
}

#[test]
fn a_content_is_trusted_once() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(FILE, ASKS);
    assert_refused(&project.burst("build"), &sandbox, "is not trusted");
    let trusted = project.ok("trust");
    let requests = REQUESTS.map(|request| format!("  {request}\n")).concat();
    assert_eq!(
        placed(&trusted.stdout, &project),
        format!(
            "`APP/{FILE}` asks for more than your own settings:\n{requests}this content of it is \
             trusted; `cargo burst trust --revoke` ends that\n"
        )
    );
    assert_eq!(trusted.stderr, "");
    // The record is the user's alone.
    let records = std::fs::read_dir(sandbox.path().join("state/cargo-burst/trust")).unwrap();
    let modes: Vec<u32> = records
        .map(|record| record.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600]);
    project
        .write("src/main.rs", "fn main() { println!(\"{:?}\", std::env::var(\"DATABASE_URL\")) }");
    let mut run = project.command("run -q");
    let run = ended(run.env("DATABASE_URL", "here").output().unwrap());
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("Ok(\"here\")\n", ""));
    project.ok("down");
    // Any other content is not, whoever wrote it.
    project.write(FILE, format!("{ASKS}# changed\n"));
    assert_refused(&project.burst("build"), &sandbox, "has changed since you trusted it");
    project.ok("trust");
    let revoked = project.ok("trust --revoke");
    assert_eq!(
        placed(&revoked.stdout, &project),
        format!("`APP/{FILE}` is not trusted any more\n")
    );
    assert_refused(&project.burst("build"), &sandbox, "is not trusted");
    let revoked = project.ok("trust --revoke");
    assert_eq!(placed(&revoked.stdout, &project), format!("`APP/{FILE}` was not trusted\n"));
}

#[test]
fn trust_has_stable_keys_in_json() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let json = |arguments: &str| -> serde_json::Value {
        serde_json::from_str(&project.ok(arguments).stdout).unwrap()
    };
    let path = project.root.join(FILE);
    let document = |digest: Option<String>, requests: serde_json::Value, by: Option<&str>| json!({ "path": path, "digest": digest, "requests": requests, "trusted_by": by });
    assert_eq!(json("trust --revoke --json"), document(None, json!([]), None));
    let failed = project.burst("trust --json");
    let failed: serde_json::Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(
        failed,
        json!({ "error": {
            "kind": "settings",
            "message": format!("there is no file `{}`", path.display()),
            "causes": [],
            "hint": "only a project file is trusted; your own settings need no trust",
            "exit_code": 111,
        } })
    );
    project.write(FILE, ASKS);
    let failed = project.burst("build");
    assert_eq!(failed.code, Some(111));
    let requests = json!([
        { "key": "server_type", "value": ["ccx63"],
          "own": ["cx53", "cpx62", "cpx52", "cpx42"] },
        { "key": "forward_env", "value": ["DATABASE_URL"], "own": [] },
    ]);
    let digest = |text: &str| Some(burst_protocol::Digest::of(text.as_bytes()).to_hex());
    let expected = document(digest(ASKS), requests.clone(), Some("content"));
    assert_eq!(json("trust --json"), expected);
    assert_eq!(json("trust --json"), expected);
    let withheld = |document: &serde_json::Value, key: &str| {
        let all = document.as_array().unwrap();
        all.iter().find(|one| one["key"] == key).unwrap()["withheld"].clone()
    };
    assert_eq!(withheld(&json("config --json"), "server_type"), json!(null));
    assert_eq!(json("trust --revoke --json"), document(digest(ASKS), requests.clone(), None));
    assert_eq!(
        withheld(&json("config --json"), "server_type"),
        json!({ "value": ["ccx63"], "path": path, "reason": "untrusted" })
    );
    // A trusted directory needs no record.
    sandbox.settings(&format!("trusted_directories = ['{}']\n", sandbox.path().display()));
    let expected = document(digest(ASKS), requests, Some("directory"));
    assert_eq!(json("trust --json"), expected);
    assert_eq!(json("trust --revoke --json"), expected);
    project.write(FILE, "volume_gb = 100\n");
    sandbox.settings("");
    assert_eq!(json("trust --json"), document(digest("volume_gb = 100\n"), json!([]), None));
}

#[test]
fn a_file_within_the_users_own_settings_needs_no_trust() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(FILE, "volume_gb = 100\nforward_env = ['RUST_LOG']\nmonthly_budget = 5\n");
    project.ok("sync");
    let shown = project.ok("trust").stdout;
    assert_eq!(
        placed(&shown, &project),
        format!("`APP/{FILE}` asks for nothing beyond your own settings: it needs no trust\n")
    );
    assert!(!sandbox.path().join("state/cargo-burst/trust").exists());
}

#[test]
fn files_in_a_trusted_directory_need_no_record() {
    let sandbox = sandbox();
    let project = sandbox.hello("home/work/app");
    project.write(FILE, ASKS);
    sandbox.settings("trusted_directories = ['~/other']\n");
    assert_refused(&project.burst("sync"), &sandbox, "is not trusted");
    sandbox.settings("trusted_directories = ['~/work']\n");
    project.ok("sync");
    let revoked = project.ok("trust --revoke");
    assert_eq!(
        placed(&revoked.stdout, &project),
        format!("`APP/{FILE}` was not trusted\nbut it is in one of your `trusted_directories`\n")
    );
    // Which a project's file cannot name.
    project.write(FILE, "trusted_directories = ['/']\n");
    assert_eq!(project.burst("sync").code, Some(111));
}

/// Runs a command on a terminal with this answer; its exit code and what it showed.
fn answered(project: &Project<'_>, arguments: &str, answer: &str) -> (Option<i32>, String) {
    let (mut ours, theirs) = terminal();
    let mut command = project.command(arguments);
    command.env("NO_COLOR", "1").stdin(theirs.try_clone().unwrap()).stderr(theirs);
    ours.write_all(answer.as_bytes()).unwrap();
    let code = command.stdout(std::process::Stdio::null()).status().unwrap().code();
    drop(command);
    let mut shown = Vec::new();
    // A terminal that is closed on the other side reads as an error.
    drop(ours.read_to_end(&mut shown));
    (code, placed(&String::from_utf8_lossy(&shown).replace("\r\n", "\n"), project))
}

#[test]
fn on_a_terminal_it_is_asked_about() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(FILE, ASKS);
    let requests = REQUESTS.map(|request| format!("  {request}\n")).concat();
    let question = format!(
        "`APP/{FILE}` asks for more than your own settings:\n{requests}Trust this content of it? \
         [y/N] "
    );
    let causes = REQUESTS.map(|request| format!("caused by: {request}\n")).concat();
    let (code, shown) = answered(&project, "-q sync", "\n");
    assert_eq!(
        shown,
        format!(
            "\n{question}error: `APP/{FILE}` asks for more than your own settings and is not \
             trusted\n{causes}hint: read the file; `cargo burst trust` allows this content of it\n"
        )
    );
    assert_eq!((code, sandbox.agent()), (Some(111), None));
    // An agent that this command starts could keep the terminal open.
    sandbox.hello("other").ok("sync");
    let (code, shown) = answered(&project, "-q sync", "y\n");
    assert_eq!((code, shown), (Some(0), format!("y\n{question}")));
    // Once.
    assert_eq!(project.ok("-q sync").stderr, "");
}
