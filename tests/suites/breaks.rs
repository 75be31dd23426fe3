//! Connections that break during a run: it goes on, the command connects again, and nothing is
//! missing or comes twice.
//!
//! Between the command and the agent is a proxy that loses every datagram while it is dark.
//! Silence of a second counts as the loss of a connection.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burst_tests::{Ended, Moment, Project, Sandbox, assert_explained, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::histories::assert_same_tree;
use crate::sandbox;
use crate::terminals::{alive, start_waiter, waiter};

/// What the agent logs when it has lost a client, and when it has waited for one in vain.
const BROKE: &str = "the connection of a client broke";
const IN_VAIN: &str = "the client did not come back";
const CAME_BACK: &str = "the client has come back";

fn impatient() -> Sandbox {
    sandbox().with("CARGO_BURST_GRACE_SECS", "1")
}

/// The network between commands and the agent.
struct Line {
    dark: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
}

impl Line {
    /// Puts itself in front of the agent, which runs.
    fn to_agent_of(sandbox: &Sandbox) -> Self {
        let file = sandbox.keys().join("address");
        let text = fs::read_to_string(&file).unwrap();
        let (agent, rest) = text.split_once(' ').unwrap();
        let agent: SocketAddr = agent.parse().unwrap();
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        fs::write(&file, format!("{} {rest}", front.local_addr().unwrap())).unwrap();
        let line = Self { dark: Arc::default(), ends: Arc::default() };
        let (dark, ends) = (line.dark.clone(), line.ends.clone());
        std::thread::spawn(move || carry(&front, agent, &dark, &ends));
        line
    }

    fn darken(&self, dark: bool) {
        self.dark.store(dark, Ordering::SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
    }
}

/// Carries datagrams between clients and the agent, which sees each client at an address of its
/// own.
fn carry(front: &UdpSocket, agent: SocketAddr, dark: &Arc<AtomicBool>, ends: &Arc<AtomicBool>) {
    let mut clients: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    front.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while !ends.load(Ordering::SeqCst) {
        let Ok((length, client)) = front.recv_from(&mut buffer) else { continue };
        let back = clients.entry(client).or_insert_with(|| {
            let back = UdpSocket::bind("127.0.0.1:0").unwrap();
            back.connect(agent).unwrap();
            back.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (from, to) = (back.try_clone().unwrap(), front.try_clone().unwrap());
            let (dark, ends) = (dark.clone(), ends.clone());
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while !ends.load(Ordering::SeqCst) {
                    let Ok(length) = from.recv(&mut buffer) else { continue };
                    if !dark.load(Ordering::SeqCst) {
                        to.send_to(&buffer[..length], client).ok();
                    }
                }
            });
            back
        });
        if !dark.load(Ordering::SeqCst) {
            back.send(&buffer[..length]).ok();
        }
    }
}

fn times(sandbox: &Sandbox, what: &str) -> usize {
    sandbox.agent_log().matches(what).count()
}

fn wait_for_log(sandbox: &Sandbox, what: &str, count: usize) {
    wait_until(what, || times(sandbox, what) >= count);
}

/// A run that waits, whose command has lost its connection and connects again in vain.
fn run_whose_connection_breaks(project: &Project<'_>) -> (Line, Child) {
    project.ok("check -q");
    let line = Line::to_agent_of(project.sandbox);
    waiter(project, "");
    let command = start_waiter(project);
    line.darken(true);
    wait_for_log(project.sandbox, BROKE, 1);
    (line, command)
}

/// Files by which a test and its program tell each other how far they are.
fn steps(sandbox: &Sandbox) -> [PathBuf; 3] {
    ["started", "go", "done"].map(|name| sandbox.path().join(name))
}

