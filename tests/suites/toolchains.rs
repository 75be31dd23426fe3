//! Toolchains: named on the command line, by a variable or by a file.

use std::path::Path;

use burst_tests::{assert_explained, ended};

use crate::command_line::cargo;
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
    let mut names: Vec<String> = std::fs::read_dir(&toolchains)
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
