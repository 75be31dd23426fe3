//! Records of detached runs that are not what they were written as, and holders in need.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use burst_tests::{assert_explained, assert_lines, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::{detach, detaching, gate, holder, open, record, wait_for_end, wait_for_output};
use crate::sandbox;
use crate::terminals::keyboard::project;

fn fifo(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

/// The lines of `status` about detached runs.
fn listed(status: &str) -> Vec<&str> {
    status.lines().filter(|line| line.starts_with("detached run")).collect()
}

#[test]
fn what_is_no_record_neither_breaks_nor_hangs_and_no_link_is_followed() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    assert_eq!(detach(&project, "echo one"), "1");
    wait_for_end(&sandbox, "1");
    let runs = record(&sandbox, "1").parent().unwrap().to_owned();
    // The user's own, with a file of that name.
    let elsewhere = sandbox.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("run.json"), "{}").unwrap();
    symlink(&elsewhere, runs.join("3")).unwrap();
    std::fs::write(runs.join("4"), "").unwrap();
    fifo(&runs.join("5"));
    std::fs::create_dir(runs.join("name")).unwrap();
    for (number, name) in [("6", "run.json"), ("7", "lock"), ("8", "fifo")] {
        std::fs::create_dir(runs.join(number)).unwrap();
        fifo(&runs.join(number).join(name));
    }
    for name in ["run.json", "ended.json", "output-0"] {
        std::fs::copy(record(&sandbox, "1").join(name), runs.join("7").join(name)).unwrap();
    }
    // Numbers go on behind whatever has one; what was left without a record is deleted.
    assert_eq!(detach(&project, "echo eight"), "8");
    wait_for_end(&sandbox, "8");
    let shown = project.burst("attach 8");
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "eight\n"));
    let shown = project.burst("attach 7");
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "one\n"));
    assert!(elsewhere.join("run.json").exists());
    assert!(runs.join("3").is_symlink() && !runs.join("8/fifo").exists());
    let status = project.ok("status").stdout;
    let lines = listed(&status);
    let unreadable = format!(
        "detached run 6: its record cannot be read (`run.json`: it is no regular file); `{}` is kept",
        runs.join("6").display()
    );
    assert_eq!((lines.len(), lines[1]), (2, unreadable.as_str()));
}

#[test]
fn a_record_of_a_later_version_is_kept_with_its_transcript() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo one");
    wait_for_end(&sandbox, "1");
    let started = record(&sandbox, "1").join("run.json");
    let text = std::fs::read_to_string(&started).unwrap();
    assert!(text.starts_with("{\"version\":1,"), "{text}");
    std::fs::write(&started, text.replace("\"version\":1", "\"version\":2")).unwrap();
    assert_eq!(detach(&project, "true"), "2");
    let kept = record(&sandbox, "1");
    assert!(kept.join("output-0").exists() && started.exists());
    assert_explained(
        &project.burst("attach 1"),
        123,
        &format!(
            "error: the record of detached run 1 cannot be read\n\
             caused by: `run.json`: another version of cargo-burst wrote it (2)\n\
             hint: it is kept in `{}`: read it with the version that wrote it, or delete it",
            kept.display()
        ),
    );
    let document: serde_json::Value =
        serde_json::from_str(&project.ok("status --json").stdout).unwrap();
    assert_eq!(document["unreadable_runs"][0]["number"], 1);
}

#[test]
fn an_end_that_cannot_be_read_is_not_invented() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo one");
    wait_for_end(&sandbox, "1");
    let end = record(&sandbox, "1").join("ended.json");
    wait_until("the end of the holder", || {
        super::processes("cargo-burst-holder", &sandbox).is_empty()
    });
    let text = std::fs::read(&end).unwrap();
    std::fs::write(&end, &text[..text.len() / 2]).unwrap();
    let status = project.ok("status").stdout;
    assert_lines(
        listed(&status)[0],
        "detached run 1: `[..]` of [..], started [..] ago, has ended: how cannot be read; `cargo \
         burst attach 1` shows it",
    );
    let shown = project.burst("attach");
    assert_eq!(shown.stdout, "one\n");
    assert_explained(
        &shown,
        114,
        &format!(
            "error: run 1 has ended, but the record of its end cannot be read\n\
             hint: its output is complete; look at `{}`, or start it again",
            end.display()
        ),
    );
}

#[test]
fn an_attach_that_a_signal_ends_says_that_the_run_goes_on() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo ready; exec sleep 1000");
    for (signal, number) in [(Signal::SIGTERM, 15), (Signal::SIGHUP, 1)] {
        // Also where nothing else of ours is printed.
        let mut attached = project.start(if number == 1 { "attach" } else { "-q attach" });
        let mut ready = [0; 6];
        attached.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        kill(Pid::from_raw(attached.id().cast_signed()), signal).unwrap();
        let output = attached.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text, "burst: run 1 goes on: `cargo burst attach 1` shows it again\n");
    }
    project.ok("down --yes");
}

