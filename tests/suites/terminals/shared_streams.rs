//! Streams that a command shares: both outputs with each other, standard input with the script
//! that it is called from.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use super::{read_all, terminal};
use crate::sandbox;

/// A program that writes 2,000 lines, in turn to each of its outputs.
const ALTERNATES: &str = "fn main() {\n    for n in 0..1000 {\n        println!(\"{n} out\");\n        eprintln!(\"{n} err\");\n    }\n}\n";

fn alternating(line_end: &str) -> String {
    (0..1000).map(|n| format!("{n} out{line_end}{n} err{line_end}")).collect()
}

#[test]
fn outputs_that_are_one_file_keep_their_order() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", ALTERNATES);
    project.ok("build");
    let one = |output: OwnedFd, error: OwnedFd| {
        let mut command = project.command("-q run -q");
        let mut child = command.stdout(output).stderr(error).spawn().unwrap();
        // The command holds copies of the streams.
        drop(command);
        move || assert!(child.wait().unwrap().success())
    };

    let (mut reader, writer) = std::io::pipe().unwrap();
    let wait = one(writer.try_clone().unwrap().into(), writer.into());
    let mut shown = String::new();
    reader.read_to_string(&mut shown).unwrap();
    let mut wait = wait;
    wait();
    assert!(shown == alternating("\n"), "{shown}");

    let path = sandbox.path().join("output");
    let file = File::create(&path).unwrap();
    let mut wait = one(file.try_clone().unwrap().into(), file.into());
    wait();
    let shown = std::fs::read_to_string(path).unwrap();
    assert!(shown == alternating("\n"), "{shown}");

    let (ours, theirs) = terminal();
    let reading = std::thread::spawn(move || read_all(ours));
    let mut wait = one(theirs.try_clone().unwrap(), theirs);
    wait();
    let shown = reading.join().unwrap();
    assert!(shown == alternating("\r\n"), "{shown}");
}

#[test]
fn outputs_on_a_terminal_with_the_keyboard_keep_their_order() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", ALTERNATES);
    project.ok("build");
    let (ours, theirs) = terminal();
    let reading = std::thread::spawn(move || read_all(ours));
    let mut command = project.command("-q run -q");
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    assert!(command.status().unwrap().success());
    drop(command);
    let shown = reading.join().unwrap();
    assert!(shown == alternating("\r\n"), "{shown}");
}

#[test]
fn messages_on_a_stream_of_their_own_stay_pure() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() { let unused = 1; }\n");
    let messages = project.ok("check --message-format json");
    for line in messages.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert!(messages.stdout.ends_with("{\"reason\":\"build-finished\",\"success\":true}\n"));
    assert!(messages.stderr.contains("Checking hello"), "{}", messages.stderr);
    // In one file with progress, too, they name what is fetched.
    let (mut reader, writer) = std::io::pipe().unwrap();
    project.write("src/main.rs", "fn main() { let unused = 2; }\n");
    let mut command = project.command("-q build --message-format json");
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut shown = String::new();
    reader.read_to_string(&mut shown).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(project.has("target/debug/hello"), "{shown}");
}

#[test]
fn verbs_that_read_nothing_leave_standard_input_to_the_script() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {}\n#[test]\nfn reads_nothing() {\n    assert_eq!(std::io::read_to_string(std::io::stdin()).unwrap(), \"\");\n}\n",
    );
    let burst = project.command("");
    let mut script = Command::new("sh");
    script.arg("-c").arg(
        "while read -r line; do\n    \"$burst\" burst -q $line >output 2>&1 || cat output\n    \
         echo \"$line: done\"\ndone",
    );
    script.env_clear().current_dir(&project.root);
    script.envs(burst.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("burst", burst.get_program());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = ["test --cargo-test", "bench", "build", "check", "clean", "sync"];
    child.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let expected: String = lines.iter().map(|line| format!("{line}: done\n")).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}
