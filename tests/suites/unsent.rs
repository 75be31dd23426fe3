//! Files that git ignores, and so are not sent, while runs make versions of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Child;

use burst_tests::{Ended, Project, Sandbox, assert_progress, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::histories::assert_same_tree;
use crate::sandbox;
use crate::together::heard_waiting_for;

/// Does what its arguments say, one after the other.
const PROGRAM: &str = r#"use std::fs;
use std::io::Write;
use std::path::Path;

fn main() {
    for argument in std::env::args().skip(1) {
        let (act, what) = argument.split_once(':').unwrap();
        let (path, text) = what.split_once('=').unwrap_or((what, ""));
        match act {
            "append" => {
                let file = fs::OpenOptions::new().append(true).create(true).open(path);
                writeln!(file.unwrap(), "run").unwrap();
            }
            "write" => {
                fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            "link" => std::os::unix::fs::symlink(text, path).unwrap(),
            "print" => print!("{}", fs::read_to_string(path).unwrap_or("none".into())),
            "lines" => print!("{}", "line\n".repeat(path.parse().unwrap())),
            "hold" => {
                fs::write(format!("PLACE/{path}-started"), "").unwrap();
                while !Path::new(&format!("PLACE/{path}-go")).exists() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            _ => unreachable!(),
        }
    }
}
"#;

/// git ignores `log` and what is in `ignored`.
fn project(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.hello("app");
    project.ignore("/target\n/log\n/ignored/*\n");
    let place = sandbox.path().to_str().unwrap();
    project.write("src/main.rs", PROGRAM.replace("PLACE", place));
    project
}

/// What is told of `log`.
fn told(beside: &str) -> String {
    format!(
        "warning: `log` is here and not sent, so the run has made its own: it is in `{beside}`; \
         until the one here changes or is deleted, further versions stay on the agent\n"
    )
}

/// Starts a run whose program holds.
fn hold(project: &Project<'_>, arguments: &str) -> Child {
    let command = project.start(&format!("run -q hold:one {arguments}"));
    wait_until("the program", || project.sandbox.path().join("one-started").exists());
    command
}

/// Lets the program go on.
fn release(project: &Project<'_>, command: Child) -> Ended {
    fs::write(project.sandbox.path().join("one-go"), "").unwrap();
    let found = ended(command.wait_with_output().unwrap());
    for name in ["one-started", "one-go"] {
        fs::remove_file(project.sandbox.path().join(name)).unwrap();
    }
    found
}

fn remove(project: &Project<'_>, path: &str) {
    fs::remove_file(project.root.join(path)).unwrap();
}

#[test]
fn an_ignored_file_that_a_run_made_grows_as_with_cargo() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for expected in ["run\n", "run\nrun\n", "run\nrun\nrun\n"] {
        assert_progress(&project.ok("run -q append:log"), "");
        assert_eq!(project.read("log"), expected);
    }
    project.write("log", "mine\n");
    assert_progress(&project.ok("run -q append:log"), "");
    assert_eq!(project.read("log"), "mine\nrun\n");
    assert!(!project.has("log.from-burst"));
}

#[test]
fn an_ignored_file_that_was_here_before_meets_a_run_once() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.write("log", "mine\n");
    assert_progress(&project.ok("run -q append:log"), &told("log.from-burst"));
    assert_eq!(
        (project.read("log"), project.read("log.from-burst")),
        ("mine\n".into(), "run\n".into())
    );
    assert_progress(&project.ok("run -q append:log"), "");
    assert_eq!(project.read("log.from-burst"), "run\n");
    remove(&project, "log.from-burst");
    assert_progress(&project.ok("run -q append:log"), "");
    assert!(!project.has("log.from-burst"));
    // The file has changed: it meets the run anew.
    project.write("log", "mine again\n");
    assert_progress(&project.ok("run -q append:log"), &told("log.from-burst"));
    assert_eq!(project.read("log.from-burst"), "run\nrun\nrun\nrun\n");
    // Once it is sent, it grows as with cargo.
    sandbox.settings("extra_excludes = ['!/log']\n");
    assert_progress(&project.ok("run -q append:log"), "");
    assert_eq!(project.read("log"), "mine again\nrun\n");
}

/// git ignores `log`. Its deletion here is one there, whatever runs have made of it since.
#[test]
fn an_ignored_file_that_the_user_deletes_begins_anew() {
    for runs in [1, 3] {
        let sandbox = sandbox();
        let project = project(&sandbox);
        project.write("log", "mine\n");
        for _ in 0..runs {
            project.ok("run -q append:log");
        }
        assert_eq!(project.read("log"), "mine\n");
        remove(&project, "log");
        project.ok("sync");
        assert!(!sandbox.agent_tree(&project.root).join("log").exists());
        for expected in ["run\n", "run\nrun\n"] {
            assert_progress(&project.ok("run -q append:log"), "");
            assert_eq!(project.read("log"), expected);
        }
        remove(&project, "log");
        assert_progress(&project.ok("run -q append:log"), "");
        assert_eq!(project.read("log"), "run\n");
    }
}

#[test]
fn a_version_beside_a_secret_is_as_secret() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let secret = |path: &str| {
        project.write(path, "mine\n");
        fs::set_permissions(project.root.join(path), Permissions::from_mode(0o600)).unwrap();
    };
    secret("log");
    secret("ignored/secret");
    symlink("secret", project.root.join("ignored/link")).unwrap();
    project.ok("run -q append:log append:ignored/link");
    for path in ["log.from-burst", "ignored/link.from-burst"] {
        let beside = fs::metadata(project.root.join(path)).unwrap();
        assert_eq!(beside.permissions().mode() & 0o777, 0o600, "{path}");
        assert_eq!(project.read(path), "run\n");
    }
}