/// One file here is one pipe there: the order is exact, and nothing is on the other stream.
#[test]
fn streams_that_are_one_file_keep_their_order() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "for n in $(seq 1 1000); do echo $n; echo $n >&2; done";
    let file = sandbox.path().join("started");
    let out = std::fs::File::create(&file).unwrap();
    let mut command = detaching(&project, "-q", script);
    let command = command.stdout(out.try_clone().unwrap()).stderr(out);
    assert!(command.status().unwrap().success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n");
    let shown = project.burst("attach 1");
    let expected: String = (1..=1000).map(|n| format!("{n}\n{n}\n")).collect();
    assert_eq!((shown.code, shown.stderr.lines().count()), (Some(0), 0), "{shown:?}");
    assert!(shown.stdout.starts_with(&expected));
}

/// A holder without a free descriptor sleeps, and accepts once it has one.
#[test]
fn a_holder_that_cannot_accept_does_not_spin() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    detach(&project, &format!("echo ready; {wait}; exit 7"));
    let holder = holder(&sandbox, "1");
    let limit = |descriptors: &str| {
        let mut command = std::process::Command::new("prlimit");
        let process = holder.to_string();
        command.args(["--pid", &process, &format!("--nofile={descriptors}")]);
        assert!(command.status().unwrap().success());
    };
    // Up to the lowest one that is free.
    let descriptors = || std::fs::read_dir(format!("/proc/{holder}/fd")).unwrap().flatten();
    let used: Vec<_> =
        descriptors().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let free = (0..).find(|number: &u32| !used.contains(&number.to_string())).unwrap();
    limit(&format!("{free}:1000"));
    let waiting = UnixStream::connect(record(&sandbox, "1").join("socket")).unwrap();
    // A process that fails to accept again and again never sleeps.
    let sleeps = || {
        let text = std::fs::read_to_string(format!("/proc/{holder}/stat")).unwrap();
        text.rsplit(") ").next().unwrap().starts_with('S')
    };
    wait_until("the sleep of the holder", sleeps);
    limit("1000:1000");
    drop(waiting);
    open(&gate);
    assert_eq!(project.burst("attach 1").code, Some(7));
}

/// Its loss was not seen before, however long ago it began.
#[test]
fn a_lost_run_that_began_long_ago_is_shown() {
    const DAYS: i64 = 31;
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo one; exec sleep 1000");
    wait_for_output(&sandbox, "1", "one\n");
    let path = record(&sandbox, "1").join("run.json");
    let mut started: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    started["at"] = (started["at"].as_i64().unwrap() - DAYS * 24 * 60 * 60).into();
    std::fs::write(&path, started.to_string()).unwrap();
    kill(holder(&sandbox, "1"), Signal::SIGKILL).unwrap();
    wait_until("the end of the holder", || {
        super::processes("cargo-burst-holder", &sandbox).is_empty()
    });
    let offered = || {
        let status = project.ok("status").stdout;
        listed(&status).iter().any(|line| line.ends_with("`cargo burst attach 1` shows it"))
    };
    assert!(offered());
    // Also the start of another run leaves it.
    detach(&project, "true");
    wait_for_end(&sandbox, "2");
    assert!(offered());
    for _ in 0..2 {
        let shown = project.burst("attach 1");
        assert_eq!((shown.code, shown.stdout.as_str()), (Some(114), "one\n"), "{shown:?}");
    }
    // Once its time is over it is shown a last time: it is asked for.
    let over = record(&sandbox, "1").join("over");
    let noticed: i64 = std::fs::read_to_string(&over).unwrap().trim().parse().unwrap();
    std::fs::write(&over, (noticed - DAYS * 24 * 60 * 60).to_string()).unwrap();
    assert_eq!(project.burst("attach 1").stdout, "one\n");
    assert_eq!(project.burst("attach 2").code, Some(0));
    assert!(!record(&sandbox, "1").exists());
}

/// An earlier build did not record whether both outputs are one.
#[test]
fn a_run_of_an_earlier_build_is_listed_and_ended() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo one; exec sleep 1000");
    wait_for_output(&sandbox, "1", "one\n");
    let path = record(&sandbox, "1").join("run.json");
    let mut started: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(started.as_object_mut().unwrap().remove("one_output"), Some(false.into()));
    std::fs::write(&path, started.to_string()).unwrap();
    let name = format!(
        "detached run 1: `cargo run -q -- sh -c echo one; exec sleep 1000` of {}",
        project.root.display()
    );
    let status = project.ok("status").stdout;
    assert!(listed(&status)[0].starts_with(&format!("{name}, running for ")), "{status}");
    assert_eq!(project.ok("down --yes").stderr, format!("burst: ending {name}\n"));
    wait_for_end(&sandbox, "1");
    let shown = project.burst("attach 1");
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(114), "one\n"), "{shown:?}");
}
