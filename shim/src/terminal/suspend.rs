//! Suspending this program as a shell expects it: stopped by SIGTSTP, with the terminal in its
//! own mode.

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

/// Suspends; returns when the shell has resumed this process, or at once if nobody could.
pub(super) fn suspend(scope: Scope) {
    raw_mode::restore_while(|| {
        if scope == Scope::Group {
            // To the others first: they are not resumed before this process is.
            if let Some(handler) = set(SigHandler::SigIgn) {
                kill(Pid::from_raw(0), Signal::SIGTSTP).ok();
                set_action(&handler);
            }
        }
        if let Some(handler) = set(SigHandler::SigDfl) {
            raise(Signal::SIGTSTP).ok();
            set_action(&handler);
        }
    });
}

/// Sets the disposition of SIGTSTP; returns the one before.
fn set(handler: SigHandler) -> Option<SigAction> {
    set_action(&SigAction::new(handler, SaFlags::empty(), SigSet::empty()))
}

fn set_action(action: &SigAction) -> Option<SigAction> {
    // SAFETY: the action is the default, none, or one that was installed before.
    #[expect(unsafe_code, reason = "changing a disposition is unsafe in nix's signature only")]
    unsafe { sigaction(Signal::SIGTSTP, action) }.ok()
}
