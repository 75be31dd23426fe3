//! `--fetch all`: a plain cargo goes on from what a run has built, and never takes a source for
//! compiled that differs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use burst_tests::{BuildLayout, Project, Sandbox, assert_lines, ended, wait_until};

use crate::hetzner::{cloud, sandbox_on};
use crate::sandbox;

const FRESH: &str = "    Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]";

/// A package with a build script, a proc macro, a library and a program.
fn kit(sandbox: &Sandbox) -> Project<'_> {
    sandbox.project(
        "kit",
        &[
            (
                "Cargo.toml",
                "[package]\nname = 'kit'\nversion = '0.1.0'\nedition = '2021'\n[dependencies]\nwords = { path = 'words' }\nitoa = '1'\n[workspace]\n",
            ),
            (".gitignore", "/target\n"),
            (
                "build.rs",
                "fn main() {\n    println!(\"cargo:rerun-if-changed=build.rs\");\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    std::fs::write(out + \"/made.rs\", \"40\").unwrap();\n}\n",
            ),
            (
                "src/lib.rs",
                "words::answer!();\npub fn made() -> u32 { include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\")) + answer() }\n",
            ),
            ("src/main.rs", "fn main() { println!(\"{}\", itoa::Buffer::new().format(kit::made())) }\n"),
            (
                "words/Cargo.toml",
                "[package]\nname = 'words'\nversion = '0.1.0'\nedition = '2021'\n[lib]\nproc-macro = true\n",
            ),
            (
                "words/src/lib.rs",
                "#[proc_macro]\npub fn answer(_: proc_macro::TokenStream) -> proc_macro::TokenStream { \"fn answer() -> u32 { 2 }\".parse().unwrap() }\n",
            ),
        ],
    )
}

/// What plain cargo says.
fn plain(project: &Project<'_>, arguments: &str) -> String {
    let mut command = project.sandbox.command("cargo", &project.root);
    command.args(arguments.split_whitespace()).env("CARGO_TERM_COLOR", "never");
    let ended = ended(command.output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let has_waited = |line: &&str| !line.contains("Blocking waiting for file lock");
    ended.stderr.lines().filter(has_waited).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_plain_build_compiles_nothing_after_all_was_fetched() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = kit(&sandbox);
        project.ok("build --fetch all");
        assert_lines(&plain(&project, "build"), FRESH);
        assert_eq!(project.output_of("target/debug/kit"), "42\n");
        // Only what has changed there travels, and what has changed here is restored.
        project.write("src/main.rs", "fn main() { println!(\"{}\", kit::made() + 1) }\n");
        project.ok("build --fetch all");
        assert_lines(&plain(&project, "build"), FRESH);
        assert_eq!(project.output_of("target/debug/kit"), "43\n");
        fs::remove_dir_all(project.root.join("target/debug/build")).unwrap();
        project.ok("sync --fetch all");
        assert_lines(&plain(&project, "build"), FRESH);
        // Another profile of cargo's own stays.
        plain(&project, "build --release");
        project.ok("--fetch all check");
        assert_eq!(project.output_of("target/release/kit"), "43\n");
        assert_lines(&plain(&project, "check"), FRESH);
    }
}

#[test]
fn a_plain_build_goes_on_where_runs_have_stopped() {
    let sandbox = sandbox().with("CARGO_BURST_FETCH", "all");
    let project = kit(&sandbox);
    project.ok("build");
    // An edit that is compiled there, but not for this profile of use.
    project.write("src/main.rs", "fn main() { println!(\"{}\", kit::made() + 1) }\n");
    project.ok("check");
    let said = plain(&project, "build");
    assert!(said.starts_with("   Compiling kit v0.1.0"), "{said}");
    assert_eq!(project.output_of("target/debug/kit"), "43\n");
    // What the plain build has made is replaced by what there is.
    project.ok("build");
    assert_lines(&plain(&project, "build"), FRESH);
    // An edit since.
    project.write("src/lib.rs", "pub fn made() -> u32 { 7 }\n");
    let said = plain(&project, "build");
    assert!(said.starts_with("   Compiling kit v0.1.0"), "{said}");
    assert_eq!(project.output_of("target/debug/kit"), "8\n");
}

