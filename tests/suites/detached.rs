//! Runs in the background: `--detach`, `attach`, and what `status` says of them.

mod down;
mod limits;
mod on_terminals;
mod records;
mod refusals;
mod waiting;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use burst_tests::{Project, Sandbox, assert_explained, assert_lines, ended, wait_until};
use hetzner_sim::Scenario;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hetzner::{cloud, sandbox_on};
use crate::sandbox;
use crate::terminals::desk::Desk;
use crate::terminals::keyboard::project;

/// `cargo burst OPTIONS --detach run` of a shell script.
fn detaching(project: &Project<'_>, options: &str, script: &str) -> Command {
    let mut command = project.command(&format!("{options} --detach run -q -- sh -c"));
    command.arg(script);
    command
}

/// Detaches a script in pipes, and returns the number of the run.
#[track_caller]
fn detach(project: &Project<'_>, script: &str) -> String {
    let detached = ended(detaching(project, "", script).output().unwrap());
    assert_eq!((detached.code, detached.stderr.as_str()), (Some(0), ""), "{detached:?}");
    let number = detached.stdout.strip_suffix('\n').unwrap();
    assert!(number.parse::<u32>().is_ok(), "{number:?}");
    number.to_owned()
}

/// Detaches a script from a terminal.
#[track_caller]
fn detach_on_terminal(project: &Project<'_>, script: &str) {
    let mut desk = Desk::start(&detaching(project, "-q", script));
    desk.find("\r\n");
    assert!(desk.end().success());
}

/// Detaches a script that says that it is ready and sleeps, and attaches to it.
fn attached_to_sleep(project: &Project<'_>) -> Child {
    detach(project, "echo ready; exec sleep 1000");
    let mut attached = project.start("attach");
    let mut lines = BufReader::new(attached.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    attached
}

fn attach(project: &Project<'_>) -> Desk {
    Desk::start(&project.command("attach"))
}

fn record(sandbox: &Sandbox, number: &str) -> PathBuf {
    sandbox.path().join("state/cargo-burst/runs").join(number)
}

#[track_caller]
fn wait_for_end(sandbox: &Sandbox, number: &str) {
    let end = record(sandbox, number).join("ended.json");
    wait_until("the end of the run", || end.exists());
}

/// Waits until the transcript of a run ends with this text.
#[track_caller]
fn wait_for_output(sandbox: &Sandbox, number: &str, text: &str) {
    let transcript = record(sandbox, number).join("output-0");
    wait_until("the output", || std::fs::read(&transcript).unwrap().ends_with(text.as_bytes()));
}

/// A file for which scripts wait, and the text of that wait.
fn gate(sandbox: &Sandbox) -> (PathBuf, String) {
    let path = sandbox.path().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done", path.display());
    (path, wait)
}

fn open(gate: &Path) {
    std::fs::write(gate, "").unwrap();
}

/// The process that holds a run.
fn holder(sandbox: &Sandbox, number: &str) -> Pid {
    let record = record(sandbox, number);
    let holders = processes("cargo-burst-holder", sandbox);
    let is_its = |process: &&Pid| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap();
        line.split(|byte| *byte == 0).nth(1) == Some(record.as_os_str().as_encoded_bytes())
    };
    *holders.iter().find(is_its).expect("a holder")
}

/// The processes of a sandbox that have this name.
fn processes(name: &str, sandbox: &Sandbox) -> Vec<Pid> {
    let contains = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|found| found == part);
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let found = entries.filter(|process| {
        let read = |name| std::fs::read(process.join(name)).unwrap_or_default();
        read("cmdline").split(|byte| *byte == 0).next() == Some(name.as_bytes())
            && contains(&read("environ"), sandbox.path().as_os_str().as_encoded_bytes())
    });
    found
        .filter_map(|process| Some(Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?)))
        .collect()
}

