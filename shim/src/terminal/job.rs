//! The job that the shell takes this process for: its process group.
//!
//! A key that a terminal turns into a signal reaches every process of the job. While the
//! terminal is raw, this module does that.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction};
use nix::unistd::Pid;

use super::raw_mode;

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

/// Suspends as a shell expects it: stopped by SIGTSTP, with the terminal in its own mode. Returns
/// when the shell has resumed this process, or at once if there is no shell.
pub(super) fn suspend(scope: Scope) {
    raw_mode::restore_while(|| {
        if scope == Scope::Group {
            signal_others(Signal::SIGTSTP);
        }
        if let Some(handler) = set(Signal::SIGTSTP, SigHandler::SigDfl) {
            raise(Signal::SIGTSTP).ok();
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
