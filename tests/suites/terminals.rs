pub(crate) mod desk;
pub(crate) mod keyboard;
pub(crate) mod shared;
mod shared_streams;
mod signals;
mod stopped;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use burst_tests::{Project, assert_explained, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, Winsize};
use rustix::termios::{tcgetattr, tcsetattr, tcsetwinsize};

use crate::sandbox;

/// A program that says what its streams are.
const ASKS: &str = "use std::io::IsTerminal;\nfn main() {\n    println!(\"out {}\", std::io::stdout().is_terminal());\n    eprintln!(\"err {}\", std::io::stderr().is_terminal());\n    println!(\"in {}\", std::io::stdin().is_terminal());\n    println!(\"term {:?}\", std::env::var(\"TERM\"));\n}\n";

/// A terminal of 100 columns: our side, and the side that a program gets.
pub(crate) fn terminal() -> (std::fs::File, OwnedFd) {
    // No other program may hold a copy: the terminal closes with the last one of our side.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&ours).unwrap();
    rustix::pty::unlockpt(&ours).unwrap();
    let name = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
    let theirs = rustix::fs::open(
        name,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&theirs, size).unwrap();
    (ours.into(), theirs)
}

/// Whether a pipe takes nothing more until its reader reads.
pub(crate) fn is_full(reader: &ChildStdout) -> bool {
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let writer = std::fs::File::options().write(true).open(path).unwrap();
    let mut room = [PollFd::new(&writer, PollFlags::OUT)];
    poll(&mut room, Some(&Timespec::default())).unwrap() == 0
}

fn read_all(mut terminal: std::fs::File) -> String {
    let mut bytes = Vec::new();
    // A terminal that is closed on the other side reads as an error.
    drop(terminal.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A program that writes its process id, then waits for ever.
pub(crate) fn waiter(project: &Project<'_>, extra: &str) {
    let pid = project.sandbox.path().join("pid");
    let new = project.sandbox.path().join("pid.new");
    project.write(
        "src/main.rs",
        format!("fn main() {{\n    {extra}\n    let pid = std::fs::read_link(\"/proc/self\").unwrap();\n    std::fs::write({new:?}, format!(\"{{}}\", pid.display())).unwrap();\n    std::fs::rename({new:?}, {pid:?}).unwrap();\n    loop {{ std::thread::sleep(std::time::Duration::from_secs(1)); }}\n}}\n"),
    );
}

/// Starts the program of [`waiter`], and returns the command once the program waits.
pub(crate) fn start_waiter(project: &Project<'_>) -> Child {
    let command = project.start("run -q");
    wait_until("the run", || project.sandbox.path().join("pid").exists());
    command
}

/// Processes of this machine whose program is the project's, below `/proc`.
fn processes(project: &Project<'_>) -> impl Iterator<Item = PathBuf> {
    let program = project.root.join("target/debug/hello");
    let sandbox = project.sandbox.path().to_str().unwrap().to_owned();
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    entries.filter(move |process| {
        std::fs::read(process.join("cmdline")).is_ok_and(|line| {
            let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
            first == program.as_os_str().as_encoded_bytes() || first == b"target/debug/hello"
        }) && std::fs::read_to_string(process.join("environ"))
            .is_ok_and(|environ| environ.contains(&sandbox))
    })
}

/// The number of the project's processes on this machine, in any namespace.
pub(crate) fn alive(project: &Project<'_>) -> usize {
    processes(project).count()
}

fn start(project: &Project<'_>) -> Child {
    let child = project
        .command("run -q")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the run", || project.sandbox.path().join("pid").exists());
    assert_eq!(alive(project), 1);
    child
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[test]
fn a_stream_is_a_terminal_only_where_ours_is() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", ASKS);
    let plain = project.ok("run -q");
    assert_eq!(plain.stdout, "out false\nin false\nterm Err(NotPresent)\n");
    assert!(plain.stderr.contains("err false"), "{}", plain.stderr);

    let (ours, theirs) = terminal();
    let ended = ended(
        project.command("run -q").env("TERM", "xterm-256color").stdout(theirs).output().unwrap(),
    );
    let shown = read_all(ours);
    assert!(shown.contains("out true"), "{shown:?}");
    assert!(shown.contains("term Ok(\"xterm-256color\")"), "{shown:?}");
    assert!(ended.stderr.contains("err false"), "{}", ended.stderr);

    let (ours, theirs) = terminal();
    let ended = burst_tests::ended(
        project.command("run").env("TERM", "xterm-256color").stderr(theirs).output().unwrap(),
    );
    assert_eq!(ended.stdout, "out false\nin false\nterm Ok(\"xterm-256color\")\n");
    let shown = read_all(ours);
    assert!(shown.contains("err true") && shown.contains("\u{1b}["), "colours: {shown:?}");
}

#[test]
fn input_reaches_the_program_and_its_end_too() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() {\n    let text = std::io::read_to_string(std::io::stdin()).unwrap();\n    println!(\"{} {}\", text.len(), text.lines().count());\n}\n");
    let mut child =
        project.command("run -q").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // More than any window or pipe holds.
    let text = "0123456789abcde\n".repeat(100_000);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1600000 100000\n");

    // A program that reads nothing is not kept up by what it does not read.
    project.write("src/main.rs", "fn main() { println!(\"done\") }\n");
    let mut child =
        project.command("run -q").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || while stdin.write_all(&[0; 4096]).is_ok() {});
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"done\n");
    feeding.join().unwrap();
}

