//! Runs whose connection breaks, and that go on over the same or the other transport.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use burst_tests::wait_until;
use hetzner_sim::simulator::lock;
use hetzner_sim::{Scenario, Simulator};

use super::{
    Talk, agent_log, block, came_back, chosen, cloud_without, keeper_log, ok, remembered,
    wait_for_verdict,
};
use crate::hetzner::{cloud, logs, sandbox_on};

/// Waits until the agent has lost the connection of a run so often.
fn wait_for_break(simulator: &Simulator, count: usize) {
    const BROKE: &str = "the connection of a client broke";
    wait_until(BROKE, || agent_log(simulator).matches(BROKE).count() >= count);
}

#[test]
fn a_tcp_connection_that_breaks_is_resumed() {
    let Some(simulator) = cloud_without(&["udp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let mut talk = Talk::begin(&project);
    talk.say("one");
    assert_eq!(talk.line(), "got one\n");
    wait_for_verdict(&sandbox);
    block(&simulator, &["udp", "tcp"]);
    talk.say("two");
    wait_for_break(&simulator, 1);
    talk.say("three");
    block(&simulator, &["udp"]);
    assert_eq!((talk.line(), talk.line()), ("got two\n".into(), "got three\n".into()));
    // A killed keeper breaks a connection, too, and is no end of it.
    sandbox.kill_keeper();
    talk.say("four");
    assert_eq!(talk.line(), "got four\n", "{}", logs(&simulator, &sandbox));
    talk.end(&project);
    assert_eq!(came_back(&simulator), (2, 2));
    assert_eq!((chosen(&sandbox, "Quic"), chosen(&sandbox, "Tcp")), (1, 2));
    ok(&project, &simulator, "down");
    assert!(lock(&simulator.shared().world).servers.is_empty());
}

/// As on a laptop that is carried into a network that blocks UDP, and out of it.
#[test]
fn a_run_goes_on_over_the_other_transport() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let mut talk = Talk::begin(&project);
    talk.say("quic");
    assert_eq!(talk.line(), "got quic\n");
    assert_eq!(keeper_log(&sandbox).matches("connected over TCP").count(), 0);
    block(&simulator, &["udp", "tcp"]);
    wait_for_break(&simulator, 1);
    talk.say("tcp");
    block(&simulator, &["udp"]);
    assert_eq!(talk.line(), "got tcp\n", "{}", logs(&simulator, &sandbox));
    assert_eq!(came_back(&simulator), (1, 1));
    block(&simulator, &["udp", "tcp"]);
    wait_for_break(&simulator, 2);
    talk.say("quic again");
    block(&simulator, &["tcp"]);
    assert_eq!(talk.line(), "got quic again\n", "{}", logs(&simulator, &sandbox));
    talk.end(&project);
    assert_eq!(came_back(&simulator), (1, 2));
    assert_eq!(remembered(&sandbox).len(), 0);
}

/// One transport is cut where so many lines have come, and the other one works from then on: the
/// program waits for a line that only a connection over that one can bring.
#[test]
fn output_is_exact_over_all_changes_of_the_transport() {
    const LINES: usize = 60_000;
    let Some(simulator) = cloud_without(&["tcp"]) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {
    for line in 0..60_000 {
        println!(\"{line:0100}\");
        eprintln!(\"{line}\");
        if line > 10_000 && line % 10_000 == 5_000 {
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
    }
}
",
    );
    let mut run = project.command("run -q");
    run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let mut input = run.stdin.take().unwrap();
    let errors = run.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        BufReader::new(errors).lines().map(Result::unwrap).collect::<Vec<_>>()
    });
    let output = BufReader::new(run.stdout.take().unwrap());
    let mut came = 0;
    for line in output.lines() {
        assert_eq!(line.unwrap(), format!("{came:0100}"), "{}", logs(&simulator, &sandbox));
        came += 1;
        match came {
            10_000 | 30_000 | 50_000 => block(&simulator, &["udp"]),
            20_000 | 40_000 => block(&simulator, &["tcp"]),
            _ => continue,
        }
        writeln!(input).unwrap();
    }
    assert_eq!(came, LINES);
    let told: Vec<String> = errors.join().unwrap();
    assert!(run.wait().unwrap().success(), "{}", logs(&simulator, &sandbox));
    assert!(told.iter().eq((0..LINES).map(|line| line.to_string()).collect::<Vec<_>>().iter()));
    let (over_tcp, all) = came_back(&simulator);
    assert!(over_tcp >= 3 && all - over_tcp >= 2, "{over_tcp} of {all}");
}
