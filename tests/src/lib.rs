//! The sandbox in which the suites run the real program.
//!
//! A [`Sandbox`] has a home, XDG directories, an agent and a keeper of its own and a
//! cleared environment; when it is dropped both are ended, by their process ids. A
//! [`Project`] is a workspace in it. Tests that need what is not there say so by
//! [`skip`], which `.ci/run` turns into a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "for tests alone"
)]

mod build_layout;
mod moment;
pub mod month;
mod passage;

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;

pub use crate::build_layout::BuildLayout;
pub use crate::moment::Moment;
pub use crate::passage::pass_time;

/// A home and what belongs to it.
#[derive(Debug)]
pub struct Sandbox {
    directory: tempfile::TempDir,
    program: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

/// What a command wrote and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// The lines of standard error that are warnings.
    pub fn warnings(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("warning")).collect()
    }
}

/// The temporary files of downloads in a directory and below it.
pub fn temporaries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry").path());
    let (directories, files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.partition(|path| path.is_dir());
    let is_temporary = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".burst-"))
    };
    let below = directories.iter().flat_map(|directory| temporaries(directory));
    files.into_iter().filter(is_temporary).chain(below).collect()
}

impl Sandbox {
    /// A new one, for this program.
    pub fn new(program: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("burst-").tempdir().expect("a directory");
        for name in ["home", "cache", "state", "config"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        // Other users may have to look in.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("permissions");
        Self { directory, program: program.into(), variables: Vec::new() }
    }

    /// Sets a variable for all further commands.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().into()));
        self
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the user's settings.
    pub fn settings(&self, text: &str) {
        let directory = self.path().join("config/cargo-burst");
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("config.toml"), text).expect("settings");
    }

    /// Writes the user's settings for the user alone, as a file with a token has to be.
    pub fn private_settings(&self, text: &str) {
        self.settings(text);
        let file = self.path().join("config/cargo-burst/config.toml");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("permissions");
    }

    /// A workspace with these files.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> Project<'_> {
        let root = self.path().join(name);
        fs::create_dir_all(&root).expect("a directory");
        let project = Project { sandbox: self, root };
        for (path, content) in files {
            project.write(path, content);
        }
        project
    }

    /// A package with one program that prints `hello`.
    pub fn hello(&self, name: &str) -> Project<'_> {
        self.project(
            name,
            &[
                ("Cargo.toml", "[package]\nname = 'hello'\nversion = '0.1.0'\nedition = '2021'\n"),
                ("src/main.rs", "fn main() {\n    println!(\"hello\");\n}\n"),
                (".gitignore", "/target\n"),
            ],
        )
    }

    /// A command in the sandbox's environment.
    pub fn command(&self, program: impl AsRef<OsStr>, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory).env_clear().stdin(Stdio::null());
        for name in ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR", "RUSTUP_AUTO_INSTALL"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        for (name, default) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            command.env(name, std::env::var_os(name).unwrap_or_else(|| home.join(default).into()));
        }
        command
            .env("HOME", self.path().join("home"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("XDG_CONFIG_HOME", self.path().join("config"))
            .env("CARGO_BURST_GRACE_SECS", "3");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        reset_signals(&mut command);
        command
    }

    /// The program under test, with arguments separated by spaces.
    pub fn burst_command(&self, directory: &Path, arguments: &str) -> Command {
        let mut command = self.command(&self.program, directory);
        command.arg("burst").args(arguments.split_whitespace());
        command
    }

    /// The agent's process, if one was started and has not ended.
    pub fn agent(&self) -> Option<i32> {
        let text = fs::read_to_string(self.keys().join("address")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok()
    }

    /// The keeper's process, if one was started and has not ended.
    pub fn keeper(&self) -> Option<i32> {
        let directory = self.path().join("state/cargo-burst/keeper");
        let lock = fs::File::open(directory.join("lock")).ok()?;
        let is_free = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared);
        is_free.is_err().then_some(())?;
        fs::read_to_string(directory.join("pid")).ok()?.trim().parse().ok()
    }

    /// Kills the keeper, which must run, and waits until it has ended.
    pub fn kill_keeper(&self) {
        let lock = fs::File::open(self.path().join("state/cargo-burst/keeper/lock"));
        let lock = lock.expect("a lock");
        let keeper = Pid::from_raw(self.keeper().expect("a keeper"));
        kill(keeper, Signal::SIGKILL).expect("a process");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).expect("its end");
    }

    /// Sends a signal to the agent, which must run, and waits until it has ended.
    pub fn end_agent(&self, signal: Signal) {
        let lock = fs::File::open(self.keys().join("lock")).expect("a lock");
        let agent = Pid::from_raw(self.agent().expect("an agent"));
        kill(agent, signal).expect("a process");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).expect("its end");
    }

    /// Where the local provider keeps keys, address and log.
    pub fn keys(&self) -> PathBuf {
        self.path().join("state/cargo-burst/local")
    }

    /// The agent's log, for messages of failed tests.
    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.keys().join("agent.log")).unwrap_or_default()
    }

    /// Where the agent keeps the tree of a project.
    pub fn agent_tree(&self, project: &Path) -> PathBuf {
        let below_root = project.strip_prefix("/").expect("an absolute path");
        self.agent_project(project).join("tree").join(below_root)
    }

    /// Where the agent keeps a project.
    pub fn agent_project(&self, project: &Path) -> PathBuf {
        let name = burst_protocol::RelativePath::below_root(project.as_os_str().as_encoded_bytes())
            .expect("an absolute path");
        let key = burst_agent::project_key(&name);
        self.path().join("cache/cargo-burst/local/projects").join(key)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for process in [self.keeper(), self.agent()].into_iter().flatten() {
            let process = Pid::from_raw(process);
            kill(process, Signal::SIGKILL).ok();
        }
    }
}

