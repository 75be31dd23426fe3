//! Programs of our own that outlive the command that starts them: agent and keeper.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::environment;

/// How long one may take from its start until it says that it is ready.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A log larger than this is replaced by an empty one at the next start.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// This very program, under another name and with nothing in its environment.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).env_clear();
    if let Some(filter) = environment::log_filter() {
        command.env("CARGO_BURST_LOG", filter);
    }
    command
}

/// Starts it; what it writes goes into its log. Returns its first line, by which it says
/// that it is ready; none if that does not come in time.
pub(crate) fn start(command: &mut Command, log: File) -> io::Result<Option<String>> {
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

/// Opens the log of a background process for appending, readable by the user alone.
/// One that has grown beyond [`LOG_BYTES_MAX`] is replaced.
pub(crate) fn log_file(path: &Path) -> io::Result<File> {
    let large = std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX);
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    if large {
        std::fs::remove_file(path)?;
    }
    options.open(path)
}