#[test]
fn a_detached_run_goes_on_alone_and_its_results_arrive() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    std::fs::remove_file(project.root.join("target/debug/hello")).unwrap();
    let number = detach(&project, &format!("echo begun; {wait}; echo over; exit 5"));
    assert_eq!(number, "1");
    let status = project.ok("status").stdout;
    assert_lines(
        status.lines().last().unwrap(),
        &format!(
            "detached run 1: `cargo run -q -- sh -c echo begun; {wait}; echo over; exit 5` of {}, \
             running for [..]; `cargo burst attach 1` shows it",
            project.root.display()
        ),
    );
    open(&gate);
    wait_for_end(&sandbox, "1");
    assert!(project.has("target/debug/hello"));
    let status = project.ok("status").stdout;
    assert_lines(
        status.lines().last().unwrap(),
        "detached run 1: `[..]` of [..], ended [..] ago with code 5, not shown yet; `cargo burst \
         attach 1` shows it",
    );
    // Without a number it is the one that was not shown yet.
    let shown = project.burst("attach");
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(5), "begun\nover\n"), "{shown:?}");
    assert!(!project.ok("status").stdout.contains("detached run"));
    assert_explained(
        &project.burst("attach"),
        2,
        "error: no detached run is running, and the end of each one of this workspace was shown\n\
         hint: `cargo burst --detach VERB` starts one, `cargo burst attach NUMBER` shows an earlier \
         one; what was started without `--detach` stays in its terminal",
    );
    let again = project.burst("attach 1");
    assert_eq!((again.code, again.stdout.as_str()), (Some(5), "begun\nover\n"), "{again:?}");
    let document: serde_json::Value =
        serde_json::from_str(&project.ok("status --json").stdout).unwrap();
    let run = &document["runs"][0];
    assert_eq!(
        [&run["number"], &run["exit_code"], &run["shown"], &run["terminal"]],
        [&serde_json::json!(1), &serde_json::json!(5), &true.into(), &false.into()],
    );
}

#[test]
fn a_script_gets_the_number_and_a_user_a_line() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let told = ended(project.command("--detach run -- true").output().unwrap());
    let line = "burst: run 1 is detached: `cargo burst attach 1` shows it";
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "1\n"));
    assert_eq!(told.stderr, format!("{line}\n"));
    let mut desk = Desk::start(&project.command("run --detach -- true"));
    desk.expect(&line.replace('1', "2"));
    desk.expect("\r\n");
    assert!(desk.end().success());
    for number in ["1", "2"] {
        assert_eq!(project.burst(&format!("attach {number}")).code, Some(0));
    }
}

#[test]
fn output_is_shown_once_and_in_order_and_streams_stay_apart() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    let last = sandbox.path().join("last");
    let shown_too = wait.replace(gate.to_str().unwrap(), last.to_str().unwrap());
    let script = format!(
        "seq 1 1000; echo error >&2; {wait}; seq 1001 90000; {shown_too}; seq 90001 90100; echo end \
         >&2"
    );
    detach(&project, &script);
    let mut attached = project.start("attach 1");
    let lines = BufReader::new(attached.stdout.take().unwrap()).lines();
    let (send, shown) = mpsc::channel();
    std::thread::spawn(move || lines.for_each(|line| drop(send.send(line.unwrap()))));
    let next =
        || shown.recv_timeout(Duration::from_secs(60)).expect("a line").parse::<u32>().unwrap();
    for number in 1..=90_100 {
        assert_eq!(next(), number);
        match number {
            1000 => open(&gate),
            // Everything is shown while the run goes on.
            90_000 => open(&last),
            _ => {}
        }
    }
    let mut errors = String::new();
    attached.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors.lines().take(2).collect::<Vec<_>>(), ["error", "end"]);
    assert!(attached.wait().unwrap().success());
}

#[test]
fn an_attach_that_shows_nothing_stops_nothing() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    // More than pipes and sockets hold.
    detach(&project, &format!("echo ready; {wait}; seq 1 300000; exit 8"));
    let mut attached = project.start("attach");
    let mut lines = BufReader::new(attached.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    open(&gate);
    wait_for_end(&sandbox, "1");
    let shown: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(shown.len(), 300_000);
    assert_eq!((shown[0].as_str(), shown[299_999].as_str()), ("1", "300000"));
    assert_eq!(attached.wait().unwrap().code(), Some(8));
}

