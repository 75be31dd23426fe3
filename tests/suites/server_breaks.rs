//! The network to a server that breaks during a run.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use burst_tests::{Project, Sandbox, wait_until};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Scenario, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hetzner::{cloud, logs, names, sandbox_on, wait_for_verified_volume};

/// Silence of a second counts as the loss of a connection, and runs wait for a minute.
fn patient_on(simulator: &Simulator) -> Sandbox {
    sandbox_on(simulator)
        .with("CARGO_BURST_GRACE_SECS", "1")
        .with("CARGO_BURST_RECONNECT_SECS", "60")
}

/// The network of the only server.
struct Line(String);

impl Line {
    fn of(simulator: &Simulator) -> Self {
        let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
        Self(simulator.shared().hosts().unwrap().namespace_of(server).unwrap())
    }

    fn darken(&self, dark: bool) {
        let state = if dark { "down" } else { "up" };
        let set = Command::new("ip").args(["-n", &self.0, "link", "set", "eth0", state]).status();
        assert!(set.unwrap().success());
    }
}

/// A run on a server that echoes its input.
struct Echo {
    command: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Echo {
    fn start(project: &Project<'_>) -> Self {
        project.write(
            "src/main.rs",
            "fn main() {\n    println!(\"started\");\n    \
             for line in std::io::stdin().lines() { println!(\"got {}\", line.unwrap()); }\n}\n",
        );
        let mut command = project.command("run -q");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = command.spawn().unwrap();
        let input = command.stdin.take().unwrap();
        let mut output = BufReader::new(command.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        Self { command, input, output }
    }
}

/// How often the keeper or the server has logged something.
fn times(simulator: &Simulator, sandbox: &Sandbox, what: &str) -> usize {
    logs(simulator, sandbox).matches(what).count()
}

/// Each attempt takes five seconds.
#[test]
fn attempts_to_connect_again_hardly_ask_the_api() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = patient_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("check -q");
    let mut echo = Echo::start(&project);
    let line = Line::of(&simulator);
    wait_for_verified_volume(&simulator);
    simulator.shared().forget_calls();
    line.darken(true);
    let attempts = || times(&simulator, &sandbox, "failed: the agent");
    wait_until("two attempts", || attempts() >= 2);
    let calls = names(&simulator.shared().calls());
    line.darken(false);
    let listed = |route: &str| calls.iter().filter(|call| *call == route).count();
    let asked = (listed("GET /servers"), listed("GET /volumes"), calls.len());
    assert_eq!(asked, (1, 1, 2), "{calls:?}\n{}", logs(&simulator, &sandbox));
    echo.input.write_all(b"text\n").unwrap();
    drop(echo.input);
    let mut rest = String::new();
    echo.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got text\n");
    assert!(echo.command.wait().unwrap().success());
}

/// As after a floating address was moved.
#[test]
fn the_address_that_the_api_has_told_is_dialled_before_the_old_one() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = patient_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("check -q");
    let mut echo = Echo::start(&project);
    let line = Line::of(&simulator);
    line.darken(true);
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    simulator.shared().hosts().unwrap().move_address(server).unwrap();
    // The API may have been asked before, since that can take longer than the connection lives.
    simulator.shared().forget_calls();
    // The old address and, once the API has told it, the new one.
    wait_until("an attempt", || times(&simulator, &sandbox, "failed: the agent") >= 1);
    line.darken(false);
    echo.input.write_all(b"text\n").unwrap();
    drop(echo.input);
    let mut rest = String::new();
    echo.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got text\n", "{}", logs(&simulator, &sandbox));
    assert!(echo.command.wait().unwrap().success());
    // The old address was not dialled first: behind that wait the API would be asked again.
    let calls = names(&simulator.shared().calls());
    let asked = calls.iter().filter(|call| *call == "GET /servers").count();
    assert_eq!(asked, 1, "{calls:?}\n{}", logs(&simulator, &sandbox));
}

/// The number of records of streams, below the cache.
fn recorded(sandbox: &Sandbox) -> usize {
    let states = std::fs::read_dir(sandbox.path().join("cache/cargo-burst/workspaces")).unwrap();
    let names = states.flat_map(|state| std::fs::read_dir(state.unwrap().path()).unwrap());
    let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("stream-") && !name.ends_with(".lock")).count()
}

/// Two interrupts end a command that connects again; the run would wait for a minute.
#[test]
fn the_next_command_ends_the_run_of_a_command_that_has_ended_in_the_dark() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = patient_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("check -q");
    assert_eq!(recorded(&sandbox), 0);
    let mut echo = Echo::start(&project);
    let line = Line::of(&simulator);
    line.darken(true);
    let broke = || times(&simulator, &sandbox, "the connection of a client broke");
    wait_until("the break", || broke() == 1);
    let id = Pid::from_raw(echo.command.id().cast_signed());
    for _ in 0..2 {
        kill(id, Signal::SIGINT).unwrap();
        // Two that are pending are one.
        std::thread::sleep(Duration::from_millis(300));
    }
    let ended = echo.command.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(Signal::SIGINT as i32));
    assert_eq!(recorded(&sandbox), 1);
    line.darken(false);
    project.write("src/main.rs", "fn main() { println!(\"next\"); }\n");
    let next = project.burst("run -q");
    assert_eq!(next.stdout, "next\n", "{next:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(times(&simulator, &sandbox, "the client of a run has ended"), 1);
    assert_eq!(times(&simulator, &sandbox, "the client did not come back"), 0);
    assert_eq!(recorded(&sandbox), 0);
}