/// A workspace in a sandbox.
#[derive(Debug)]
pub struct Project<'a> {
    /// Where it is.
    pub sandbox: &'a Sandbox,
    /// Its root.
    pub root: PathBuf,
}

impl Project<'_> {
    /// Writes a file, with the directories above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    /// Writes the root's ignore file, which counts from then on: the root becomes a repository.
    pub fn ignore(&self, patterns: &str) {
        for name in ["objects", "refs"] {
            fs::create_dir_all(self.root.join(".git").join(name)).expect("a directory");
        }
        self.write(".git/HEAD", "ref: refs/heads/main\n");
        self.write(".gitignore", patterns);
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The command, not yet started.
    pub fn command(&self, arguments: &str) -> Command {
        self.sandbox.burst_command(&self.root, arguments)
    }

    /// Starts it with its output in pipes.
    pub fn start(&self, arguments: &str) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program")
    }

    /// Runs `cargo burst ARGUMENTS` in the root.
    pub fn burst(&self, arguments: &str) -> Ended {
        ended(self.command(arguments).output().expect("the program"))
    }

    /// Runs it and expects success.
    pub fn ok(&self, arguments: &str) -> Ended {
        let ended = self.burst(arguments);
        assert_eq!(ended.code, Some(0), "{arguments}: {ended:#?}\n{}", self.sandbox.agent_log());
        ended
    }

    /// Runs a program of the target directory and returns its output.
    pub fn output_of(&self, program: &str) -> String {
        let output = Command::new(self.root.join(program)).output().expect("a program");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Gives `outer`, whose own arguments end with a program, that program's arguments,
/// directory and environment.
pub fn carry_over(outer: &mut Command, inner: &Command) {
    outer.args(inner.get_args()).env_clear();
    reset_signals(outer);
    if let Some(directory) = inner.get_current_dir() {
        outer.current_dir(directory);
    }
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
}

/// Starts a command with signals that are not ignored, whatever the tests run below, such as
/// `nohup`.
#[allow(unsafe_code, reason = "the standard library has no other way between fork and exec")]
pub fn reset_signals(command: &mut Command) {
    let reset = || {
        for kind in Signal::iterator().filter(|kind| *kind != Signal::SIGPIPE) {
            // SAFETY: no handler is installed. Signals whose action is fixed are left out by the
            // kernel.
            unsafe { signal(kind, SigHandler::SigDfl) }.ok();
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls, which is allowed after a fork.
    unsafe { command.pre_exec(reset) };
}

/// Waits for something that will certainly happen, or fails loudly.
#[track_caller]
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts the exit code and the whole error: what failed, the causes and the next step. In
/// `expected`, `[..]` stands for any text within a line. Progress in front of the error and
/// the summary of the run are not compared.
#[track_caller]
pub fn assert_explained(ended: &Ended, code: i32, expected: &str) {
    assert_eq!(ended.code, Some(code), "{ended:#?}");
    let lines = ended.stderr.lines().skip_while(|line| !line.starts_with("error: "));
    let lines: Vec<_> = lines.take_while(|line| !line.starts_with("burst: ")).collect();
    assert_lines(&lines.join("\n"), expected);
}

/// Asserts success and the whole of standard error. In `expected`, `[..]` stands for any text
/// within a line. That cargo has waited for another cargo of this machine is left out.
#[track_caller]
pub fn assert_progress(ended: &Ended, expected: &str) {
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let has_waited = |line: &&str| *line == "    Blocking waiting for file lock on package cache";
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !has_waited(line)).collect();
    assert_lines(&lines.join("\n"), expected);
}

/// Asserts a whole text. In `expected`, `[..]` stands for any text within a line.
#[track_caller]
pub fn assert_lines(found: &str, expected: &str) {
    let found: Vec<&str> = found.lines().collect();
    let expected: Vec<&str> = expected.lines().collect();
    let is_same = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(line, pattern)| matches_line(line, pattern));
    assert!(is_same, "expected {expected:#?}, found {found:#?}");
}

/// Whether a line is the pattern, in which `[..]` stands for any text.
fn matches_line(line: &str, pattern: &str) -> bool {
    match pattern.split_once("[..]") {
        None => line == pattern,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let mut ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            ends.any(|at| matches_line(&line[at..], rest))
        }),
    }
}

/// From the standard library's form.
pub fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The number in an environment variable, by which a test is made longer, or a default.
#[track_caller]
pub fn number_from_environment<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Says that a test cannot run here. Where skips are not allowed it fails.
pub fn skip(why: &str) {
    assert!(std::env::var_os("BURST_NO_SKIP").is_none(), "skipped: {why}");
    eprintln!("skipped: {why}");
}

/// Whether programs are missing that a test needs; then it is skipped.
pub fn lacks(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&&str| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    };
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    if !missing.is_empty() {
        skip(&format!("needs {missing:?}"));
    }
    !missing.is_empty()
}

/// Whether this is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
