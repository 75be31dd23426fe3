//! Files that the user edits while results come back.

use std::fs;

use burst_tests::{assert_progress, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::results::{RUN, returning_late};
use crate::sandbox;
use crate::scripted::Scripted;

/// The edit falls between the decision about a file and its replacement, and the command is
/// killed before it has looked at what it has replaced: that takes it long, so large is the edit.
#[test]
fn an_edit_in_the_moment_of_its_replacement_survives_a_kill() {
    const LARGE: u64 = 16 << 30;
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("data", "sent");
    let data = project.root.join("data");
    let (says, go_on) = returning_late(&project, "data");
    let agent = Scripted::start(&sandbox, says, true);
    let mut command = project.start("check");
    agent.said.recv().unwrap();
    fs::OpenOptions::new().write(true).open(&data).unwrap().set_len(LARGE).unwrap();
    go_on.notify_one();
    wait_until("the replacement", || {
        fs::metadata(&data).is_ok_and(|data| data.len() == RUN.len() as u64)
    });
    kill(Pid::from_raw(command.id().cast_signed()), Signal::SIGKILL).unwrap();
    command.wait().unwrap();
    drop(agent);
    assert_eq!(project.read("data"), RUN);
    let left = project.root.join(format!(".burst-{}-0.from-burst", command.id()));
    assert_eq!(fs::metadata(&left).unwrap().len(), LARGE);
    fs::write(&left, "edit").unwrap();

    let found = project.ok("check -q");
    let expected =
        "warning: `data` was edited while a killed command replaced it: your edit is back";
    assert_eq!(found.stderr.lines().next(), Some(expected), "{found:#?}");
    assert_eq!(project.read("data"), "edit");
    assert!(!left.exists());
}

#[test]
fn a_target_directory_that_is_removed_during_a_build_is_made_again() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build -q");
    let (started, go_on) = (sandbox.path().join("started"), sandbox.path().join("go-on"));
    project.write(
        "build.rs",
        format!("fn main() {{ std::fs::write({started:?}, \"\").unwrap(); while !std::path::Path::new({go_on:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }} }}\n"),
    );
    project.write("src/main.rs", "fn main() { println!(\"new\") }\n");
    let building = project.start("build -q");
    wait_until("the build", || started.exists());
    fs::remove_dir_all(project.root.join("target")).unwrap();
    fs::write(&go_on, "").unwrap();
    let found = burst_tests::ended(building.wait_with_output().unwrap());
    assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""));
    assert!(project.has("target/CACHEDIR.TAG"));
    let program = std::process::Command::new(project.root.join("target/debug/hello"));
    assert_eq!({ program }.output().unwrap().stdout, b"new\n");
}

/// Each run waits with its version of `notes`, which is edited meanwhile.
#[test]
fn a_version_beside_is_replaced_only_while_it_is_as_it_was_written() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let (started, go_on) = (sandbox.path().join("started"), sandbox.path().join("go-on"));
    let run = |text: &str| {
        project.write(
            "src/main.rs",
            format!("fn main() {{ std::fs::write(\"notes\", {text:?}).unwrap(); std::fs::write({started:?}, \"\").unwrap(); while !std::path::Path::new({go_on:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }} }}\n"),
        );
        project.write("notes", format!("sent before {text}"));
        for path in [&started, &go_on] {
            fs::remove_file(path).ok();
        }
        let running = project.start("run -q");
        wait_until("the run", || started.exists());
        project.write("notes", "mine");
        fs::write(&go_on, "").unwrap();
        let found = burst_tests::ended(running.wait_with_output().unwrap());
        assert_eq!(project.read("notes"), "mine");
        found
    };
    let told = |beside: &str| {
        format!(
            "warning: `notes` was changed here and by the run: the run's version is in `{beside}`\n"
        )
    };
    assert_progress(&run("one"), &told("notes.from-burst"));
    assert_progress(&run("two"), &told("notes.from-burst"));
    assert_eq!(project.read("notes.from-burst"), "two");
    project.write("notes.from-burst", "merged by hand");
    assert_progress(&run("three"), &told("notes.1.from-burst"));
    assert_progress(&run("four"), &told("notes.1.from-burst"));
    assert_eq!(project.read("notes.from-burst"), "merged by hand");
    assert_eq!(project.read("notes.1.from-burst"), "four");
}

#[test]
fn files_where_a_target_or_build_directory_was_stay() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build --target-dir out");
    project.ok("check --config build.build-dir=\"built\"");
    fs::remove_dir_all(project.root.join("out")).unwrap();
    for name in ["out", "built"] {
        project.write(&format!("{name}/deep/file"), "never seen by a run");
    }
    for command in ["check", "run -q", "check"] {
        project.ok(command);
        for name in ["out", "built"] {
            assert_eq!(project.read(&format!("{name}/deep/file")), "never seen by a run");
        }
    }
}
