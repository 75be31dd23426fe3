//! Programs of our own that outlive the command that starts them: agent and keeper.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long one may take from its start until it says that it is ready.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// This very program, under another name and with nothing in its environment.
pub fn program(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).env_clear();
    if let Some(filter) = std::env::var_os("CARGO_BURST_LOG") {
        command.env("CARGO_BURST_LOG", filter);
    }
    command
}

/// Starts it; what it writes goes into its log. Returns its first line, by which it says
/// that it is ready; none if that does not come in time.
pub fn start(command: &mut Command, log: File) -> io::Result<Option<String>> {
    let mut child =
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
    Ok(child.stdout.take().and_then(first_line))
}

/// The first line that a process writes, if it comes in time.
fn first_line(stdout: ChildStdout) -> Option<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok() {
            // Nobody waits any more: too late.
            drop(send.send(line));
        }
    });
    receive.recv_timeout(START_DEADLINE).ok()
}
