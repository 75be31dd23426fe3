//! Programs from the registry, built through an agent and plainly, side by side.
//!
//! Each is fetched by cargo, built, run, edited by one line, built again, reverted
//! and built again. After each step the program that came back has to be the one
//! that a plain local build makes, byte for byte. It takes minutes, so it is not
//! among the fast tests: `cargo test -p burst-tests --test real-crates`, with the
//! names of single programs behind `--` if not all are wanted.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that is its own harness"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burst_tests::{Project, Sandbox};

/// Package, version, program, and a source file with the line `use std::`.
const PROGRAMS: [(&str, &str, &str, &str); 3] = [
    ("ripgrep", "14.1.1", "rg", "crates/core/main.rs"),
    ("fd-find", "10.2.0", "fd", "src/main.rs"),
    ("bat", "0.25.0", "bat", "src/bin/bat/main.rs"),
];

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut passed = 0;
    for (package, version, program, source) in PROGRAMS {
        if wanted.is_empty() || wanted.iter().any(|name| name == package) {
            check(package, version, program, source);
            println!("real-crates: {package} {version} is the same");
            passed += 1;
        }
    }
    println!("{passed} passed, 0 failed");
}

fn check(package: &str, version: &str, program: &str, source: &str) {
    let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_cargo-burst-under-test"));
    let fetched = fetch(&sandbox, package, version);
    let root = sandbox.path().join(package);
    copy(&fetched, &root);
    let project = Project { sandbox: &sandbox, root };
    let plain = sandbox.path().join("plain");

    same(&project, &plain, program, "first");
    let ran = Command::new(project.root.join("target/debug").join(program))
        .arg("--version")
        .output()
        .unwrap();
    assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains(version));

    let original = project.read(source);
    // The line of a panic message is part of the program, so the new line counts.
    let edited = original.replacen("fn main()", "#[inline(never)]\nfn main()", 1);
    assert_ne!(original, edited, "{source} has no main");
    project.write(source, edited);
    let compiled = same(&project, &plain, program, "edited");
    assert!(compiled, "the edit was not compiled");

    project.write(source, original);
    assert!(same(&project, &plain, program, "reverted"), "the revert was not compiled");
    assert!(!same(&project, &plain, program, "unchanged"), "compiled without a reason");
}

/// Builds both ways and compares; tells whether the agent compiled anything.
fn same(project: &Project<'_>, plain: &Path, program: &str, state: &str) -> bool {
    let ended = project.ok("build --locked --config profile.dev.debug=0");
    let status = project
        .sandbox
        .command("cargo", &project.root)
        .args(["build", "-q", "--locked", "--config", "profile.dev.debug=0", "--target-dir"])
        .arg(plain)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let here = fs::read(project.root.join("target/debug").join(program)).unwrap();
    let there = fs::read(plain.join("debug").join(program)).unwrap();
    assert!(here == there, "{program}, {state}: not the program that a plain build makes");
    ended.stderr.contains("Compiling")
}

/// Lets cargo fetch a package; returns where its sources are.
fn fetch(sandbox: &Sandbox, package: &str, version: &str) -> PathBuf {
    let manifest = format!(
        "[package]\nname = 'fetch'\nversion = '0.1.0'\n[dependencies]\n{package} = '={version}'\n"
    );
    let project = sandbox.project("fetch", &[("Cargo.toml", &manifest), ("src/lib.rs", "")]);
    let output = sandbox.command("cargo", &project.root).arg("fetch").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    );
    // A package without a library is fetched, but no part of the metadata.
    let registries = fs::read_dir(home.join("registry/src")).unwrap();
    let mut places =
        registries.map(|place| place.unwrap().path().join(format!("{package}-{version}")));
    places.find(|place| place.is_dir()).expect("the sources of the package")
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
