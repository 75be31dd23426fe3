//! The mode of the local terminal while a run uses it: raw, so that every byte passes unchanged and
//! the terminal of the run does the line discipline, or as a program of the run has set it.
//!
//! The mode belongs to the process, not to a value: a signal or a panic on any thread has to
//! restore it. So its state is a static of this module.
//!
//! Invariants: the mode is changed only while this process is in the terminal's foreground
//! process group, so a shell that has suspended us keeps its own mode. What is restored is the
//! mode that was found first. After [`restore_for_good`] the terminal is never raw again.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use nix::sys::signal::{SigSet, Signal};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};

use super::controlling::user_terminal;
use super::foreground::is_foreground;

static STATE: Mutex<State> =
    Mutex::new(State { first: None, is_raw: false, suspends: false, is_over: false });

/// Whether the terminal does not translate line ends, for those who print.
static IS_RAW: AtomicBool = AtomicBool::new(false);

struct State {
    /// The mode that was found first.
    first: Option<Termios>,
    /// Whether it is changed.
    is_raw: bool,
    /// Whether this process is about to stop.
    suspends: bool,
    /// Whether this process is about to end.
    is_over: bool,
}

/// Whether output needs a carriage return in front of a newline.
pub(super) fn is_raw() -> bool {
    IS_RAW.load(Ordering::Relaxed)
}

/// Whether the mode of the terminal is one that this process has set.
pub(super) fn is_ours() -> bool {
    state().is_raw
}

/// Makes the terminal raw if this process has it; otherwise forgets that it was. Returns
/// whether it is raw now. `change` makes a mode raw. `anew`: another process may have changed the
/// mode. Once the run is over the terminal stays as it is: `run_is_over` is read under the lock
/// of [`restore`], so that no thread undoes that.
pub(super) fn enter(
    run_is_over: &AtomicBool,
    anew: bool,
    change: impl FnOnce(&mut Termios),
) -> bool {
    let mut state = state();
    if run_is_over.load(Ordering::Acquire) || state.is_over || state.suspends {
        return false;
    }
    if !is_foreground(terminal()) {
        state.forget();
        return false;
    }
    if state.is_raw && !anew {
        return true;
    }
    if state.first.is_none() {
        state.first = tcgetattr(terminal()).ok();
    }
    let Some(mut modes) = state.first.clone() else { return false };
    change(&mut modes);
    let done = set(&modes);
    state.is_raw = done;
    let translates = modes.output_modes.contains(OutputModes::OPOST);
    IS_RAW.store(done && !translates, Ordering::Relaxed);
    done
}

/// Restores the mode.
pub(super) fn restore() {
    state().restore();
}

/// Restores the mode before this process ends.
pub(super) fn restore_for_good() {
    let mut state = state();
    state.is_over = true;
    state.restore();
}

/// Restores the mode, and keeps it while `stop` stops this process.
pub(super) fn restore_while(stop: impl FnOnce()) {
    {
        let mut state = state();
        state.suspends = true;
        state.restore();
    }
    stop();
    state().suspends = false;
}

/// Has a panic restore the mode before its message is printed.
pub(super) fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore_for_good();
            previous(panic);
        }));
    });
}

impl State {
    /// Notes that the mode is not ours.
    fn forget(&mut self) {
        self.is_raw = false;
        IS_RAW.store(false, Ordering::Relaxed);
    }

    fn restore(&mut self) {
        if !self.is_raw {
            return;
        }
        self.forget();
        if let (Some(modes), true) = (&self.first, is_foreground(terminal())) {
            set(modes);
        }
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal of the keyboard.
fn terminal() -> BorrowedFd<'static> {
    user_terminal().unwrap_or(rustix::stdio::stdin())
}

/// Sets the mode of the terminal; returns whether it is set. Where this process has just lost
/// the foreground, it is not stopped for that.
fn set(modes: &Termios) -> bool {
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTTOU);
    let blocked = stops.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    let is_set = tcsetattr(terminal(), OptionalActions::Now, modes).is_ok();
    if let Ok(mask) = blocked {
        mask.thread_set_mask().ok();
    }
    is_set
}
