//! `doc --open`, held against cargo: which page, which browser, and what is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use burst_tests::{Ended, Project, Sandbox, ended};

use crate::sandbox;

/// Three libraries, and a browser that shows its arguments.
fn libraries(sandbox: &Sandbox) -> Project<'_> {
    let manifest =
        |name: &str| format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n");
    let project = sandbox.project(
        "libraries",
        &[
            (
                "Cargo.toml",
                "[workspace]\nmembers = ['last-one', 'first', 'middle']\nresolver = '2'\n",
            ),
            (".gitignore", "/target\n"),
            ("last-one/Cargo.toml", &manifest("last-one")),
            ("first/Cargo.toml", &manifest("first")),
            ("middle/Cargo.toml", &manifest("middle")),
            ("show", "#!/bin/sh\necho \"shows $*\"\necho told >&2\nexit 3\n"),
        ],
    );
    for name in ["last-one", "first", "middle"] {
        project.write(&format!("{name}/src/lib.rs"), "//! Documentation.\n");
    }
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(project.root.join("show"), mode).unwrap();
    project
}

fn ended_of(command: &mut Command, browser: &str) -> Ended {
    let browser = command.get_current_dir().unwrap().join(browser);
    ended(command.env("BROWSER", browser).env("CARGO_TERM_COLOR", "never").output().unwrap())
}

/// The lines of standard error that are about opening.
fn told(ended: &Ended) -> Vec<String> {
    let is_meant = |line: &&str| {
        ["     Opening ", "told", "warning: Couldn't", "error: "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    ended.stderr.lines().filter(is_meant).map(str::to_owned).collect()
}

#[test]
fn the_page_and_the_browser_are_those_of_cargo() {
    let sandbox = sandbox();
    let project = libraries(&sandbox);
    let check = |arguments: &str, browser: &str, output: &str| {
        let found = ended_of(&mut project.command(arguments), browser);
        let mut cargo = sandbox.command("cargo", &project.root);
        let expected = ended_of(cargo.args(arguments.split_whitespace()), browser);
        assert_eq!(found.stdout, output.replace("ROOT", project.root.to_str().unwrap()));
        assert_eq!(found.stdout, expected.stdout, "{arguments}");
        assert_eq!(told(&found), told(&expected), "{arguments}");
        assert_eq!(found.code, expected.code, "{arguments}");
        fs::remove_dir_all(project.root.join("target")).unwrap();
    };
    check("doc --open", "show", "shows ROOT/target/doc/first/index.html\n");
    let middle = "shows ROOT/target/doc/last_one/index.html\n";
    check("doc -p middle -p last-one --open", "show", middle);
    check("doc -q -p middle --open", "show", "shows ROOT/target/doc/middle/index.html\n");
    check("rustdoc -p middle --open", "show", "shows ROOT/target/doc/middle/index.html\n");
    check("doc --open", "no-such-browser", "");
    if cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        check(
            "doc -p first --open --target x86_64-unknown-linux-gnu",
            "show",
            "shows ROOT/target/x86_64-unknown-linux-gnu/doc/first/index.html\n",
        );
    }
    // The configuration wins, and its program is relative to it.
    project.write(".cargo/config.toml", "[doc]\nbrowser = ['./show', '--new']\n");
    check("doc --open", "other", "shows --new ROOT/target/doc/first/index.html\n");
    project.write("first/Cargo.toml", project.read("first/Cargo.toml") + "[lib]\ndoc = false\n");
    check("doc -p first --open", "show", "");
}

#[test]
fn all_is_opened_as_well_and_what_is_not_fetched_is_not() {
    let sandbox = sandbox();
    let project = libraries(&sandbox);
    let page = project.root.join("target/doc/first/index.html");
    let left = ended_of(&mut project.command("doc --no-fetch --open"), "show");
    assert_eq!((left.code, left.stdout.as_str(), told(&left)), (Some(0), "", Vec::new()));
    let all = ended_of(&mut project.command("doc --fetch all --open"), "show");
    assert_eq!(all.stdout, format!("shows {}\n", page.display()));
    // A build that fails opens nothing.
    project.write("first/src/lib.rs", "nonsense\n");
    let failed = ended_of(&mut project.command("doc --open"), "show");
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(101), ""));
}

#[test]
fn cargo_here_documents_again_what_was_documented_otherwise() {
    let sandbox = sandbox();
    let project = libraries(&sandbox);
    project.write("first/src/lib.rs", "pub fn shown() {}\nfn hidden() {}\n");
    let plain = || {
        let documented =
            sandbox.command("cargo", &project.root).args(["doc", "-p", "first"]).output().unwrap();
        assert!(documented.status.success());
        ["shown", "hidden"].map(|name| project.has(&format!("target/doc/first/fn.{name}.html")))
    };
    assert_eq!(plain(), [true, false]);
    project.ok("-q doc -p first --document-private-items");
    assert!(project.has("target/doc/first/fn.hidden.html"));
    assert_eq!(plain(), [true, false]);
}
