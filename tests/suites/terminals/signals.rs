//! Signals that are sent to `cargo burst run`, whose program is to learn of them as from plain
//! cargo, with which each test is tried, too.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burst_tests::{Project, Sandbox, carry_over, lacks, wait_until};
use nix::sys::signal::Signal;

use super::desk::Desk;
use super::keyboard::project;
use super::shared::{RUNNERS, Runner};
use super::{is_full, send};
use crate::sandbox;

/// A script that logs the signals of a program and of its child, each until it is told to end.
const LOGS: &str = r#"log() { echo "$1" >>"$DIRECTORY/log"; }
follow() {
    for kind in TERM HUP INT USR1 USR2 WINCH; do trap "log '$1 $kind'" $kind; done
    log "$1 ready"
    until test -e "$DIRECTORY/$1"; do sleep 0.01; done
    log "$1 ends"
}
DIRECTORY=$1
(follow child) &
until test -s "$DIRECTORY/log"; do sleep 0.01; done
follow program
until wait; do :; done
"#;

/// What the script of [`LOGS`] has logged, and how it is told to end.
struct Log(PathBuf);

impl Log {
    fn new(sandbox: &Sandbox) -> Self {
        let directory = sandbox.path().join("log");
        drop(std::fs::remove_dir_all(&directory));
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, line: &str) {
        wait_until(line, || self.lines().iter().any(|found| found == line));
    }

    /// Ends the child, then the program. Returns what was logged after both were ready.
    fn end(&self) -> Vec<String> {
        for process in ["child", "program"] {
            std::fs::write(self.0.join(process), "").unwrap();
            self.wait_for(&format!("{process} ends"));
        }
        let mut lines = self.lines().split_off(2);
        lines.retain(|line| !line.ends_with(" ends"));
        lines.sort();
        lines
    }
}

/// Starts a line of bash without a terminal, as the leader of a session.
fn start(runner: Runner, project: &Project<'_>, directory: &Path, before: &str) -> Child {
    let run = match runner {
        Runner::Cargo => "exec cargo run -q -- bash logs.sh",
        Runner::Burst => "exec \"$burst\" burst -q run -q -- bash logs.sh",
    };
    project.write("logs.sh", LOGS);
    let line = format!("{before}{run} {}", directory.display());
    let shell = runner.shell(project, &line);
    let mut session = Command::new("setsid");
    session.arg(shell.get_program());
    carry_over(&mut session, &shell);
    session.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_signal_to_the_command_is_the_programs_alone() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for kind in
        [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH]
    {
        let name = &kind.as_str()["SIG".len()..];
        for runner in RUNNERS {
            let log = Log::new(&sandbox);
            let mut command = start(runner, &project, &log.0, "");
            log.wait_for("program ready");
            send(&command, kind);
            log.wait_for(&format!("program {name}"));
            assert_eq!(log.end(), [format!("program {name}")], "{runner:?}");
            assert!(command.wait().unwrap().success(), "{runner:?} {name}");
        }
    }
}

#[test]
fn a_signal_that_a_program_does_not_handle_ends_the_command() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let begun = sandbox.path().join("begun");
    let script = format!("touch {}; exec sleep 1000", begun.display());
    for kind in [Signal::SIGTERM, Signal::SIGUSR1] {
        let mut command = project.command("-q run -q -- sh -c").arg(&script).spawn().unwrap();
        wait_until("the run", || begun.exists());
        send(&command, kind);
        assert_eq!(command.wait().unwrap().signal(), Some(kind as i32));
        std::fs::remove_file(&begun).unwrap();
    }
}

#[test]
fn a_terminal_that_is_closed_tells_every_process_once() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for runner in RUNNERS {
        let log = Log::new(&sandbox);
        project.write("logs.sh", LOGS);
        let line = format!("run bash logs.sh {} </dev/null; :", log.0.display());
        let desk = Desk::start(&runner.shell(&project, &line));
        log.wait_for("program ready");
        let Desk { ours, theirs, mut child, .. } = desk;
        drop((ours, theirs));
        log.wait_for("program HUP");
        log.wait_for("child HUP");
        let mut lines = log.end();
        if runner == Runner::Cargo {
            // The kernel tells it once more when the shell ends.
            lines.dedup();
        }
        assert_eq!(lines, ["child HUP", "program HUP"], "{runner:?}");
        child.wait().unwrap();
    }
}

#[test]
fn signals_that_are_ignored_here_are_ignored_there() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for runner in RUNNERS {
        let log = Log::new(&sandbox);
        let mut command = start(runner, &project, &log.0, "trap '' HUP INT TERM; ");
        log.wait_for("program ready");
        for kind in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            send(&command, kind);
        }
        send(&command, Signal::SIGUSR2);
        log.wait_for("program USR2");
        // A shell does not trap what it was started to ignore.
        assert_eq!(log.end(), ["program USR2"], "{runner:?}");
        assert!(command.wait().unwrap().success(), "{runner:?}");
    }
}