#[test]
fn the_keys_of_a_pager_behind_us_are_the_pagers() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let begun = sandbox.path().join("begun");
    project.write("src/main.rs", format!("fn main() {{\n    println!(\"begun\");\n    std::fs::write({begun:?}, \"\").unwrap();\n    let mut line = String::new();\n    std::io::stdin().read_line(&mut line).unwrap();\n    print!(\"got {{line}}\");\n}}\n"));
    let (mut keyboard, theirs) = terminal();
    let usual = tcgetattr(&theirs).unwrap();
    let mut command = project.command("-q run -q");
    let mut child =
        command.stdin(theirs.try_clone().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("the run", || begun.exists());
    // As a pager does: it takes keys, not lines.
    let mut by_key = usual.clone();
    by_key.local_modes.remove(LocalModes::ICANON);
    tcsetattr(&theirs, OptionalActions::Now, &by_key).unwrap();
    keyboard.write_all(b"q").unwrap();
    let mut input = [PollFd::new(&theirs, PollFlags::IN)];
    let idle_timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut input, Some(&idle_timeout)).unwrap(), 1, "another process has the key");
    let mut key = [0; 8];
    assert_eq!(rustix::io::read(&theirs, &mut key).unwrap(), 1);
    assert_eq!(key[0], b'q');
    // Without the pager, lines are the program's again.
    tcsetattr(&theirs, OptionalActions::Now, &usual).unwrap();
    keyboard.write_all(b"a line\n").unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "begun\ngot a line\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn output_without_a_reader_ends_the_run() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() {\n    for n in 0.. { println!(\"{n}\"); }\n}\n");
    let mut command = project.command("-q run -q");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(141), ""));
    wait_until("the run's end", || alive(&project) == 0);

    let full = std::fs::File::create("/dev/full").unwrap();
    let ended = burst_tests::ended(project.command("-q run -q").stdout(full).output().unwrap());
    assert_explained(
        &ended,
        115,
        "error: the output cannot be written\n\
         caused by: No space left on device (os error 28)\n\
         hint: check where standard output and standard error go (a full disk?), then run the \
         command again\n",
    );
    wait_until("the run's end", || alive(&project) == 0);
}

#[test]
fn large_output_is_complete_and_unmixed() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", "use std::io::Write;\nfn main() {\n    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());\n    for n in 0..50_000u32 { writeln!(out, \"{n} out\").unwrap(); writeln!(err, \"{n} err\").unwrap(); }\n}\n");
    let ended = project.ok("-q run -q");
    let expected = |name: &str| (0..50_000).map(|n| format!("{n} {name}\n")).collect::<String>();
    assert!(ended.stdout == expected("out"));
    assert!(ended.stderr.ends_with(&expected("err")));
}

