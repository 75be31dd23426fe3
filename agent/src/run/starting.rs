//! The start of cargo in the namespaces of a run: its process with its user, limits, signals,
//! streams and terminal.
//!
//! The init is to cargo what a shell is: it leads the session of the controlling terminal, and
//! cargo's process group is the foreground. The kernel does not let a key stop a process whose
//! parent is in another session.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal};
use nix::unistd::{Pid, getpgrp, tcsetpgrp};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::mount_point::{Kind, MountPoints};
use super::spec::{self, Descriptors, RunSpec};

/// Starts cargo; returns its process.
pub(super) fn start(
    spec: &RunSpec,
    theirs: Descriptors,
    points: &mut MountPoints,
    groups: Vec<OwnedFd>,
) -> io::Result<Pid> {
    let Descriptors { streams: [input, output, error], control } = theirs;
    if let (Some((user, _)), Some(control)) = (spec.user, &control) {
        // Programs open their terminal by its name, too.
        rustix::fs::fchown(control, Some(rustix::fs::Uid::from_raw(user)), None)?;
    }
    let (program, arguments) = spec.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(spec::os_string(program));
    command.args(arguments.iter().map(spec::os_string)).env_clear();
    for (name, value) in &spec.environment {
        command.env(spec::os_string(name), spec::os_string(value));
    }
    let directory = spec::path(&spec.working_directory);
    points.open(&directory, Kind::Directory).map_err(|error| {
        let text = format!("cannot use the directory `{}`: {error}", directory.display());
        io::Error::new(error.kind(), text)
    })?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(spec.umask & 0o777));
    if spec.open_files.is_some() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: spec.open_files, maximum })?;
    }
    if let Some((user, group)) = spec.user {
        command.uid(user).gid(group);
        // Programs with set-user-id bits give a build no further rights.
        rustix::thread::set_no_new_privs(true)?;
    }
    enter_before_start(&mut command, groups);
    command.process_group(0);
    if let Some(control) = control {
        lead_session(&control)?;
        enter_foreground(&mut command, control);
    }
    ignore_signals(&mut command, &spec.ignored_signals);
    let child = command
        .current_dir(directory)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(error))
        .spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?))
}

/// Has the new process enter the control group before it becomes cargo, so that nothing of
/// the run is outside of it.
#[expect(unsafe_code, reason = "the standard library has no other way between fork and exec")]
fn enter_before_start(command: &mut Command, groups: Vec<OwnedFd>) {
    let enter = move || {
        for group in &groups {
            rustix::io::write(group, b"0")?;
        }
        Ok(())
    };
    // SAFETY: the closure only writes to open descriptors, which is allowed after a fork.
    unsafe { command.pre_exec(enter) };
}

/// Has the new process ignore signals before it becomes cargo. The init does not ignore them.
#[expect(unsafe_code, reason = "the standard library has no other way between fork and exec")]
fn ignore_signals(command: &mut Command, numbers: &[i32]) {
    let signals: Vec<_> =
        numbers.iter().filter_map(|number| Signal::try_from(*number).ok()).collect();
    let ignore = move || {
        for ignored in &signals {
            // SAFETY: no handler is installed. Signals that cannot be ignored are not.
            unsafe { signal(*ignored, SigHandler::SigIgn) }.ok();
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls, which is allowed after a fork.
    unsafe { command.pre_exec(ignore) };
}

/// Leads a session with this controlling terminal. This process then ignores SIGHUP, which the
/// kernel sends to the leader when the terminal is closed: it ends with the agent, and in its own
/// way.
fn lead_session(control: &OwnedFd) -> io::Result<()> {
    // SAFETY: no handler is installed.
    #[expect(
        unsafe_code,
        reason = "nix marks every call of `signal` as unsafe, also one without a handler"
    )]
    unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }?;
    rustix::process::setsid()?;
    Ok(rustix::process::ioctl_tiocsctty(control)?)
}

/// Has the process group of the new process be the foreground of the controlling terminal before
/// it becomes cargo.
#[expect(unsafe_code, reason = "the standard library has no other way between fork and exec")]
fn enter_foreground(command: &mut Command, control: OwnedFd) {
    let enter = move || {
        // SAFETY: the default action installs no handler.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }?;
        // In the background the change itself would stop this process.
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTTOU);
        let mask = stop.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        tcsetpgrp(&control, getpgrp())?;
        Ok(mask.thread_set_mask()?)
    };
    // SAFETY: the closure only makes system calls, which is allowed after a fork.
    unsafe { command.pre_exec(enter) };
}