#[test]
fn a_terminal_that_is_closed_does_not_end_what_goes_on() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let (made, gate) = (sandbox.path().join("made"), sandbox.path().join("gate"));
    let script = format!(
        "trap : HUP; echo begun; until test -e {}; do sleep 0.01; done; for n in 1 2 3; do echo $n; \
         sleep 0.1; done; echo ended >{}",
        gate.display(),
        made.display()
    );
    for runner in RUNNERS {
        for before in ["", "trap '' HUP; "] {
            let line = format!("{before}run sh -c '{script}'; :");
            let mut desk = Desk::start(&runner.shell(&project, &line));
            desk.find("begun\r\n");
            let Desk { ours, theirs, mut child, .. } = desk;
            drop((ours, theirs));
            std::fs::write(&gate, "").unwrap();
            wait_until("the end of the program", || made.exists());
            child.wait().unwrap();
            for file in [&made, &gate] {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
}

#[test]
fn a_signal_that_is_ignored_here_reaches_a_program_that_handles_it() {
    if lacks(&["python3"]) {
        return;
    }
    let sandbox = sandbox();
    let project = project(&sandbox);
    let begun = sandbox.path().join("begun");
    let script = "import os, signal, sys, time\n\
                  got = []\n\
                  for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n    \
                  signal.signal(kind, lambda number, _: got.append(number))\n\
                  open(sys.argv[1], \"w\").close()\n\
                  while len(got) < 3: time.sleep(0.01)\n\
                  print(sorted(got))\n\
                  sys.exit(7)\n";
    project.write("handles.py", script);
    for runner in RUNNERS {
        let exec = match runner {
            Runner::Cargo => "exec cargo",
            Runner::Burst => "exec \"$burst\" burst -q",
        };
        let line = format!(
            "trap '' INT TERM HUP; {exec} run -q -- python3 handles.py {}",
            begun.display()
        );
        let mut command = runner.shell(&project, &line).stdout(Stdio::piped()).spawn().unwrap();
        wait_until("the run", || begun.exists());
        for kind in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            send(&command, kind);
        }
        let mut output = String::new();
        command.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert_eq!(output, "[1, 2, 15]\n", "{runner:?}");
        assert_eq!(command.wait().unwrap().code(), Some(7), "{runner:?}");
        std::fs::remove_file(&begun).unwrap();
    }
}

#[test]
fn programs_start_with_the_signals_of_the_command() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    for before in ["", "trap '' INT USR1; "] {
        let [cargo, burst] = RUNNERS.map(|runner| {
            let line = format!("{before}run awk '/Sig(Ign|Blk)/ {{ print $2 }}' /proc/self/status");
            let output = runner.shell(&project, &line).output().unwrap();
            assert!(output.status.success(), "{runner:?} {output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().map(|mask| u64::from_str_radix(mask, 16).unwrap()).collect::<Vec<_>>()
        });
        // Signal 32 is libc's own: this process, not a shell, has had its children ignore it.
        let of_shell: Vec<_> = cargo.into_iter().map(|mask| mask & !(1 << 31)).collect();
        assert_eq!(burst, of_shell, "{before}");
    }
}

#[test]
fn a_parent_that_ignores_the_end_of_children_changes_nothing() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let line = "trap '' CHLD; run sh -c 'true; echo made'";
    let output = Runner::Burst.shell(&project, line).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "made\n", "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_signal_is_heard_though_nobody_reads_the_output() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    // More than a pipe and all windows hold.
    let script = "head -c 4000000 /dev/zero; exec sleep 1000";
    for kind in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut command = project.command("-q run -q -- sh -c");
        let mut command = command.arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let output = command.stdout.take().unwrap();
        wait_until("the pipe is full", || is_full(&output));
        send(&command, kind);
        assert_eq!(command.wait().unwrap().signal(), Some(kind as i32));
    }
}

#[test]
fn output_of_a_program_that_survives_a_signal_is_complete_once_it_is_read() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let begun = sandbox.path().join("begun");
    let script = format!(
        "trap 'head -c 3000000 /dev/zero; exit 7' TERM; \
         sh -c 'touch {}; exec head -c 3000000 /dev/zero'; exit 8",
        begun.display()
    );
    let mut command = project.command("-q run -q -- sh -c");
    let mut command = command.arg(script).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("the run", || begun.exists());
    send(&command, Signal::SIGTERM);
    let mut output = Vec::new();
    command.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    assert_eq!(command.wait().unwrap().code(), Some(7));
    assert_eq!(output.len(), 6_000_000);
}

#[test]
fn output_after_a_signal_is_shown_as_soon_as_it_is_read() {
    const BYTES: usize = 500_000;
    let sandbox = sandbox();
    let project = project(&sandbox);
    let [begun, gate] = ["begun", "gate"].map(|name| sandbox.path().join(name));
    let script = format!(
        "trap 'head -c {BYTES} /dev/zero' HUP; touch {}; until test -e {}; do sleep 0.01; done",
        begun.display(),
        gate.display()
    );
    let mut command = project.command("-q run -q -- sh -c");
    let mut command = command.arg(script).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("the run", || begun.exists());
    send(&command, Signal::SIGHUP);
    let mut output = command.stdout.take().unwrap();
    wait_until("the pipe is full", || is_full(&output));
    let count = Arc::new(AtomicUsize::new(0));
    let reading = std::thread::spawn({
        let count = count.clone();
        move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match output.read(&mut buffer).unwrap() {
                    0 => return,
                    read => count.fetch_add(read, Ordering::Relaxed),
                };
            }
        }
    });
    // While the program runs.
    wait_until("the output", || count.load(Ordering::Relaxed) == BYTES);
    std::fs::write(gate, "").unwrap();
    assert!(command.wait().unwrap().success());
    reading.join().unwrap();
    assert_eq!(count.load(Ordering::Relaxed), BYTES);
}
