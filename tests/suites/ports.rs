//! TCP ports that are forwarded from here to programs of a run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Child;

use burst_tests::{Project, Sandbox, assert_explained, ended};
use hetzner_sim::Scenario;

use crate::hetzner::{cloud, sandbox_on};
use crate::sandbox;

/// A server that upper-cases lines; a line `end` ends it, and it ends a connection by itself
/// after the line `close`. It says when it listens.
const SERVER: &str = r#"
use std::io::{BufRead, BufReader, Write};
fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    println!("listening");
    for socket in listener.incoming() {
        let socket = socket.unwrap();
        let mut answers = socket.try_clone().unwrap();
        for line in BufReader::new(socket).lines() {
            let line = line.unwrap();
            writeln!(answers, "{}", line.to_uppercase()).unwrap();
            match line.as_str() {
                "end" => return,
                "close" => break,
                _ => {}
            }
        }
    }
}
"#;

/// A port that no program of this machine uses.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn server(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.hello("app");
    project.write("src/main.rs", SERVER);
    project
}

/// Waits until the program listens.
pub(crate) fn listening(run: &mut Child) {
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "listening\n");
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// What comes back for some lines, until the other end closes.
pub(crate) fn answer(port: u16, lines: &str) -> String {
    let mut socket = connect(port);
    socket.write_all(lines.as_bytes()).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    std::io::read_to_string(socket).unwrap()
}

#[test]
fn a_port_leads_to_a_program_on_the_server() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = server(&sandbox);
    let here = free_port();
    let mut run = project.start(&format!("run -q --forward {here}:8080 -- 8080"));
    listening(&mut run);
    // The client closes first, then the server; a name stands for both kinds of address.
    assert_eq!(answer(here, "a\nb\n"), "A\nB\n");
    let mut socket = TcpStream::connect(("localhost", here)).unwrap();
    socket.write_all(b"close\n").unwrap();
    let mut closed = String::new();
    socket.read_to_string(&mut closed).unwrap();
    assert_eq!(closed, "CLOSE\n");
    // More than any window holds, both ways at once.
    let line = "x".repeat(1 << 20);
    let lines = format!("{line}\n").repeat(16);
    let mut socket = connect(here);
    let mut writing = socket.try_clone().unwrap();
    let sent = lines.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(sent.as_bytes()).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = String::new();
    socket.read_to_string(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == lines.to_uppercase());
    assert_eq!(answer(here, "end\n"), "END\n");
    let found = ended(run.wait_with_output().unwrap());
    assert_eq!(found.code, Some(0), "{found:#?}");
    assert!(!found.stderr.contains("listens on port"), "{}", found.stderr);
    // The port is free again.
    TcpListener::bind(("127.0.0.1", here)).unwrap();
}

#[test]
fn a_program_that_listens_on_the_server_is_named_with_the_way_to_it() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let here = free_port();
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_FORWARD_PORTS", format!("{here}:8081"));
    let project = server(&sandbox);
    let mut run = project.start("run -- 8080");
    let stderr = BufReader::new(run.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    let expected = "burst: the program listens on port 8080 of the server, not of this machine: \
                    `--forward 8080` forwards it";
    assert!(lines.any(|line| line == expected));
    // No program listens on the port that is forwarded: the connection is reset.
    let mut socket = connect(here);
    let refused = socket.read(&mut [0]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn an_agent_on_this_machine_forwards_to_other_ports_only() {
    let sandbox = sandbox();
    let project = server(&sandbox);
    let (here, there) = (free_port(), free_port());
    let mut run =
        project.start(&format!("run -q --forward {here}:{there} --forward {there} -- {there}"));
    listening(&mut run);
    assert_eq!(answer(here, "a\n"), "A\n");
    assert_eq!(answer(there, "b\n"), "B\n");
    assert_eq!(answer(here, "end\n"), "END\n");
    let found = ended(run.wait_with_output().unwrap());
    assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_port_that_is_in_use_is_an_error_before_anything_runs() {
    let sandbox = sandbox();
    let project = server(&sandbox);
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = used.local_addr().unwrap().port();
    let other = port.checked_add(10_000).unwrap_or(port);
    assert_explained(
        &project.burst(&format!("run --forward {port}:80")),
        2,
        &format!(
            "error: cannot listen on port {port} of this machine\n\
             caused by: Address already in use (os error 98)\n\
             hint: another program uses it: end that, or name another port here, such as \
             `--forward {other}:80`\n"
        ),
    );
    assert!(!project.has("target"));
    assert_explained(
        &project.burst("run --forward http"),
        2,
        "error: invalid value `http` for `--forward`: expected a port such as 8080, or \
         PORT:PORT, here and there, such as 8080:80\n\
         hint: `cargo burst help build` shows the options with their values\n",
    );
}

/// A program that answers at length before it reads, and clients that do not read: neither holds
/// up anything else.
#[test]
fn clients_that_do_not_read_hold_up_neither_others_nor_the_run() {
    const SPEAKER: &str = r#"
use std::io::{Read, Write};
fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:8080").unwrap();
    println!("listening");
    for socket in listener.incoming() {
        let mut socket = socket.unwrap();
        std::thread::spawn(move || {
            let mut first = [0];
            socket.read_exact(&mut first).unwrap();
            if first[0] == b'q' {
                std::process::exit(0);
            }
            // Fails where the client has gone.
            if socket.write_all(&vec![b'x'; 32 << 20]).is_ok() {
                let mut rest = Vec::new();
                socket.read_to_end(&mut rest).unwrap();
                writeln!(socket, "{}", rest.len()).unwrap();
            }
        });
    }
}
"#;
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.write("src/main.rs", SPEAKER);
    let here = free_port();
    let mut run = project.start(&format!("run -q --forward {here}:8080"));
    listening(&mut run);
    let stalled: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut socket = connect(here);
            socket.write_all(b"s").unwrap();
            socket
        })
        .collect();
    // It sends as much before it reads, while the program does the same.
    let mut socket = connect(here);
    let mut writing = socket.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        writing.write_all(&vec![b'y'; 32 << 20]).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    socket.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert_eq!(received.len(), (32 << 20) + "33554431\n".len());
    // Another command, by way of the same connection of the keeper.
    assert_eq!(project.ok("sync").code, Some(0));
    connect(here).write_all(b"q").unwrap();
    let found = ended(run.wait_with_output().unwrap());
    assert_eq!(found.code, Some(0), "{found:#?}");
    drop(stalled);
}

/// A port of the settings counts for programs; that another command has it is no error.
#[test]
fn a_port_of_the_settings_that_is_in_use_is_a_warning() {
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = used.local_addr().unwrap().port();
    let sandbox = sandbox().with("CARGO_BURST_FORWARD_PORTS", format!("{port}:80"));
    let project = sandbox.hello("app");
    let told = "warning: `forward_ports`: cannot listen on port";
    assert!(!project.ok("check").stderr.contains(told));
    assert!(project.ok("run").stderr.contains(told));
    let here = free_port();
    assert!(!project.ok(&format!("run --forward {here}:80")).stderr.contains(told));
}
