use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use burst_tests::{BuildLayout, Project, Sandbox, assert_progress, ended, wait_until};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Scenario, Simulator};
use nix::sys::signal::Signal;

use crate::hetzner::{cloud, logs, sandbox_on};
use crate::sandbox;

const LAYOUTS: [BuildLayout; 2] = [BuildLayout::Classic, BuildLayout::ByUnit];

const FINISHED: &str = "    Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\nburst: on this machine, [..]\n";

/// Printed by a command that starts an agent.
const NOTICE: &str = "burst: cargo runs through an agent on this machine, since no Hetzner token is set; \
     `cargo burst init` sets one\n";

/// A package with a dependency. Its build script keeps what it has generated, as `make`
/// does.
fn workspace(sandbox: &Sandbox) -> Project<'_> {
    sandbox.project(
        "app",
        &[
            (
                "Cargo.toml",
                "[workspace]\nmembers = ['dep']\n[package]\nname = 'app'\nversion = '0.1.0'\n\
                 edition = '2021'\n[dependencies]\ndep = { path = 'dep' }\n",
            ),
            ("dep/Cargo.toml", "[package]\nname = 'dep'\nversion = '0.1.0'\nedition = '2021'\n"),
            ("dep/src/lib.rs", "pub fn dep() -> u8 { 1 }\n"),
            (
                "build.rs",
                "fn main() {\n    let path = std::path::Path::new(&std::env::var(\"OUT_DIR\").unwrap()).join(\"made.rs\");\n    \
                 if !path.exists() { std::fs::write(path, \"const MADE: u8 = 41;\").unwrap(); }\n    \
                 println!(\"cargo:rerun-if-changed=build.rs\");\n}\n",
            ),
            (
                "src/lib.rs",
                "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n\
                 /// The answer.\npub fn answer() -> u8 { MADE + dep::dep() }\n",
            ),
            ("src/main.rs", "fn main() { println!(\"{}\", app::answer()) }\n"),
        ],
    )
}

/// Ends the agent as a power cut does: files that were written since the mark was set keep
/// their name and time and lose their content, and the kernel starts again. Of the files of
/// cargo that say what is fresh none is lost.
fn cut_power(project: &Project<'_>) {
    project.sandbox.end_agent(Signal::SIGKILL);
    let directory = project.sandbox.agent_project(&project.root);
    let mark = directory.join("running");
    let since = fs::metadata(&mark).unwrap().modified().unwrap();
    empty_below(&directory.join("targets"), since);
    fs::write(&mark, "another boot").unwrap();
    set_time(&mark, since);
}

fn empty_below(directory: &Path, since: SystemTime) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        let modified = found.modified().unwrap();
        if found.is_dir() {
            if !path.as_os_str().as_bytes().ends_with(b"fingerprint") {
                empty_below(&path, since);
            }
        } else if modified >= since && found.len() > 0 {
            File::options().write(true).truncate(true).open(&path).unwrap();
            set_time(&path, modified);
        }
    }
}

