//! Environment variables: which cargo sees on the other end, and what the user is told of the
//! others.

use burst_tests::{Ended, Project, Sandbox, assert_explained, ended};

use crate::hetzner::{cloud, sandbox_on};
use crate::sandbox;
use hetzner_sim::Scenario;

/// A package whose program prints the variables `CARGO_PROFILE_*`, `RUST*` and `CI`.
fn printer(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {\n    let mut all: Vec<_> = std::env::vars().collect();\n    all.sort();\n    for \
         (name, value) in all {\n        let is_meant = [\"CARGO_PROFILE_\", \"RUST_\", \
         \"CI\"].iter().any(|start| name.starts_with(start));\n        if is_meant && name != \
         \"RUST_RECURSION_COUNT\" {\n            println!(\"{name}={value}\");\n        }\n    \
         }\n}\n",
    );
    project
}

fn with(project: &Project<'_>, arguments: &str, variables: &[(&str, &str)]) -> Ended {
    ended(project.command(arguments).envs(variables.iter().copied()).output().unwrap())
}

const LOG_AND_FLAGS: &str = "warning: RUSTFLAGS and RUST_LOG are set here but not forwarded to cargo: `--env NAME` \
     forwards them once, `forward_env` in the settings always\n";

const LOG: &str = "warning: RUST_LOG is set here but not forwarded to cargo: `--env NAME` \
                   forwards it once, `forward_env` in the settings always\n";

#[test]
fn variables_that_are_not_sent_are_told_once_per_set_and_workspace() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let (flags, log) = (("RUSTFLAGS", "-Cdebuginfo=0"), ("RUST_LOG", "debug"));
    for (arguments, variables, told) in [
        ("sync", [flags, log].as_slice(), ""),
        ("check -q", &[flags, log, ("EDITOR", "vi")], LOG_AND_FLAGS),
        ("check -q", &[flags, log], ""),
        // The values do not matter.
        ("check -q", &[flags, ("RUST_LOG", "info")], ""),
        ("check -q --env RUSTFLAGS", &[flags, log], LOG),
        ("check -q --env RUSTFLAGS --env RUST_LOG", &[flags, log], ""),
        ("check -q", &[flags, log], LOG_AND_FLAGS),
    ] {
        let ended = with(&project, arguments, variables);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let warnings: String = ended
            .stderr
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("burst: "))
            .collect();
        assert_eq!(warnings, told, "{arguments} {variables:?}");
    }
    let other = sandbox.hello("other");
    assert_eq!(with(&other, "check -q", &[log]).stderr, LOG);
}

#[test]
fn the_list_of_reported_variables_is_the_users() {
    let sandbox = sandbox();
    sandbox.settings("report_env = ['!RUST_*', 'MY_*']\n");
    let project = sandbox.hello("app");
    let found = with(&project, "check -q", &[("RUST_LOG", "debug"), ("MY_MODE", "fast")]);
    assert_eq!(
        found.stderr,
        "warning: MY_MODE is set here but not forwarded to cargo: `--env NAME` forwards it once, \
         `forward_env` in the settings always\n"
    );
}

#[test]
fn patterns_forward_variables() {
    let sandbox = sandbox();
    sandbox.settings("forward_env = ['CARGO_PROFILE_*', 'C*I']\n");
    let project = printer(&sandbox);
    let variables =
        [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_LTO", "off"), ("CI", "true")];
    let found = with(&project, "run -q --env RUST_*", &variables);
    assert_eq!(found.stdout, "CARGO_PROFILE_DEV_DEBUG=0\nCARGO_PROFILE_DEV_LTO=off\nCI=true\n");
    assert_eq!(
        found.stderr,
        "warning: CI is forwarded: cargo and other tools work there as for a CI service, which \
         can turn off incremental compilation, progress and new snapshots\n"
    );
}

#[test]
fn a_server_sees_what_is_forwarded_and_the_rest_is_told() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = printer(&sandbox);
    let variables = [("RUST_LOG", "debug"), ("RUST_BACKTRACE", "1")];
    let found = with(&project, "run -q --env RUST_BACKTRACE", &variables);
    assert_eq!((found.code, found.stdout.as_str()), (Some(0), "RUST_BACKTRACE=1\n"), "{found:?}");
    assert!(found.stderr.contains(LOG), "{found:?}");
    let found = with(&project, "run -q --env RUST_BACKTRACE", &variables);
    assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_compiler_of_this_machine_is_refused() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for name in ["RUSTC", "CARGO_BUILD_RUSTC"] {
        let found = with(&project, "build", &[(name, "/opt/rust/bin/rustc")]);
        assert_explained(
            &found,
            111,
            &format!(
                "error: {name} names the compiler `/opt/rust/bin/rustc` of this machine, which \
                 cargo on the agent would not use\n\
                 hint: unset it; `cargo +TOOLCHAIN burst …` or a rust-toolchain.toml chooses the \
                 compiler of both sides\n"
            ),
        );
    }
    assert_eq!(sandbox.agent(), None, "no agent is started");
    assert_eq!(with(&project, "check -q", &[("RUSTC", "rustc")]).stderr, "");
}

#[test]
fn a_program_that_is_no_cargo_is_not_called_as_one() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for arguments in ["check -q", "fmt --check"] {
        let found = with(&project, arguments, &[("CARGO", "/bin/false")]);
        assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""), "{arguments}");
    }
}