#[test]
fn a_signal_reaches_the_run_and_ends_attach() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let mut attached = attached_to_sleep(&project);
    kill(Pid::from_raw(attached.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(attached.wait().unwrap().signal(), Some(2));
    let later = ended(project.command("attach 1").output().unwrap());
    assert_eq!((later.code, later.stdout.as_str()), (None, "ready\n"));
}

#[test]
fn a_run_ends_with_its_holder() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let script = "trap '' HUP INT TERM; echo ready; while :; do sleep 1; done";
    let runs = || {
        let text = project.ok("status --json").stdout;
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    for number in ["1", "2"] {
        match number {
            "1" => drop(detach(&project, script)),
            _ => detach_on_terminal(&project, script),
        }
        let mut attached = project.start("attach");
        let mut lines = BufReader::new(attached.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap().trim_end(), "ready");
        kill(holder(&sandbox, number), Signal::SIGKILL).unwrap();
        let output = attached.wait_with_output().unwrap();
        assert_explained(
            &ended(output),
            114,
            &format!(
                "error: run {number} was lost: the process that held it is gone, and so is the run; how \
                 it ended is not recorded\nhint: start it again; what it had changed comes back with \
                 the next command of its workspace"
            ),
        );
        wait_until("the end of the command", || {
            processes("cargo-burst-detached", &sandbox).is_empty()
        });
        wait_until("the end of the program", || {
            runs()["local"]["projects"][0]["runs"] == serde_json::json!([])
        });
        assert_eq!(runs()["runs"][0]["state"], "lost");
        assert_eq!(project.burst(&format!("attach {number}")).code, Some(114));
    }
}

#[test]
fn a_killed_attach_changes_nothing_and_the_holders_signals_are_the_commands() {
    // A path that is too long for a socket.
    let sandbox = sandbox();
    let state = sandbox.path().join("s".repeat(100));
    std::fs::create_dir(&state).unwrap();
    let sandbox = sandbox.with("XDG_STATE_HOME", &state);
    let project = project(&sandbox);
    let mut attached = attached_to_sleep(&project);
    attached.kill().unwrap();
    attached.wait().unwrap();
    let mut attached = project.start("attach");
    let mut lines = BufReader::new(attached.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let holders = processes("cargo-burst-holder", &sandbox);
    assert_eq!(holders.len(), 1);
    kill(holders[0], Signal::SIGTERM).unwrap();
    assert_eq!(attached.wait().unwrap().signal(), Some(15));
    project.ok("down --yes");
}

#[test]
fn runs_at_once_have_numbers_of_their_own() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (gate, wait) = gate(&sandbox);
    let mut starting: Vec<_> = ["one", "two", "three"]
        .map(|name| {
            let mut command = detaching(&project, "", &format!("echo {name}; {wait}"));
            (name, command.stdout(Stdio::piped()).spawn().unwrap())
        })
        .into();
    let numbers: Vec<(&str, String)> = starting
        .drain(..)
        .map(|(name, child)| {
            let output = ended(child.wait_with_output().unwrap());
            (name, output.stdout.trim_end().to_owned())
        })
        .collect();
    let found: BTreeSet<&str> = numbers.iter().map(|(_, number)| number.as_str()).collect();
    assert_eq!(found, BTreeSet::from(["1", "2", "3"]));
    let ambiguous = project.burst("attach");
    assert_explained(
        &ambiguous,
        2,
        "error: several detached runs are running\n\
         caused by: `cargo burst attach 1` shows `[..]` of [..]\n\
         caused by: `cargo burst attach 2` shows `[..]` of [..]\n\
         caused by: `cargo burst attach 3` shows `[..]` of [..]\n\
         hint: name one of them by its number",
    );
    open(&gate);
    for (name, number) in numbers {
        let shown = project.burst(&format!("attach {number}"));
        assert_eq!((shown.code, shown.stdout), (Some(0), format!("{name}\n")));
    }
}

#[test]
fn a_run_on_a_server_is_detached_and_taken_up() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = project(&sandbox);
    std::fs::remove_file(project.root.join("target/debug/hello")).unwrap();
    detach_on_terminal(&project, "echo ready; read x; echo \"got $x\"; exit 6");
    // It goes on without a keeper.
    sandbox.kill_keeper();
    let mut desk = attach(&project);
    desk.find("ready\r\n");
    desk.type_in("x\r");
    desk.find("got x\r\n");
    assert_eq!(desk.leave().code(), Some(6));
    assert!(project.has("target/debug/hello"));
}

#[test]
fn records_are_the_users_alone() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    detach(&project, "echo secret");
    wait_for_end(&sandbox, "1");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let record = record(&sandbox, "1");
    assert_eq!((mode(&record), mode(record.parent().unwrap())), (0o700, 0o700));
    for name in ["run.json", "ended.json", "output-0", "holder.log"] {
        assert_eq!(mode(&record.join(name)), 0o600, "{name}");
    }
}