fn set_time(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Ends the agent in order: what it has built is on the disk.
fn end_in_order(project: &Project<'_>) {
    project.sandbox.end_agent(Signal::SIGTERM);
    let mark = project.sandbox.agent_project(&project.root).join("running");
    assert!(!mark.exists());
}

#[test]
fn builds_are_repaired_unit_by_unit() {
    for layout in LAYOUTS {
        let sandbox = sandbox().with_layout(layout);
        let project = workspace(&sandbox);
        project.ok("build -p dep");
        sandbox.assert_layout(&project.root, layout);
        end_in_order(&project);
        project.ok("build");
        cut_power(&project);
        fs::remove_file(project.root.join("target/debug/app")).unwrap();
        // What is older than the run is kept, the rest is made again.
        let compiled = format!("{NOTICE}   Compiling app v0.1.0 ([..])\n{FINISHED}");
        assert_progress(&project.ok("build"), &compiled);
        assert_eq!(project.output_of("target/debug/app"), "42\n");
        assert_progress(&project.ok("build"), FINISHED);
        // The compiler's sessions are whole again.
        for (file, content) in [
            ("src/main.rs", "fn main() { println!(\"is {}\", app::answer()) }\n"),
            ("dep/src/lib.rs", "pub fn dep() -> u8 { 2 }\n"),
        ] {
            project.write(file, content);
            project.ok("build");
        }
        assert_eq!(project.output_of("target/debug/app"), "is 43\n");
        // Once repaired, a project is left alone.
        end_in_order(&project);
        assert_progress(&project.ok("build"), &format!("{NOTICE}{FINISHED}"));
    }
}

#[test]
fn documentation_is_made_again() {
    for layout in LAYOUTS {
        let sandbox = sandbox().with_layout(layout);
        let project = workspace(&sandbox);
        project.ok("doc");
        cut_power(&project);
        fs::remove_dir_all(project.root.join("target/doc")).unwrap();
        project.ok("doc");
        assert!(project.read("target/doc/app/fn.answer.html").contains("The answer."));
        assert!(project.read("target/doc/crates.js").contains("\"app\",\"dep\""));
    }
}

#[test]
fn an_agent_that_was_killed_alone_loses_no_work() {
    let sandbox = sandbox();
    let project = workspace(&sandbox);
    project.ok("build");
    sandbox.end_agent(Signal::SIGKILL);
    assert_progress(&project.ok("build"), &format!("{NOTICE}{FINISHED}"));
}

/// A volume with the content that its device has at one moment of a run, which is what a power
/// cut leaves.
#[test]
fn a_volume_is_repaired_when_it_is_mounted() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    for layout in LAYOUTS {
        let sandbox = sandbox_on(&simulator).with_layout(layout);
        let project = workspace(&sandbox);
        // The file makes the journal, and with it the names of all other files, reach the
        // device.
        project.write(
            "src/main.rs",
            "fn main() {\n    std::fs::File::create(\"forced\").unwrap().sync_all().unwrap();\n    \
             println!(\"begun\");\n    loop { std::thread::park(); }\n}\n",
        );
        let mut run = project.start("run -q");
        let mut said = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "begun\n", "{}", logs(&simulator, &sandbox));
        let image = {
            let world = lock(&simulator.shared().world);
            let volume = *world.volumes.keys().next_back().unwrap();
            simulator.shared().hosts().unwrap().image_of(volume)
        };
        let snapshot = image.with_extension("snapshot");
        let script = "cp --sparse=always \"$1\" \"$2\"";
        shell(script, [&image, &snapshot]);
        delete_server(&simulator);
        assert_eq!(ended(run.wait_with_output().unwrap()).code, Some(114));
        wait_until("the end of the device", || {
            shell("losetup --associated \"$1\"", [&image]).is_empty()
        });
        fs::rename(&snapshot, &image).unwrap();
        let script = "mount -o loop \"$1\" /mnt && find /mnt/project/targets -size 0 -printf '%f\\n' && umount /mnt";
        let damaged = shell(script, [&image]);
        assert!(
            damaged.lines().any(|name| name.trim_start_matches("lib").starts_with("app-")),
            "{damaged}"
        );

        project.write("src/main.rs", "fn main() { println!(\"{}\", app::answer()) }\n");
        let again = project.burst("run -q");
        assert_eq!(again.stdout, "42\n", "{again:#?}\n{}", logs(&simulator, &sandbox));
        let log = logs(&simulator, &sandbox);
        assert!(log.contains("the previous run was interrupted: removed "), "{log}");
        delete_server(&simulator);
    }
}

fn delete_server(simulator: &Simulator) {
    let now = simulator.shared().now_secs() * 1000;
    let mut world = lock(&simulator.shared().world);
    let server = *world.servers.keys().next().unwrap();
    world.delete_server(server, now).unwrap();
}

/// The output of a script, which has its own mounts.
#[track_caller]
fn shell<const N: usize>(script: &str, arguments: [&Path; N]) -> String {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).args(arguments);
    let found = ended(command.output().unwrap());
    assert_eq!(found.code, Some(0), "{script}: {found:#?}");
    found.stdout
}