/// Lines of very different lengths, so slowly that each is a message of its own.
const DRIPS: &str = r#"fn main() {
    let start = std::time::Instant::now();
    for n in 0..20_000u32 {
        println!("{n} {}", "x".repeat(if n.is_multiple_of(4) { 200 } else { 2 }));
        while start.elapsed() < std::time::Duration::from_micros(60) * n {}
    }
}
"#;

#[test]
fn output_whose_reader_pauses_waits() {
    let sandbox = sandbox();
    let project = sandbox.hello("drips");
    project.write("src/main.rs", DRIPS);
    let mut child = project.command("-q run -q").stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut got = vec![0];
    stdout.read_exact(&mut got).unwrap();
    // Until the program is stuck in `write`: nothing has room for more.
    let mut last = None;
    wait_until("the program waits for a reader", || {
        let before = std::mem::replace(&mut last, stuck_in_write(&project));
        before.is_some() && before == last
    });
    stdout.read_to_end(&mut got).unwrap();
    assert!(child.wait().unwrap().success());
    let got = String::from_utf8(got).unwrap();
    let expected =
        |n: u32| format!("{n} {}", "x".repeat(if n.is_multiple_of(4) { 200 } else { 2 }));
    assert!(got.lines().eq((0..20_000).map(expected)), "{} lines", got.lines().count());
}

/// Bytes that the project's program has written, if it waits in `write`.
fn stuck_in_write(project: &Project<'_>) -> Option<String> {
    let process = processes(project).next()?;
    let of = |file| std::fs::read_to_string(process.join(file)).ok();
    let in_write = of("syscall")?.starts_with("1 ");
    let io = of("io")?;
    let written = io.lines().find(|line| line.starts_with("wchar"))?;
    in_write.then(|| written.to_owned())
}

#[test]
fn the_first_interrupt_is_cargos_and_a_signal_is_a_signal() {
    use std::os::unix::process::ExitStatusExt;
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    waiter(&project, "");
    let child = start(&project);
    send(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(2), "{output:?}");
    assert_eq!(alive(&project), 0);
}

#[test]
fn the_second_interrupt_ends_what_ignores_the_first() {
    use std::os::unix::process::ExitStatusExt;
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    // Ignored from the shell on, so that cargo and the program ignore it.
    waiter(&project, "");
    let wrapper = sandbox.path().join("ignore-int");
    std::fs::write(&wrapper, "#!/bin/sh\ntrap '' INT\nexec \"$@\"\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    project.write(
        ".cargo/config.toml",
        format!("[target.'cfg(all())']\nrunner = [{:?}]\n", wrapper.to_str().unwrap()),
    );
    let mut child = start(&project);
    send(&child, Signal::SIGINT);
    send(&child, Signal::SIGINT);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(30));
        // The two may have been taken for one.
        std::thread::sleep(Duration::from_millis(100));
        if child.try_wait().unwrap().is_none() {
            send(&child, Signal::SIGINT);
        }
    };
    assert_eq!(status.signal(), Some(2));
    wait_until("the end of the run", || alive(&project) == 0);
}

#[test]
fn a_killed_shim_takes_its_run_along() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    // A child in a session of its own is part of the run, too.
    waiter(
        &project,
        "if std::env::args().len() == 1 { std::process::Command::new(\"setsid\").args([\"sleep\", \"98765\"]).spawn().unwrap(); }",
    );
    let mut child = start(&project);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the end of the run", || alive(&project) == 0);
    project.write("src/main.rs", "fn main() { println!(\"next\") }\n");
    assert_eq!(project.ok("run -q").stdout, "next\n");
}

#[test]
fn progress_without_a_terminal_is_plain_lines() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("down");
    burst_tests::assert_progress(
        &project.ok("build"),
        "burst: cargo runs through an agent on this machine, since no Hetzner token is set; \
         `cargo burst init` sets one\n\
         \x20  Compiling hello v0.1.0 ([..])\n\
         \x20   Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\n\
         burst: on this machine, [..]\n",
    );
    burst_tests::assert_progress(
        &project.ok("-q build"),
        "    Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\n",
    );
}