/// The compiler reads the old source there after the new one is written here.
#[test]
fn an_edit_during_the_run_is_compiled() {
    let sandbox = sandbox();
    let project = kit(&sandbox);
    project.ok("build --fetch all");
    let wait = format!(
        "fn main() {{\n    let at = std::path::Path::new({:?});\n    std::fs::write(at.join(\"begun\"), \"\").unwrap();\n    while !at.join(\"go\").exists() {{ std::thread::yield_now(); }}\n    println!(\"cargo:rerun-if-changed=build.rs\");\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    std::fs::write(out + \"/made.rs\", \"50\").unwrap();\n}}\n",
        sandbox.path()
    );
    project.write("build.rs", wait);
    let running = project.start("build --fetch all");
    wait_until("the build", || sandbox.path().join("begun").exists());
    project.write("src/main.rs", "fn main() { println!(\"edited\") }\n");
    fs::write(sandbox.path().join("go"), "").unwrap();
    let run = ended(running.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(project.output_of("target/debug/kit"), "52\n");
    let said = plain(&project, "build");
    assert!(said.starts_with("   Compiling kit v0.1.0"), "{said}");
    assert_eq!(project.output_of("target/debug/kit"), "edited\n");
}

#[test]
fn what_is_gone_there_goes_here_unless_it_was_changed() {
    let sandbox = sandbox().with("CARGO_BURST_FETCH", "all");
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() { for name in [\"kept\", \"gone\"] { std::fs::write(format!(\"target/{name}\"), name).unwrap(); } }\n",
    );
    project.ok("run -q");
    assert_eq!(project.read("target/gone"), "gone");
    project.write("target/kept", "changed here");
    project.write(
        "src/main.rs",
        "fn main() { for name in [\"kept\", \"gone\"] { std::fs::remove_file(format!(\"target/{name}\")).unwrap(); } }\n",
    );
    project.ok("run -q");
    assert!(!project.has("target/gone"));
    assert_eq!(project.read("target/kept"), "changed here");
}

#[test]
fn a_plain_build_compiles_nothing_after_a_server_has_built() {
    let Some(simulator) = cloud(hetzner_sim::Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = kit(&sandbox);
    project.ok("build --fetch all");
    assert_lines(&plain(&project, "build"), FRESH);
    assert_eq!(project.output_of("target/debug/kit"), "42\n");
    project.write("src/main.rs", "fn main() { println!(\"{}\", kit::made() + 1) }\n");
    project.ok("build --fetch all");
    assert_lines(&plain(&project, "build"), FRESH);
}

/// A program that says what its build script reads from a file that is here and not sent. The
/// script begins with these statements.
pub(crate) fn says_what_is_not_sent<'s>(sandbox: &'s Sandbox, statements: &str) -> Project<'s> {
    let project = sandbox.hello("app");
    project.ignore("/target\nlocal.cfg\n");
    project.write("local.cfg", "here");
    project.write(
        "build.rs",
        format!("fn main() {{\n    {statements}\n    let text = std::fs::read_to_string(\"local.cfg\").unwrap_or(\"there\".into());\n    println!(\"cargo:rustc-env=TEXT={{text}}\");\n}}\n"),
    );
    project.write("src/main.rs", "fn main() { println!(\"{}\", env!(\"TEXT\")); }\n");
    project
}

/// What the build script has made there without the file is not what it makes here.
#[test]
fn a_build_script_whose_input_was_not_sent_runs_again_here() {
    let sandbox = sandbox();
    let project =
        says_what_is_not_sent(&sandbox, "println!(\"cargo:rerun-if-changed=local.cfg\");");
    for _ in 0..2 {
        assert_eq!(project.ok("run -q --fetch all").stdout, "there\n");
        let mut plain = sandbox.command("cargo", &project.root);
        let plain = ended(plain.args(["run", "-q"]).output().unwrap());
        assert_eq!((plain.code, plain.stdout.as_str()), (Some(0), "here\n"), "{plain:?}");
    }
}

#[test]
fn messages_of_an_earlier_build_here_go_with_its_unit() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let plain = || {
        let mut plain = sandbox.command("cargo", &project.root);
        ended(plain.arg("build").output().unwrap())
    };
    project.write("src/main.rs", "fn main() { let unused = 1; }\n");
    assert!(plain().stderr.contains("unused variable"));
    project.write("src/main.rs", "fn main() {}\n");
    project.ok("build --fetch all");
    let again = plain();
    assert_eq!(again.code, Some(0));
    assert!(!again.stderr.contains("warning") && !again.stderr.contains("Compiling"), "{again:?}");
}

#[test]
fn a_download_waits_for_a_cargo_that_builds_here() {
    let sandbox = sandbox();
    let project = kit(&sandbox);
    project.ok("-q build");
    fs::create_dir_all(project.root.join("target/debug")).unwrap();
    let lock = File::create(project.root.join("target/debug/.cargo-lock")).unwrap();
    lock.lock().unwrap();
    let mut command = project.command("sync --fetch all");
    let mut command = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(command.stderr.take().unwrap()).lines().map(Result::unwrap);
    let debug = project.root.join("target/debug");
    let expected = format!("waiting for a cargo that builds in `{}`", debug.display());
    assert!(lines.any(|line| line.contains(&expected)));
    assert!(!debug.join("deps").exists());
    drop(lock);
    lines.for_each(drop);
    assert!(command.wait().unwrap().success());
    assert!(debug.join("deps").exists());
}
