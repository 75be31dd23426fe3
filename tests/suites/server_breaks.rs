//! The network to a server that breaks during a run.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use burst_tests::{Project, Sandbox, wait_until};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Scenario, Simulator};

use crate::hetzner::{cloud, logs, names, sandbox_on};

/// Silence of a second counts as the loss of a connection, and runs wait for an hour.
fn patient_on(simulator: &Simulator) -> Sandbox {
    sandbox_on(simulator)
        .with("CARGO_BURST_GRACE_SECS", "1")
        .with("CARGO_BURST_RECONNECT_SECS", "3600")
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
