//! Every call of git. A repository is not trusted, since it may be part of an archive: git runs
//! nothing that its configuration names and asks no network, and its memory, its time and its
//! answer are bounded. git ends with the thread that has started it, however that ends.
//!
//! A git that does not answer in time is killed, and none is started again by this process: a
//! second one would hang as well. What git would have said counts as unknown then.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use burst_sync::git_directory::Repository;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process_group,
    set_parent_process_death_signal, setrlimit, waitid,
};

/// The bounds of every call.
const BOUNDS: Bounds<'_> =
    Bounds { deadline: Duration::from_secs(20), answer_bytes: 256 << 20, has_hung: &HAS_HUNG };

/// How much memory git may have beside the files that it maps, in bytes.
const MEMORY_MAX: u64 = 2 << 30;

/// What is turned off by configuration, which is stronger than that of the repository.
const CONFIGURATION: [&str; 6] = [
    // A program that is asked which files have changed.
    "core.fsmonitor=false",
    // The directory of programs that git runs when it has done something.
    "core.hooksPath=/dev/null",
    // Programs of the network, and of passwords for it.
    "core.sshCommand=false",
    "core.gitProxy=false",
    "core.askPass=false",
    "credential.helper=",
];

/// What is turned off by variables.
const VARIABLES: [(&str, &str); 5] = [
    // Objects that a partial clone lacks are not fetched.
    ("GIT_NO_LAZY_FETCH", "1"),
    // Before git 2.44 that is unknown; but no protocol is allowed, not even that of paths. The
    // variable is stronger than any configuration.
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_SSH_COMMAND", "false"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // Nothing is written to the repository by the way.
    ("GIT_OPTIONAL_LOCKS", "0"),
];

/// What a hook of git has for its own repository, which is not the one that is asked.
const OF_ANOTHER: [&str; 11] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REFERENCE_BACKEND",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Whether a git of this process has not answered.
static HAS_HUNG: AtomicBool = AtomicBool::new(false);

/// Whether a git of this process was killed since it has not answered in time.
pub(super) fn has_hung() -> bool {
    HAS_HUNG.load(Ordering::Relaxed)
}

/// A call of git in a directory of no repository.
pub(super) fn outside(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(CONFIGURATION.iter().flat_map(|setting| ["-c", setting]));
    for name in OF_ANOTHER {
        command.env_remove(name);
    }
    command.envs(VARIABLES).current_dir(directory);
    command
}

/// A call of git in a directory of a repository. It may say what another repository has:
/// [`super::git_boundary`] tells what is asked of which.
pub(super) fn inside(repository: &Repository, directory: &Path) -> Command {
    let mut command = outside(directory);
    // Nothing ever returns to a `.git`, so the one that is found is no run's.
    command.arg("--git-dir").arg(repository.work_tree.join(".git"));
    command.arg("--work-tree").arg(&repository.work_tree);
    command
}

/// The bounds of a call.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    /// How long git may take once its answer is awaited.
    deadline: Duration,
    /// The longest answer.
    answer_bytes: u64,
    /// What is set if git does not answer in time.
    has_hung: &'a AtomicBool,
}

/// A git that runs.
#[derive(Debug)]
pub(super) struct RunningGit(Child);

impl RunningGit {
    /// Starts git.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        if has_hung() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.process_group(0);
        bounded(command);
        command.spawn().map(Self)
    }

    /// Waits for the answer to an input, at most as long as the deadline. A longer answer than the
    /// bound is an error. Blocks.
    pub(super) fn output(self, input: &[u8]) -> io::Result<Output> {
        self.output_within(BOUNDS, input)
    }

    fn output_within(self, bounds: Bounds<'_>, input: &[u8]) -> io::Result<Output> {
        let Bounds { deadline, answer_bytes, has_hung } = bounds;
        let Self(mut child) = self;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let mut answer = Vec::new();
        std::thread::scope(|scope| {
            // If git does not read all of it, it fails.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            let (ended, end) = channel::<()>();
            scope.spawn(move || {
                if end.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
                    has_hung.store(true, Ordering::Relaxed);
                    group.map(|group| kill_process_group(group, Signal::KILL));
                }
            });
            // One byte more tells a longer answer; git ends when it writes the next ones.
            let stdout = stdout.map(|stdout| stdout.take(answer_bytes + 1));
            let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut answer));
            // Not reaped before the killing thread has ended: its number stays its own until then.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let waited = group.map_or(Ok(None), |group| waitid(WaitId::Pid(group), options));
            drop(ended);
            read?;
            waited.map_err(io::Error::from)
        })?;
        let status = child.wait()?;
        match status.signal() {
            Some(_) if has_hung.load(Ordering::Relaxed) => Err(io::ErrorKind::TimedOut.into()),
            _ if answer.len() as u64 > answer_bytes => Err(io::ErrorKind::FileTooLarge.into()),
            _ => Ok(Output { status, stdout: answer, stderr: Vec::new() }),
        }
    }
}

/// Runs git without an input. Blocks.
pub(super) fn output(command: &mut Command) -> io::Result<Output> {
    RunningGit::start(command)?.output(b"")
}

/// Runs git with an input; returns its output, if it succeeds. Blocks.
pub(super) fn answer(command: &mut Command, input: &[u8]) -> io::Result<Vec<u8>> {
    let output = RunningGit::start(command)?.output(input)?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(io::Error::other(format!("`{command:?}` fails: {}", output.status))),
    }
}

/// Has a command end with the thread that starts it, and bounds its memory.
#[expect(unsafe_code, reason = "the standard library has no other way between fork and exec")]
fn bounded(command: &mut Command) {
    let bound = || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let Rlimit { maximum, .. } = getrlimit(Resource::Data);
        let current = maximum.map_or(MEMORY_MAX, |maximum| maximum.min(MEMORY_MAX));
        setrlimit(Resource::Data, Rlimit { current: Some(current), maximum: Some(current) })?;
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are allowed after a fork.
    unsafe { command.pre_exec(bound) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell answers in place of git, and whether it counts as hung.
    fn answer_of(script: &str, deadline: Duration) -> (Result<String, io::ErrorKind>, bool) {
        let has_hung = AtomicBool::new(false);
        let bounds = Bounds { deadline, answer_bytes: 4, has_hung: &has_hung };
        let mut shell = Command::new("sh");
        let git = RunningGit::start(shell.args(["-c", script])).unwrap();
        let output = git.output_within(bounds, b"in");
        let text = output.map(|output| String::from_utf8(output.stdout).unwrap());
        (text.map_err(|error| error.kind()), has_hung.into_inner())
    }

    #[test]
    fn an_answer_is_bounded() {
        let long = Duration::from_secs(600);
        assert_eq!(answer_of("cat; printf 34", long), (Ok("in34".to_owned()), false));
        assert_eq!(answer_of("printf 12345", long), (Err(io::ErrorKind::FileTooLarge), false));
        assert_eq!(answer_of("yes", long), (Err(io::ErrorKind::FileTooLarge), false));
    }

    /// Nothing is left of it: the last one of its group holds the pipe.
    #[test]
    fn a_git_that_waits_for_ever_is_killed_with_all_that_it_has_started() {
        let disk = tempfile::tempdir().unwrap();
        let pipe = disk.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RUSR, 0).unwrap();
        let script = format!("(cat {0}) & cat {0}", pipe.display());
        let answer = answer_of(&script, Duration::from_millis(1));
        assert_eq!(answer, (Err(io::ErrorKind::TimedOut), true));
    }
}
