//! Processes of this program that outlive the command that starts them: agent and keeper.
//!
//! Each holds a [`lock`] for as long as it lives and writes a [log](mod@log_file). Invariant:
//! such a process gets no variable of the command's environment but those that its starter
//! sets.

pub(crate) mod lock;
mod log_file;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub(crate) use self::log_file::{BoundedLog, log_file};
use crate::environment;

/// How long a process may take from its start until it reports that it is ready.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// This program under another name, with an empty environment but for the log filter.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).env_clear();
    if let Some(filter) = environment::log_filter() {
        command.env("CARGO_BURST_LOG", filter);
    }
    command
}

/// Starts a background process with its standard error in `log`. Returns the first line of
/// its standard output, by which it reports that it is ready; `None` if that does not
/// arrive within 20 seconds. Blocks: not for async code.
pub(crate) fn start(command: &mut Command, log: File) -> io::Result<Option<String>> {
    let mut child =
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
    Ok(child.stdout.take().and_then(first_line))
}

fn first_line(stdout: ChildStdout) -> Option<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok() {
            // After the deadline there is no receiver.
            drop(send.send(line));
        }
    });
    receive.recv_timeout(START_DEADLINE).ok()
}
