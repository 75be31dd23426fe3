//! Runs in the background: `--detach`, `attach`, and what `status` says of them.

mod on_terminals;
mod records;
mod waiting;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use burst_tests::{
    Ended, Project, Sandbox, assert_explained, assert_lines, carry_over, ended, is_root, lacks,
    skip, wait_until,
};
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
    project.ok("down");
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
fn down_names_the_detached_run_that_it_ends_and_is_the_end_in_its_record() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let attached = attached_to_sleep(&project);
    let down = project.burst("down");
    assert_eq!(down.code, Some(0));
    let name = "detached run 1: `cargo run -q -- sh -c echo ready; exec sleep 1000` of";
    assert_eq!(down.stderr, format!("burst: ending {name} {}\n", project.root.display()));
    let told = "error: run 1 was ended by `cargo burst down`\n\
                hint: start it again; what it had changed comes back with the next command of its \
                workspace";
    assert_explained(&ended(attached.wait_with_output().unwrap()), 114, told);
    assert_explained(&project.burst("attach 1"), 114, told);
    let document: serde_json::Value =
        serde_json::from_str(&project.ok("status --json").stdout).unwrap();
    let run = &document["runs"][0];
    assert_eq!([&run["state"], &run["signal"]], [&serde_json::json!("ended"), &().into()]);
    assert_eq!(run["ended_by_down"], true);
    // Nothing is left to be named.
    assert_eq!(project.burst("down").stderr, "");
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
fn down_ends_a_detached_run_on_a_server_and_is_its_end() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = project(&sandbox);
    let attached = attached_to_sleep(&project);
    let down = project.burst("down");
    assert_eq!(down.code, Some(0), "{down:?}");
    assert!(down.stderr.starts_with("burst: ending detached run 1: `cargo run -q "), "{down:?}");
    let shown = ended(attached.wait_with_output().unwrap());
    assert_explained(
        &shown,
        114,
        "error: run 1 was ended by `cargo burst down`\n\
         hint: start it again; what it had changed comes back with the next command of its workspace",
    );
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

#[test]
fn what_attach_does_not_take_is_explained() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let refused = |arguments: &str| project.burst(arguments);
    for option in ["-q", "--verbose"] {
        assert_explained(
            &refused(&format!("attach {option}")),
            2,
            &format!(
                "error: unexpected argument `{option}` behind `attach`\n\
                 hint: it stands before the verb: `cargo burst {option} attach`"
            ),
        );
    }
    let json = refused("attach --json 99");
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["error"]["message"], "unexpected argument `--json` behind `attach`");
    assert_explained(
        &json,
        2,
        "error: unexpected argument `--json` behind `attach`\n\
         hint: `cargo burst status --json` tells how detached runs have ended",
    );
    let wrong = refused("attach abc");
    let expected = "error: invalid value 'abc' for '[NUMBER]': it is no number of a run; `cargo burst \
                    status --json` lists them";
    assert_eq!((wrong.code, wrong.stderr.lines().next()), (Some(2), Some(expected)));
}

#[test]
fn what_cannot_be_detached_is_refused_at_once() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let refused = |arguments: &str| project.burst(arguments);
    assert_explained(
        &refused("--detach fmt"),
        2,
        "error: `fmt` takes none of the options of cargo verbs\n\
         hint: it runs on this machine and cannot be detached: `cargo burst fmt`, with `&` behind it \
         in a shell to go on meanwhile",
    );
    let nothing = refused("--detach");
    assert_eq!(nothing.stdout, "");
    assert_explained(
        &nothing,
        2,
        "error: `--detach` stands before a verb, and there is none\n\
         hint: usage: `cargo burst --detach VERB`; `cargo burst help` lists the verbs",
    );
    assert_explained(
        &ended(sandbox.burst_command(sandbox.path(), "attach").output().unwrap()),
        2,
        "error: no detached run is running, and none was started in a workspace of this directory\n\
         hint: `cargo burst attach NUMBER` shows one of another workspace, `cargo burst status --json` \
         lists those that are kept; `cargo burst --detach VERB` starts one",
    );
    assert_explained(
        &refused("--detach status"),
        2,
        "error: `status` takes none of the options of cargo verbs\n\
         hint: `cargo burst help status` shows its options",
    );
    let mut inside = project.command("--detach build");
    assert_explained(
        &ended(inside.env("CARGO_BURST_INSIDE", "1").output().unwrap()),
        2,
        "error: `--detach` is not available inside a run\n\
         hint: detach the whole run on the machine that starts it, or use `&` in a shell",
    );
    let mut wrong = project.command("--detach build");
    let wrong: Ended = ended(wrong.env("CARGO_BURST_KEEP_ALIVE_SECS", "x").output().unwrap());
    assert_eq!(wrong.code, Some(111), "{wrong:?}");
    let nowhere = ended(sandbox.burst_command(sandbox.path(), "--detach build").output().unwrap());
    assert_eq!(nowhere.code, Some(101), "{nowhere:?}");
    assert!(!record(&sandbox, "1").exists());
    assert_explained(
        &refused("attach 7"),
        2,
        "error: there is no detached run 7\n\
         hint: `cargo burst status --json` lists those that are kept",
    );
}

/// What the transcript cannot hold is counted, and the exit code is not lost.
#[test]
fn a_full_disk_loses_output_alone() {
    if lacks(&["unshare"]) {
        return;
    }
    if !is_root() {
        return skip("needs root, to mount a small disk");
    }
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.ok("run -q -- true");
    let runs = sandbox.path().join("state/cargo-burst/runs");
    std::fs::create_dir_all(&runs).unwrap();
    let script = "yes 0123456789 | head -c 3000000; exit 9";
    let inner = detaching(&project, "", script);
    let mut outer = Command::new("unshare");
    // Seen by these processes alone; the disk ends with them.
    outer.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs -o size=1m none \"$1\" && shift && id=$(\"$@\") && exec \"$1\" burst attach $id",
        "sh",
    ]);
    outer.arg(&runs).arg(inner.get_program());
    carry_over(&mut outer, &inner);
    let shown = ended(outer.output().unwrap());
    assert_eq!(shown.code, Some(9), "{}", shown.stderr);
    assert!(shown.stdout.starts_with("0123456789\n"));
    assert!(shown.stderr.contains(" of the output could not be recorded"), "{}", shown.stderr);
}

/// A limit of the size of files is no end of the holder.
#[test]
fn a_limit_of_file_sizes_loses_output_alone() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.ok("run -q -- true");
    let script = "yes 0123456789 | head -c 3000000; exit 9";
    let inner = detaching(&project, "", script);
    let mut outer = Command::new("bash");
    // In units of 1024 bytes.
    outer.args(["-c", "ulimit -f 1000 && id=$(\"$@\") && exec \"$1\" burst attach $id", "bash"]);
    outer.arg(inner.get_program());
    carry_over(&mut outer, &inner);
    let shown = ended(outer.output().unwrap());
    assert_eq!(shown.code, Some(9), "{}", shown.stderr);
    assert!(shown.stderr.contains(" of the output could not be recorded"), "{}", shown.stderr);
}
