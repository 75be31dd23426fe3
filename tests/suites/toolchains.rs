//! Toolchains: named on the command line, by a variable or by a file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use burst_tests::{assert_explained, ended};

use crate::command_line::cargo;
use crate::file_server::{FileServer, sha256};
use crate::sandbox;

/// The toolchain that runs these tests, as rustup names it.
fn current() -> Option<String> {
    let name = std::env::var("RUSTUP_TOOLCHAIN").ok();
    if name.is_none() {
        burst_tests::skip("needs rustup");
    }
    name
}

#[test]
fn a_toolchain_may_stand_behind_burst() {
    let Some(toolchain) = current() else { return };
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {\n    println!(\"{}\", std::env::var(\"RUSTUP_TOOLCHAIN\").unwrap());\n}\n",
    );
    let found = project.ok(&format!("+{toolchain} run -q"));
    assert_eq!(found.stdout, format!("{toolchain}\n"));
    project.ok(&format!("+{toolchain} fmt --check"));
    // Another one that is named elsewhere does not matter.
    let mut command = project.command(&format!("+{toolchain} run -q"));
    command.env("RUSTUP_TOOLCHAIN", "no-such").env("CARGO", "/no/such/cargo");
    assert_eq!(ended(command.output().unwrap()).stdout, format!("{toolchain}\n"));
    for verb in ["build", "fmt"] {
        let arguments = format!("+no-such {verb}");
        let (found, expected) = (project.burst(&arguments), cargo(&project, &arguments));
        assert_ne!(found.code, Some(0));
        assert_eq!((found.code, found.stderr), (expected.code, expected.stderr), "{verb}");
    }
}

#[test]
fn a_toolchain_that_the_agent_lacks_is_named_with_those_that_are_there() {
    let Some(toolchain) = current() else { return };
    let sandbox = sandbox().with("RUSTUP_AUTO_INSTALL", "0");
    let project = sandbox.hello("app");
    let home = sandbox.command("", Path::new("/"));
    let home = home.get_envs().find(|(name, _)| *name == "RUSTUP_HOME").unwrap().1.unwrap();
    let toolchains = Path::new(home).join("toolchains");
    // cargo itself, which knows no toolchains, asks about the workspace.
    let cargo_itself = toolchains.join(&toolchain).join("bin/cargo");
    let mut names: Vec<String> = fs::read_dir(&toolchains)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = |wanted: &str| {
        format!(
            "error: the toolchain `{wanted}` is not installed on the agent\n\
             caused by: RUSTUP_AUTO_INSTALL=0 forbids to install it; installed there: {}\n\
             hint: name one that is there, with `+TOOLCHAIN` or in `rust-toolchain.toml`, or \
             install this one on the agent's machine\n",
            names.join(", ")
        )
    };
    let mut command = project.command("check -q");
    command.env("CARGO", &cargo_itself).env("RUSTUP_TOOLCHAIN", "1.0.0");
    assert_explained(&ended(command.output().unwrap()), 114, &expected("1.0.0"));

    project.write("rust-toolchain.toml", "[toolchain]\nchannel = '1.1.0'\n");
    let mut command = project.command("check -q");
    command.env("CARGO", &cargo_itself).env("RUSTC", "rustc");
    command.env("RUSTUP_TOOLCHAIN", &toolchain).env("RUSTUP_TOOLCHAIN_SOURCE", "toolchain-file");
    assert_explained(&ended(command.output().unwrap()), 114, &expected("1.1.0"));
}

#[test]
fn unstable_options_and_configuration_reach_the_question_about_the_workspace() {
    let sandbox = sandbox().with("RUSTC_BOOTSTRAP", "1");
    let project = sandbox.hello("app");
    let manifest = "[package]\nname = 'tool'\nversion = '0.1.0'\nedition = '2021'\n";
    project.write("tool/Cargo.toml", manifest);
    project.write("tool/src/main.rs", "fn main() {}\n");
    project.write(
        "Cargo.toml",
        &(project.read("Cargo.toml")
            + "[dependencies]\ntool = { path = 'tool', artifact = 'bin' }\n"),
    );
    let refused = project.burst("check -q --env RUSTC_BOOTSTRAP");
    assert_eq!(refused.code, Some(101));
    assert_eq!(refused.stderr, cargo(&project, "check -q").stderr);
    for spelling in ["-Z bindeps", "-Zbindeps"] {
        project.ok(&format!("check -q --env RUSTC_BOOTSTRAP {spelling}"));
        project.ok(&format!("{spelling} check -q --env RUSTC_BOOTSTRAP"));
    }
    project.ok("build -q --env RUSTC_BOOTSTRAP -Zbindeps --config build.target-dir='elsewhere'");
    assert!(project.has("elsewhere/debug/hello"));
}

/// The target that Rust names this machine by.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The version that the distribution server has. There was never one of this number.
const VERSION: &str = "1.95.77";

/// Packs a component for rustup: its files are scripts that call the programs of another
/// toolchain. Returns its section of the manifest.
fn component(
    server: &FileServer,
    at: &Path,
    name: &str,
    folder: &str,
    files: &[(&str, &str)],
) -> String {
    let top = format!("{name}-{VERSION}");
    let write = |path: &str, text: &str| {
        let path = at.join(&top).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    };
    write("rust-installer-version", "3\n");
    write("components", &format!("{folder}\n"));
    let listed: String = files.iter().map(|(path, _)| format!("file:{path}\n")).collect();
    write(&format!("{folder}/manifest.in"), &listed);
    files.iter().for_each(|(path, text)| write(&format!("{folder}/{path}"), text));
    let archive = at.join(format!("{top}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(at).arg("-czf").arg(&archive).arg(&top);
    assert!(tar.status().unwrap().success());
    let path = format!("/dist/{top}.tar.gz");
    server.append(&path, &fs::read(&archive).unwrap());
    format!(
        "[pkg.{name}]\nversion = '{VERSION}'\n[pkg.{name}.target.{TARGET}]\navailable = true\n\
         url = '{}{path}'\nhash = '{}'\n",
        server.url(),
        sha256(&archive)
    )
}

/// A server from which rustup installs a toolchain whose programs are those of `original`.
fn distribution(at: &Path, original: &Path) -> FileServer {
    let server = FileServer::start(None);
    let script = |name: &str| format!("#!/bin/sh\nexec {}/bin/{name} \"$@\"\n", original.display());
    let (cargo, rustc) = (script("cargo"), script("rustc"));
    let folder = format!("rust-std-{TARGET}");
    let sections = [
        component(&server, at, "cargo", "cargo", &[("bin/cargo", &cargo)]),
        component(&server, at, "rustc", "rustc", &[("bin/rustc", &rustc)]),
        component(&server, at, "rust-std", &folder, &[("lib/rustlib/std", "")]),
    ];
    let packages = ["cargo", "rustc", "rust-std"];
    let components = packages.map(|name| format!("{{ pkg = '{name}', target = '{TARGET}' }}"));
    let profiles =
        ["minimal", "default", "complete"].map(|name| format!("{name} = {packages:?}\n"));
    let manifest = format!(
        "manifest-version = '2'\ndate = '2026-01-01'\n[profiles]\n{}\n[pkg.rust]\n\
         version = '{VERSION}'\n[pkg.rust.target.{TARGET}]\navailable = true\n\
         components = [{}]\nextensions = []\n{}",
        profiles.concat(),
        components.join(", "),
        sections.concat()
    );
    let file = at.join("manifest");
    fs::write(&file, &manifest).unwrap();
    let path = format!("/dist/channel-rust-{VERSION}.toml");
    server.append(&path, manifest.as_bytes());
    server.append(&format!("{path}.sha256"), sha256(&file).as_bytes());
    server
}

/// The command's own rustup uses a toolchain that is there; only the agent reads the file.
#[test]
fn rustup_installs_the_toolchain_of_a_file_on_the_agent() {
    let Some(toolchain) = current() else { return };
    if burst_tests::lacks(&["tar", "sha256sum"]) {
        return;
    }
    let sandbox = sandbox();
    let home = sandbox.command("", Path::new("/"));
    let home = home.get_envs().find(|(name, _)| *name == "RUSTUP_HOME").unwrap().1.unwrap();
    let original = Path::new(home).join("toolchains").join(&toolchain);
    let packed = sandbox.path().join("packed");
    let server = distribution(&packed, &original);
    let new_home = sandbox.path().join("rustup");
    fs::create_dir_all(new_home.join("toolchains")).unwrap();
    std::os::unix::fs::symlink(&original, new_home.join("toolchains").join(&toolchain)).unwrap();
    let sandbox = sandbox
        .with("RUSTUP_HOME", &new_home)
        .with("RUSTUP_DIST_SERVER", server.url())
        .with("RUSTUP_AUTO_INSTALL", "1")
        .with("CARGO", original.join("bin/cargo"))
        .with("RUSTUP_TOOLCHAIN", &toolchain)
        .with("RUSTUP_TOOLCHAIN_SOURCE", "toolchain-file");
    let project = sandbox.hello("app");
    project.write(
        "build.rs",
        "fn main() { println!(\"cargo::rustc-env=BY={}\", std::env::var(\"RUSTUP_TOOLCHAIN\").unwrap()); }\n",
    );
    project.write("src/main.rs", "fn main() { println!(\"{}\", env!(\"BY\")); }\n");
    project.write(
        "rust-toolchain.toml",
        format!("[toolchain]\nchannel = '{VERSION}'\nprofile = 'minimal'\n"),
    );
    let installed = new_home.join("toolchains").join(format!("{VERSION}-{TARGET}"));
    project.ok("sync");
    assert_eq!(server.requests(), []);
    for is_first in [true, false] {
        let run = project.burst("run");
        assert_eq!(run.code, Some(0), "{run:#?}\n{}", sandbox.agent_log());
        assert_eq!(run.stdout, format!("{VERSION}-{TARGET}\n"), "{run:#?}");
        let has_installed = server.requests().iter().any(|(path, _)| path.ends_with(".tar.gz"));
        assert_eq!((has_installed, installed.join("bin/cargo").exists()), (is_first, true));
    }
}