/// The next command knows of it, whatever the one that ran meanwhile has met.
#[test]
fn an_ignored_file_that_is_deleted_during_a_run_begins_anew() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.write("log", "mine\n");
    project.ok("run -q append:log");
    let command = hold(&project, "write:other=text");
    remove(&project, "log");
    assert_progress(&release(&project, command), "");
    assert_eq!(project.read("other"), "text");
    assert_eq!(project.ok("run -q print:log").stdout, "none");
}

#[test]
fn an_ignored_file_that_is_deleted_and_written_again_is_told_anew() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for _ in 0..2 {
        project.write("log", "mine\n");
        assert_progress(&project.ok("run -q append:log"), &told("log.from-burst"));
        assert_eq!(project.read("log.from-burst"), "run\n");
        remove(&project, "log");
        remove(&project, "log.from-burst");
        project.ok("sync");
    }
}

/// From then on the file is one that a run has made.
#[test]
fn a_version_of_a_run_that_the_user_puts_in_its_place_grows_as_with_cargo() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.write("log", "mine\n");
    assert_progress(&project.ok("run -q append:log"), &told("log.from-burst"));
    assert_progress(&project.ok("run -q append:log"), "");
    fs::rename(project.root.join("log.from-burst"), project.root.join("log")).unwrap();
    for expected in ["run\nrun\n", "run\nrun\nrun\n"] {
        assert_progress(&project.ok("run -q append:log"), "");
        assert_eq!(project.read("log"), expected);
    }
    assert_same_tree(&project);
}

/// The run makes the same file again, and its command is killed.
#[test]
fn what_a_killed_run_makes_where_a_file_was_deleted_comes() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.write("log", "mine\n");
    project.ok("run -q write:log=run");
    remove(&project, "log");
    let mut command = project.start("run -q write:log=run hold:one");
    wait_until("the program", || sandbox.path().join("one-started").exists());
    kill(Pid::from_raw(command.id().cast_signed()), Signal::SIGKILL).unwrap();
    command.wait().unwrap();
    project.ok("check -q");
    assert_eq!(project.read("log"), "run");
    assert_same_tree_but_beside(&project);
}

/// A version beside a file is here only.
fn assert_same_tree_but_beside(project: &Project<'_>) {
    remove(project, "log.from-burst");
    assert_same_tree(project);
}

