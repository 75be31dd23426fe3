//! Files that the user edits while results come back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use burst_protocol::Digest;
use burst_protocol::tree::Entry;
use burst_tests::{Project, assert_progress, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::Notify;

use crate::results::{RUN, after_blob, file, put, returning};
use crate::sandbox;
use crate::scripted::{Says, Scripted, blob};

/// The edit falls between the decision about a file and its replacement, and the command is
/// killed before it has looked at what it has replaced: that takes it long, so large is the edit.
#[test]
fn an_edit_in_the_moment_of_its_replacement_survives_a_kill() {
    const LARGE: u64 = 16 << 30;
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("data", "sent");
    let data = project.root.join("data");
    let bytes = returning(vec![put(&project, "data", Entry::File(file(RUN)))], &[]);
    let (first, second) =
        bytes.split_at(bytes.len() - blob(RUN.as_bytes()).len() - after_blob().len());
    let (first, second) = (first.to_vec(), second.to_vec());
    let (fetched, go_on) = (Digest::of(RUN.as_bytes()), Arc::new(Notify::new()));
    let says = Says::Halves { first, fetched, go_on: go_on.clone(), second };
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

/// A run that appends to `log`, which git ignores.
fn appending<'a>(sandbox: &'a burst_tests::Sandbox) -> Project<'a> {
    let project = sandbox.hello("app");
    project.write(".gitignore", "/target\n/log\n");
    project.write(
        "src/main.rs",
        "use std::io::Write;\nfn main() { let log = std::fs::OpenOptions::new().append(true).create(true).open(\"log\"); writeln!(log.unwrap(), \"run\").unwrap(); }\n",
    );
    project
}

#[test]
fn an_ignored_file_that_a_run_made_grows_as_with_cargo() {
    let sandbox = sandbox();
    let project = appending(&sandbox);
    for expected in ["run\n", "run\nrun\n", "run\nrun\nrun\n"] {
        assert_progress(&project.ok("run -q"), "");
        assert_eq!(project.read("log"), expected);
    }
    project.write("log", "mine\n");
    assert_progress(&project.ok("run -q"), "");
    assert_eq!(project.read("log"), "mine\nrun\n");
    assert!(!project.has("log.from-burst"));
}

#[test]
fn an_ignored_file_that_was_here_before_meets_a_run_once() {
    let sandbox = sandbox();
    let project = appending(&sandbox);
    project.write("log", "mine\n");
    let told = "warning: `log` was changed here and by the run: the run's version is in \
                `log.from-burst`; the one here is not sent, so until it changes further versions \
                of runs stay on the agent\n";
    assert_progress(&project.ok("run -q"), told);
    assert_eq!(
        (project.read("log"), project.read("log.from-burst")),
        ("mine\n".into(), "run\n".into())
    );
    assert_progress(&project.ok("run -q"), "");
    assert_eq!(project.read("log.from-burst"), "run\n");
    fs::remove_file(project.root.join("log.from-burst")).unwrap();
    assert_progress(&project.ok("run -q"), "");
    assert!(!project.has("log.from-burst"));
    // The file has changed: it meets the run anew.
    project.write("log", "mine again\n");
    assert_progress(&project.ok("run -q"), told);
    assert_eq!(project.read("log.from-burst"), "run\nrun\nrun\nrun\n");
    // Once it is sent, it grows as with cargo.
    sandbox.settings("extra_excludes = ['!/log']\n");
    assert_progress(&project.ok("run -q"), "");
    assert_eq!(project.read("log"), "mine again\nrun\n");
}

/// git ignores `log`. Its deletion here is one there, whatever runs have made of it since.
#[test]
fn an_ignored_file_that_the_user_deletes_begins_anew() {
    for runs in [1, 3] {
        let sandbox = sandbox();
        let project = appending(&sandbox);
        project.write("log", "mine\n");
        for _ in 0..runs {
            project.ok("run -q");
        }
        assert_eq!(project.read("log"), "mine\n");
        fs::remove_file(project.root.join("log")).unwrap();
        project.ok("sync");
        assert!(!sandbox.agent_tree(&project.root).join("log").exists());
        for expected in ["run\n", "run\nrun\n"] {
            assert_progress(&project.ok("run -q"), "");
            assert_eq!(project.read("log"), expected);
        }
        fs::remove_file(project.root.join("log")).unwrap();
        assert_progress(&project.ok("run -q"), "");
        assert_eq!(project.read("log"), "run\n");
    }
}

#[test]
fn the_version_beside_a_secret_is_as_secret() {
    let sandbox = sandbox();
    let project = appending(&sandbox);
    project.write("log", "mine\n");
    let set_mode = |mode| fs::set_permissions(project.root.join("log"), mode).unwrap();
    set_mode(fs::Permissions::from_mode(0o600));
    project.ok("run -q");
    let beside = fs::metadata(project.root.join("log.from-burst")).unwrap();
    assert_eq!(beside.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(project.root.join("log.from-burst")).unwrap(), "run\n");
}

/// git does not ignore `notes`: the next command sends the one here.
#[test]
fn a_file_that_the_user_and_a_run_create_is_sent_next_time() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let (started, go_on) = (sandbox.path().join("started"), sandbox.path().join("go-on"));
    project.write(
        "src/main.rs",
        format!("fn main() {{ if let Ok(notes) = std::fs::read_to_string(\"notes\") {{ print!(\"{{notes}}\"); return }} std::fs::write({started:?}, \"\").unwrap(); while !std::path::Path::new({go_on:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }} std::fs::write(\"notes\", \"run\").unwrap(); }}\n"),
    );
    let running = project.start("run -q");
    wait_until("the run", || started.exists());
    project.write("notes", "mine");
    fs::write(&go_on, "").unwrap();
    let found = burst_tests::ended(running.wait_with_output().unwrap());
    assert_eq!(
        found.stderr,
        "warning: `notes` was changed here and by the run: the run's version is in \
         `notes.from-burst`\n"
    );
    let next = project.ok("run -q");
    assert_eq!(next.stdout, "mine");
    assert_progress(&next, "");
}

#[test]
fn a_target_directory_that_is_removed_during_a_build_is_told() {
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
    let shown = project.root.join("target/debug");
    let shown = shown.display();
    burst_tests::assert_explained(
        &found,
        115,
        &format!(
            "error: cargo has finished, but not all of its results are here\n\
             caused by: cannot write `{shown}`\n\
             caused by: No such file or directory (os error 2)\n\
             hint: a directory above `{shown}` was removed meanwhile: run the command again\n"
        ),
    );
    project.ok("build -q");
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
