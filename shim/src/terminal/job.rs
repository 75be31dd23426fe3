//! The job that the shell takes this process for: its process group.
//!
//! A key that a terminal turns into a signal reaches every process of the job. While the
//! terminal is raw, this module does that.

use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, raise, sigaction,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgid, getpgrp, getppid};

use super::raw_mode;

/// The pause between two looks at another process.
const LOOK: Duration = Duration::from_millis(1);

/// What is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// This process.
    Process,
    /// Its process group: all of what the shell takes for one job.
    Group,
}

/// Sends a signal to the other processes of the job.
pub(super) fn signal_others(kind: Signal) {
    if let Some(handler) = set(kind, SigHandler::SigIgn) {
        kill(Pid::from_raw(0), kind).ok();
        set_action(kind, &handler);
    }
}

/// Waits until the process that has started this one has received a signal that was sent to the
/// job, or for a tenth of a second. A shell that learns of the signal and of the end of its command
/// at once takes the end for the command's own doing, and goes on.
pub(super) fn wait_until_parent_has(kind: Signal) {
    const LOOKS_MAX: usize = 100;
    let parent = getppid();
    if getpgid(Some(parent)) != Ok(getpgrp()) {
        return;
    }
    for _ in 0..LOOKS_MAX {
        let status = std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap_or_default();
        if !signals_in(&status, &PENDING).contains(&(kind as i32)) {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "no event tells that a signal is delivered")]
        std::thread::sleep(LOOK);
    }
}

/// The masks of pending signals.
const PENDING: [&str; 2] = ["SigPnd:", "ShdPnd:"];

/// What is forwarded to a run if this process was started to ignore it: a program of the run may
/// handle it all the same.
const FORWARDED: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The standard signals that this process was started to ignore, but for SIGPIPE, which it ignores
/// by itself, and SIGCHLD, which it does not.
pub(crate) fn ignored() -> &'static [i32] {
    static IGNORED: OnceLock<Vec<i32>> = OnceLock::new();
    IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        passed_on(signals_in(&status, &["SigIgn:"]))
    })
}

fn passed_on(mut ignored: Vec<i32>) -> Vec<i32> {
    // The first real-time signals are libc's own.
    ignored.retain(|number| Signal::try_from(*number).is_ok());
    ignored.retain(|number| ![Signal::SIGPIPE as i32, Signal::SIGCHLD as i32].contains(number));
    ignored
}

/// Has this process hear of the end of its children, though its parent may have it ignore that.
pub(crate) fn hear_of_children() {
    set(Signal::SIGCHLD, SigHandler::SigDfl);
}

/// Prepares this process, while it has one thread, to forward what its parent has it ignore. A
/// signal that is ignored arrives only where every thread blocks it: then [`ignored_arrivals`]
/// reads it, and this process and its children go on ignoring it.
pub(crate) fn block_ignored() {
    forwarded_ignored().thread_block().ok();
}

fn forwarded_ignored() -> SigSet {
    FORWARDED.into_iter().filter(|kind| ignored().contains(&(*kind as i32))).collect()
}

/// Where the arrivals of ignored signals that are forwarded to a run are read; none if none of them
/// is ignored.
pub(super) fn ignored_arrivals() -> Option<SignalFd> {
    let signals = forwarded_ignored();
    signals.iter().next()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).ok()
}

/// The signals in masks, by the text of `/proc/PID/status` (see proc(5)).
fn signals_in(status: &str, masks: &[&str]) -> Vec<i32> {
    let texts =
        status.lines().filter_map(|line| masks.iter().find_map(|mask| line.strip_prefix(mask)));
    let masks = texts.filter_map(|text| u64::from_str_radix(text.trim(), 16).ok());
    let all = masks.fold(0, |all, mask| all | mask);
    (1..=64).filter(|number| all & (1_u64 << (number - 1)) != 0).collect()
}

/// Suspends as a shell expects it: stopped by SIGTSTP, with the terminal in its own mode. Returns
/// when the shell has resumed this process, or at once if there is no shell.
pub(super) fn suspend(scope: Scope) {
    raw_mode::restore_while(|| {
        if scope == Scope::Group {
            signal_others(Signal::SIGTSTP);
        }
        if let Some(handler) = set(Signal::SIGTSTP, SigHandler::SigDfl) {
            raise(Signal::SIGTSTP).ok();
            // Where it is blocked it stops this process now.
            let mut stop = SigSet::empty();
            stop.add(Signal::SIGTSTP);
            let mask = stop.thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
            if let Ok(mask) = mask {
                mask.thread_set_mask().ok();
            }
            set_action(Signal::SIGTSTP, &handler);
        }
    });
}

/// Sets the disposition of a signal; returns the one before.
fn set(kind: Signal, handler: SigHandler) -> Option<SigAction> {
    set_action(kind, &SigAction::new(handler, SaFlags::empty(), SigSet::empty()))
}

fn set_action(kind: Signal, action: &SigAction) -> Option<SigAction> {
    // SAFETY: the action is the default, none, or one that was installed before.
    #[expect(unsafe_code, reason = "changing a disposition is unsafe in nix's signature only")]
    unsafe { sigaction(kind, action) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_signals_but_those_of_this_process_are_passed_on() {
        assert_eq!(passed_on(vec![1, 2, 13, 15, 17, 20, 31, 32, 33, 64]), [1, 2, 15, 20, 31]);
    }

    #[test]
    fn signals_are_bits_of_masks() {
        let status = |own, shared| format!("Name:\tsh\nSigPnd:\t{own}\nShdPnd:\t{shared}\n");
        let (none, some) = ("0000000000000000", "8000000000000006");
        assert_eq!(signals_in(&status(some, none), &PENDING), [2, 3, 64]);
        assert_eq!(signals_in(&status(none, some), &PENDING), [2, 3, 64]);
        assert_eq!(signals_in(&status(none, some), &["SigPnd:"]), [0; 0]);
        assert_eq!(signals_in(&status(none, none), &PENDING), [0; 0]);
        assert_eq!(signals_in("", &PENDING), [0; 0]);
    }
}