/// A run that needs the same sources would find the file of before.
#[test]
fn a_command_after_a_deletion_waits_for_an_active_run() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.write("log", "mine\n");
    project.ok("run -q append:log");
    let active = hold(&project, "");
    remove(&project, "log");
    let mut second = project.start("-v run -q append:log");
    let reading = heard_waiting_for("run -q hold:one", &mut second);
    assert_progress(&release(&project, active), "");
    assert_eq!(ended(second.wait_with_output().unwrap()).code, Some(0));
    reading.join().unwrap().unwrap();
    assert_eq!(project.read("log"), "run\n");
}

/// What is here is a file, and the run makes a directory and a link of these names; or a link.
#[test]
fn other_kinds_of_entries_begin_anew_as_well() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for name in ["file", "other"] {
        project.write(&format!("ignored/{name}"), "mine\n");
    }
    symlink("elsewhere", project.root.join("ignored/link")).unwrap();
    let run =
        "run -q write:ignored/file/below=run link:ignored/other=target write:ignored/link=run";
    let stays = "but the one here is not sent: it is left as it is, and the run's stays on the \
                 agent until it changes or is deleted here";
    assert_progress(
        &project.ok(run),
        &format!(
            "warning: `ignored/file/below` was made by the run below a path that is no directory \
             here, {stays}\n\
             warning: `ignored/other` was made a link to another path by the run, {stays}\n\
             warning: `ignored/link` is here and not sent, so the run has made its own: it is in \
             `ignored/link.from-burst`; until the one here changes or is deleted, further versions \
             stay on the agent\n"
        ),
    );
    assert_progress(&project.ok("run -q append:ignored/link append:ignored/file/below"), "");
    for name in ["file", "other", "link"] {
        remove(&project, &format!("ignored/{name}"));
    }
    assert_progress(&project.ok(run), "");
    assert_eq!(project.read("ignored/file/below"), "run");
    assert_eq!(project.read("ignored/link"), "run");
    assert_eq!(fs::read_link(project.root.join("ignored/other")).unwrap().to_str(), Some("target"));
}

/// The directory behind a link of the user is none of the workspace.
#[test]
fn what_a_run_makes_below_an_ignored_link_goes_with_the_link() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let link = project.root.join("ignored/data");
    fs::create_dir_all(project.root.join("ignored")).unwrap();
    fs::create_dir(sandbox.path().join("real")).unwrap();
    symlink(sandbox.path().join("real"), &link).unwrap();
    project.ok("run -q write:ignored/data/out=run");
    assert_eq!(project.ok("run -q print:ignored/data/out").stdout, "run");
    remove(&project, "ignored/data");
    assert_eq!(project.ok("run -q print:ignored/data/out").stdout, "none");
    assert_progress(&project.ok("run -q write:ignored/data/out=run"), "");
    assert_eq!(project.read("ignored/data/out"), "run");
}

/// git ignores neither. Both are created while the run creates them, too.
#[test]
fn files_that_the_user_and_a_run_create_are_the_users_next_time() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let command = hold(&project, "write:kept=run write:deleted=run");
    project.write("kept", "mine");
    project.write("deleted", "mine");
    let told = |name: &str| {
        format!(
            "warning: `{name}` was changed here and by the run: the run's version is in \
             `{name}.from-burst`\n"
        )
    };
    let mut found = release(&project, command);
    let mut lines: Vec<&str> = found.stderr.split_inclusive('\n').collect();
    lines.sort_unstable();
    found.stderr = lines.concat();
    assert_progress(&found, &(told("deleted") + &told("kept")));
    remove(&project, "deleted");
    let next = project.ok("run -q print:kept print:deleted");
    assert_eq!(next.stdout, "minenone");
    assert_progress(&next, "");
}

/// cargo reads `Cargo.lock`, so it is sent although git ignores it.
#[test]
fn an_ignored_file_that_is_sent_is_not_called_unsent() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.ignore("/target\n/Cargo.lock\n");
    project.ok("build -q");
    let lock = project.read("Cargo.lock");
    remove(&project, "Cargo.lock");
    let command = hold(&project, "");
    project.write("Cargo.lock", format!("{lock}\n"));
    assert_progress(
        &release(&project, command),
        "warning: `Cargo.lock` was changed here and by the run: the run's version is in \
         `Cargo.lock.from-burst`\n",
    );
}