/// A program that prints numbered lines before and after it is let go, and makes a file.
fn counter(project: &Project<'_>) {
    let [started, go, done] = steps(project.sandbox);
    project.write(
        "src/main.rs",
        format!(
            "use std::fs;
fn main() {{
    for line in 0..3000 {{ println!(\"line {{line}}\"); }}
    fs::write({started:?}, \"\").unwrap();
    while !fs::exists({go:?}).unwrap() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }}
    for line in 3000..6000 {{ println!(\"line {{line}}\"); eprintln!(\"error {{line}}\"); }}
    fs::write(\"made\", \"0123456789abcdef\".repeat(2_500_000)).unwrap();
    fs::write({done:?}, \"\").unwrap();
    std::process::exit(7);
}}
"
        ),
    );
}

fn assert_counted(found: &Ended) {
    let lines: String = (0..6000).map(|line| format!("line {line}\n")).collect();
    assert!(found.stdout == lines, "{} bytes", found.stdout.len());
    let errors = found.stderr.lines().filter(|line| line.starts_with("error "));
    let expected: Vec<String> = (3000..6000).map(|line| format!("error {line}")).collect();
    assert_eq!(errors.collect::<Vec<_>>(), expected);
    assert_eq!(found.code, Some(7), "{:?}", found.stderr.lines().last());
}

fn assert_made(project: &Project<'_>) {
    assert!(project.read("made") == "0123456789abcdef".repeat(2_500_000));
    assert_same_tree(project);
}

/// What the pipes of a command hold is read while it runs.
fn follow(command: Child) -> std::thread::JoinHandle<Ended> {
    std::thread::spawn(move || ended(command.wait_with_output().unwrap()))
}

#[test]
fn a_blackout_during_output_loses_nothing() {
    let sandbox = impatient();
    let project = sandbox.hello("app");
    project.ok("check -q");
    let line = Line::to_agent_of(&sandbox);
    let [started, go, done] = steps(&sandbox);
    counter(&project);
    let command = follow(project.start("run -q"));
    wait_until("the run", || started.exists());
    line.darken(true);
    wait_for_log(&sandbox, BROKE, 1);
    fs::write(&go, "").unwrap();
    // The output that nobody takes is less than its window: the program ends in the dark.
    wait_until("the end of the program", || done.exists());
    line.darken(false);
    assert_counted(&command.join().unwrap());
    assert_eq!(times(&sandbox, CAME_BACK), 1);
    assert_made(&project);
}

#[test]
fn a_blackout_while_results_come_loses_nothing() {
    let sandbox = impatient();
    let project = sandbox.hello("app");
    project.ok("check -q");
    let line = Line::to_agent_of(&sandbox);
    let [_, go, _] = steps(&sandbox);
    counter(&project);
    fs::write(&go, "").unwrap();
    // More is still to come than any window holds.
    let results = Moment::new(&[&project.root], ".burst-", 1);
    let mut command = project.start("run -q");
    let (mut stdout, mut stderr) = (command.stdout.take().unwrap(), command.stderr.take().unwrap());
    let read = |pipe: &mut dyn Read| {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    };
    let stdout = std::thread::spawn(move || read(&mut stdout));
    let stderr = std::thread::spawn(move || read(&mut stderr));
    assert!(results.comes_before_end_of(&command));
    line.darken(true);
    wait_for_log(&sandbox, BROKE, 1);
    line.darken(false);
    let code = command.wait().unwrap().code();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    assert_counted(&Ended { code, stdout, stderr });
    assert_eq!(times(&sandbox, CAME_BACK), 1);
    assert_made(&project);
}

#[test]
fn input_from_a_pipe_survives_a_blackout() {
    let sandbox = impatient();
    let project = sandbox.hello("app");
    project.ok("check -q");
    let line = Line::to_agent_of(&sandbox);
    project.write(
        "src/main.rs",
        "fn main() { for line in std::io::stdin().lines() { println!(\"got {}\", line.unwrap()); } }\n",
    );
    let mut command = project.command("run -q");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = command.spawn().unwrap();
    let mut input = command.stdin.take().unwrap();
    let mut output = std::io::BufReader::new(command.stdout.take().unwrap());
    let mut write = |numbers: std::ops::Range<u32>| {
        let text: String = numbers.map(|number| format!("{number}\n")).collect();
        input.write_all(text.as_bytes()).unwrap();
    };
    write(0..2000);
    let mut first = String::new();
    std::io::BufRead::read_line(&mut output, &mut first).unwrap();
    line.darken(true);
    // Part of it is sent into the dark, the rest waits here.
    write(2000..4000);
    wait_for_log(&sandbox, BROKE, 1);
    write(4000..6000);
    line.darken(false);
    drop(input);
    output.read_to_string(&mut first).unwrap();
    let expected: String = (0..6000).map(|number| format!("got {number}\n")).collect();
    assert!(first == expected, "{} bytes", first.len());
    assert!(command.wait().unwrap().success());
}

#[test]
fn a_command_that_was_stopped_goes_on() {
    let sandbox = impatient();
    let project = sandbox.hello("app");
    project.ok("check -q");
    let [started, go, done] = steps(&sandbox);
    counter(&project);
    let command = project.start("run -q");
    let id = Pid::from_raw(i32::try_from(command.id()).unwrap());
    let command = follow(command);
    wait_until("the run", || started.exists());
    kill(id, Signal::SIGSTOP).unwrap();
    wait_for_log(&sandbox, BROKE, 1);
    fs::write(&go, "").unwrap();
    wait_until("the end of the program", || done.exists());
    kill(id, Signal::SIGCONT).unwrap();
    assert_counted(&command.join().unwrap());
    assert_eq!(times(&sandbox, CAME_BACK), 1);
    assert_made(&project);
}

#[test]
fn a_command_that_was_stopped_for_too_long_says_so() {
    let sandbox = impatient().with("CARGO_BURST_RECONNECT_SECS", "2");
    let project = sandbox.hello("app");
    waiter(&project, "std::fs::write(\"made\", \"run\").unwrap();");
    let command = start_waiter(&project);
    let id = Pid::from_raw(i32::try_from(command.id()).unwrap());
    kill(id, Signal::SIGSTOP).unwrap();
    wait_for_log(&sandbox, IN_VAIN, 1);
    wait_until("the end of the run", || alive(&project) == 0);
    kill(id, Signal::SIGCONT).unwrap();
    assert_explained(
        &ended(command.wait_with_output().unwrap()),
        114,
        "error: the connection to the agent was lost while cargo ran\n\
         caused by: the agent waited 2 s for this command to connect again, then it ended the run\n\
         hint: run the command again: the agent kept the work that cargo had finished\n",
    );
    project.ok("check -q");
    assert_eq!(project.read("made"), "run");
}

#[test]
fn a_blackout_that_is_too_long_ends_run_and_command() {
    let sandbox = impatient().with("CARGO_BURST_RECONNECT_SECS", "2");
    let project = sandbox.hello("app");
    project.ok("check -q");
    let line = Line::to_agent_of(&sandbox);
    waiter(&project, "");
    let command = start_waiter(&project);
    line.darken(true);
    assert_explained(
        &ended(command.wait_with_output().unwrap()),
        114,
        "error: the connection to the agent was lost while cargo ran\n\
         caused by: the agent cannot be reached again within 2 s\n\
         caused by: [..]\n\
         hint: run the command again: the agent kept the work that cargo had finished\n",
    );
    // The end of its process tells the agent on the same machine.
    wait_until("the end of the run", || alive(&project) == 0);
    line.darken(false);
}

#[test]
fn a_restarted_agent_ends_the_command_at_once() {
    // It would try for an hour.
    let sandbox = impatient().with("CARGO_BURST_RECONNECT_SECS", "3600");
    let project = sandbox.hello("app");
    let other = sandbox.hello("other");
    let (_line, command) = run_whose_connection_breaks(&project);
    sandbox.end_agent(Signal::SIGKILL);
    other.ok("check -q");
    assert_explained(
        &ended(command.wait_with_output().unwrap()),
        114,
        "error: the connection to the agent was lost while cargo ran\n\
         caused by: the agent has ended meanwhile, and the run with it\n\
         hint: run the command again: the agent kept the work that cargo had finished\n",
    );
}

#[test]
fn a_command_that_is_killed_in_the_dark_ends_its_run_at_once() {
    let sandbox = impatient().with("CARGO_BURST_RECONNECT_SECS", "3600");
    let project = sandbox.hello("app");
    let (_line, mut command) = run_whose_connection_breaks(&project);
    assert_eq!(alive(&project), 1);
    command.kill().unwrap();
    command.wait().unwrap();
    wait_until("the end of the run", || alive(&project) == 0);
}

#[test]
fn two_interrupts_end_a_command_that_connects_again() {
    let sandbox = impatient().with("CARGO_BURST_RECONNECT_SECS", "3600");
    let project = sandbox.hello("app");
    let (_line, command) = run_whose_connection_breaks(&project);
    let id = Pid::from_raw(i32::try_from(command.id()).unwrap());
    kill(id, Signal::SIGINT).unwrap();
    // The first one waits for the connection.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(alive(&project), 1);
    kill(id, Signal::SIGINT).unwrap();
    let found = command.wait_with_output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&found.status);
    assert_eq!(signal, Some(Signal::SIGINT as i32));
    wait_until("the end of the run", || alive(&project) == 0);
}

/// The agent is asked to end while it waits for a client.
#[test]
fn down_ends_a_run_whose_connection_has_broken() {
    let sandbox = impatient().with("CARGO_BURST_RECONNECT_SECS", "3600");
    let project = sandbox.hello("app");
    project.ok("check -q");
    let line = Line::to_agent_of(&sandbox);
    waiter(&project, "");
    let command = start_waiter(&project);
    let id = Pid::from_raw(i32::try_from(command.id()).unwrap());
    kill(id, Signal::SIGSTOP).unwrap();
    wait_for_log(&sandbox, BROKE, 1);
    drop(line);
    kill(id, Signal::SIGCONT).unwrap();
    kill(Pid::from_raw(sandbox.agent().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(ended(command.wait_with_output().unwrap()).code, Some(114));
    assert_eq!(alive(&project), 0);
}
