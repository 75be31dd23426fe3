//! Processes of this program that outlive the command that starts them: agent, keeper and the
//! holders of detached runs.
//!
//! Each holds a [`lock`] for as long as it lives and writes a [log](log_file). Invariants:
//! such a process gets no open descriptor that the command has inherited: a reader of the
//! command's pipe sees its end, and a lock is free, when the command ends. Agent and keeper get
//! no variable of the command's environment but those that their starter sets; a holder gets
//! all, for the command that it runs.

pub(crate) mod lock;
pub(crate) mod socket;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub(crate) use burst_agent::log_file::{BoundedLog, log_file};

use crate::environment;

/// How long a process may take from its start until it reports that it is ready.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// This program under another name, with an empty environment but for the log filter.
pub(crate) fn program(name: &str) -> Command {
    let mut command = same_environment(name);
    command.env_clear();
    if let Some(filter) = environment::log_filter() {
        command.env("CARGO_BURST_LOG", filter);
    }
    command
}

/// This program under another name, with the environment of this process.
pub(crate) fn same_environment(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name);
    command
}

/// Starts a background process in the root directory, as [`start_here`] does.
pub(crate) fn start(command: &mut Command, log: File) -> io::Result<Option<String>> {
    start_here(command.current_dir("/"), log)
}

/// Starts a background process with its standard error in `log`. Returns the first line of
/// its standard output, by which it reports that it is ready; `None` if that does not
/// arrive within 20 seconds. Blocks: not for async code.
pub(crate) fn start_here(command: &mut Command, log: File) -> io::Result<Option<String>> {
    close_inherited(command)?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
    Ok(child.stdout.take().and_then(first_line))
}

/// Has the new process close the descriptors that this one has inherited. Those that this
/// program opens are closed anyway.
#[expect(unsafe_code, reason = "the standard library has no other way between fork and exec")]
fn close_inherited(command: &mut Command) -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        inherited.extend(number.filter(|number| *number > nix::libc::STDERR_FILENO));
    }
    let close_on_exec = move || {
        for number in &inherited {
            // SAFETY: the call has no memory to be safe about. It fails for a descriptor that
            // was closed meanwhile, such as that of the directory above.
            unsafe { nix::libc::fcntl(*number, nix::libc::F_SETFD, nix::libc::FD_CLOEXEC) };
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are allowed after a fork.
    unsafe { command.pre_exec(close_on_exec) };
    Ok(())
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
