//! Processes of this program that outlive the command that starts them: agent, keeper and the
//! holders of detached runs.
//!
//! Each holds a [`lock`] for as long as it lives and writes a [log](log_file). Invariants:
//! such a process gets no open descriptor that the command has inherited: a reader of the
//! command's pipe sees its end, and a lock is free, when the command ends; it leads a session, so
//! that no key of the command's terminal reaches it. Agent and keeper get
//! no variable of the command's environment but those that their starter sets; a holder gets
//! all, for the command that it runs.

pub(crate) mod lock;
pub(crate) mod socket;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub(crate) use burst_agent::log_file::{BoundedLog, log_file};
use rustix::process::{Pid, Signal, kill_process_group};

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

/// A background process that was started.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    /// The first line of its standard output, by which it reports that it is ready; `None` if that
    /// has not arrived in time.
    pub(crate) report: Option<String>,
}

impl Background {
    /// Kills the process and those of its group, and waits until it has ended: what dies with it
    /// is killed by then. Blocks.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        let leader = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // A process that was not waited for keeps its number, so this is its group.
            kill_process_group(leader, Signal::KILL).ok();
        }
        self.child.wait().map(drop)
    }
}

/// Starts a background process in the root directory, as [`start_here`] does. Returns what it
/// reports within 20 seconds.
pub(crate) fn start(command: &mut Command, log: File) -> io::Result<Option<String>> {
    Ok(start_here(command.current_dir("/"), log)?.report)
}

/// Starts a background process, the leader of a session, with its standard error in `log`. Waits
/// up to 20 seconds for its report. Blocks: not for async code.
pub(crate) fn start_here(command: &mut Command, log: File) -> io::Result<Background> {
    start_within(command, log, START_DEADLINE)
}

fn start_within(command: &mut Command, log: File, deadline: Duration) -> io::Result<Background> {
    prepare(command)?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
    let report = child.stdout.take().and_then(|stdout| first_line(stdout, deadline));
    Ok(Background { child, report })
}

/// Has the new process lead a session, and close the descriptors that this one has inherited.
/// Those that this program opens are closed anyway.
#[expect(unsafe_code, reason = "the standard library has no other way between fork and exec")]
fn prepare(command: &mut Command) -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        inherited.extend(number.filter(|number| *number > nix::libc::STDERR_FILENO));
    }
    let prepare = move || {
        for number in &inherited {
            // SAFETY: the call has no memory to be safe about. It fails for a descriptor that
            // was closed meanwhile, such as that of the directory above.
            unsafe { nix::libc::fcntl(*number, nix::libc::F_SETFD, nix::libc::FD_CLOEXEC) };
        }
        rustix::process::setsid()?;
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are allowed after a fork.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

fn first_line(stdout: ChildStdout, deadline: Duration) -> Option<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok() {
            // After the deadline there is no receiver.
            drop(send.send(line));
        }
    });
    receive.recv_timeout(deadline).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    #[test]
    fn a_process_that_is_not_ready_in_time_is_killed_with_its_group() {
        // Both processes hold the pipe open: its end is the end of both.
        let (mut log, theirs) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo x >&2; wait"]);
        let log_file = File::from(OwnedFd::from(theirs));
        let background = start_within(&mut command, log_file, Duration::ZERO).unwrap();
        // It holds the pipe open, too.
        drop(command);
        assert_eq!(background.report, None);
        let mut read = [0; 3];
        assert_eq!(log.read(&mut read).unwrap(), 2);
        background.kill().unwrap();
        assert_eq!(log.read(&mut read).unwrap(), 0);
    }

    #[test]
    fn a_process_that_is_ready_leads_a_session() {
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        // The process, its group, its session.
        command.args([
            "-c",
            "read -r pid _ _ _ group session _ < /proc/$$/stat; echo $pid $group $session",
        ]);
        let background = start_here(&mut command, log).unwrap();
        let pid = background.child.id();
        assert_eq!(background.report, Some(format!("{pid} {pid} {pid}\n")));
        background.kill().unwrap();
    }
}
