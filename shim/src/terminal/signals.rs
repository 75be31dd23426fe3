//! Signals (Ctrl-C, Ctrl-\, SIGTERM, SIGHUP) during a run.
//!
//! The first one is forwarded; cargo ends as it would here, and this program with it. The second
//! one kills the run and ends this program at once. Before cargo runs, the first one ends this
//! program: nothing has happened yet.
//!
//! `cargo run` becomes the program that it runs, so what is sent to the process is the program's
//! alone, and what a terminal sends is received by all of the process group. It is the same there:
//! Ctrl-C, Ctrl-\ and the SIGHUP of a terminal that is closed go to cargo's process group, SIGTERM,
//! SIGUSR1, SIGUSR2, another SIGHUP, and SIGWINCH where there is no terminal to cargo's process. A
//! SIGINT or SIGQUIT that was sent to the process counts as a key.
//!
//! What this process was started to ignore, as by `nohup`, it ignores, and cargo there as well. It
//! is forwarded, for a program that handles it all the same, and does not count here.
//!
//! While a run has the keyboard, Ctrl-C and Ctrl-\ are bytes and no signals here. SIGTERM and
//! SIGHUP then end the run also if it does not listen: it has ten seconds. Ctrl-Z is a byte, too:
//! when it, or anything else, has stopped the program there, this process suspends itself. However
//! the program was stopped, it goes on when this process is continued.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burst_protocol::message::FromShim;
use burst_sync::wire::Outgoing;
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};
use rustix::event::{EventfdFlags, eventfd};
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;

use super::controlling::has_hung_up;
use super::job::{Scope, ignored_arrivals, suspend};
pub(crate) use super::job::{block_ignored, hear_of_children, ignored};
use super::streams::window_size;
use super::writing::Patience;
use super::{private_modes, raw_mode};

/// How long this program waits for its last message to be sent.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a run that has the keyboard may take to end after SIGTERM or SIGHUP.
const GRACE: Duration = Duration::from_secs(10);

/// What is called before a signal ends the program.
struct Goodbye(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Goodbye {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Goodbye")
    }
}

/// What is called when this process has been resumed.
#[derive(Clone)]
struct Resumed(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Resumed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resumed")
    }
}

/// Receives signals, and forwards them while cargo runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// Receives the signals; none in a simulation, which has none.
    runtime: Option<Handle>,
    /// Present while a run uses the terminal.
    resumed: Arc<Mutex<Option<Resumed>>>,
    /// Whether a run has the keyboard.
    has_keyboard: Arc<AtomicBool>,
    /// Whether SIGTSTP is received.
    controls_jobs: Arc<AtomicBool>,
    /// Whether the run is stopped until this process is continued.
    run_is_stopped: Arc<AtomicBool>,
    outgoing: Arc<Mutex<Option<Outgoing>>>,
    before_death: Arc<Mutex<Option<Goodbye>>>,
    once: Arc<AtomicBool>,
    /// Whether the terminal of a run that has the keyboard is closed.
    hung_up: Arc<AtomicBool>,
    /// Can be read once a signal has been forwarded; none in a simulation.
    forwarded: Option<Arc<OwnedFd>>,
    /// The signal by which this program ends; 0 for none.
    last: Arc<AtomicI32>,
}

impl Signals {
    /// Installs the handlers. Signals end the program until [`Self::forward_to`].
    pub(crate) fn listen(runtime: &Handle) -> Self {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let forwarded = eventfd(0, flags).ok().map(Arc::new);
        let signals = Self { runtime: Some(runtime.clone()), forwarded, ..Self::default() };
        for kind in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.on(kind, move |signals| signals.received(kind));
        }
        for kind in [Signal::SIGUSR1, Signal::SIGUSR2] {
            signals.on(kind, move |signals| match signals.target() {
                Some(outgoing) => {
                    drop(outgoing.message(&FromShim::SignalProcess(kind as i32)));
                }
                None => signals.die_by(kind as i32),
            });
        }
        signals.on(Signal::SIGCONT, Self::tell_resumed);
        signals.on(Signal::SIGWINCH, |signals| {
            let Some(outgoing) = signals.target() else { return };
            // After the end of the run it is not needed.
            drop(outgoing.message(&match window_size() {
                Some(size) => FromShim::Resize(size),
                None => FromShim::SignalProcess(Signal::SIGWINCH as i32),
            }));
        });
        signals.forward_ignored();
        signals
    }

    /// Forwards what this process ignores, on a thread of its own.
    fn forward_ignored(&self) {
        let Some(arrivals) = ignored_arrivals() else { return };
        let signals = self.clone();
        std::thread::spawn(move || {
            while let Ok(arrived) = arrivals.read_signal() {
                let number = arrived.and_then(|info| i32::try_from(info.ssi_signo).ok());
                let kind = number.and_then(|number| Signal::try_from(number).ok());
                if let (Some(kind), Some(outgoing)) = (kind, signals.target()) {
                    // After the end of the run it is not needed.
                    drop(outgoing.message(&forwarded(kind, has_hung_up())));
                }
            }
        });
    }

    /// Calls this on a thread of its own whenever the signal is received, unless it is ignored.
    fn on(&self, kind: Signal, act: impl Fn(&Self) + Clone + Send + 'static) {
        let Some(runtime) = &self.runtime else { return };
        if ignored().contains(&(kind as i32)) {
            return;
        }
        let signals = self.clone();
        runtime.spawn(async move {
            let Ok(mut received) = tokio::signal::unix::signal(SignalKind::from_raw(kind as i32))
            else {
                return;
            };
            while received.recv().await.is_some() {
                let (signals, act) = (signals.clone(), act.clone());
                tokio::task::spawn_blocking(move || act(&signals));
            }
        });
    }

    /// Notes that a run has the keyboard. Otherwise like [`Self::share_terminal`].
    pub(super) fn give_keyboard(&self, resumed: impl Fn() + Send + Sync + 'static) {
        self.has_keyboard.store(true, Ordering::Relaxed);
        self.share_terminal(resumed);
    }

    /// Notes that a run may change the mode of the terminal, and calls `resumed` whenever this
    /// process has been stopped and resumed meanwhile.
    pub(super) fn share_terminal(&self, resumed: impl Fn() + Send + Sync + 'static) {
        *lock(&self.resumed) = Some(Resumed(Arc::new(resumed)));
        if !self.controls_jobs.swap(true, Ordering::Relaxed) {
            self.on(Signal::SIGTSTP, |signals| {
                suspend(Scope::Process);
                signals.tell_resumed();
            });
        }
    }

    fn tell_resumed(&self) {
        let resumed = lock(&self.resumed).clone();
        if let Some(Resumed(act)) = resumed {
            act();
        }
        // The reader of its keys continues it once it has the terminal.
        if !self.has_keyboard.load(Ordering::Relaxed) {
            self.continue_run();
        }
    }

    /// Learns that the run is stopped. If it has the keyboard, the user is to have the shell:
    /// suspends the job of this process, and returns when that is resumed.
    pub(crate) fn run_stopped(&self) {
        if self.has_keyboard.load(Ordering::Relaxed) {
            suspend(Scope::Group);
            self.run_is_stopped.store(true, Ordering::Relaxed);
            self.tell_resumed();
        } else {
            self.run_is_stopped.store(true, Ordering::Relaxed);
        }
    }

    /// Continues the run if it is stopped.
    pub(super) fn continue_run(&self) {
        if self.run_is_stopped.swap(false, Ordering::Relaxed)
            && let Some(outgoing) = self.target()
        {
            // If the connection is lost, the receiver of messages reports it.
            drop(outgoing.message(&FromShim::Signal(Signal::SIGCONT as i32)));
        }
    }

    /// Notes that no run uses the terminal any more.
    pub(super) fn take_terminal(&self) {
        self.has_keyboard.store(false, Ordering::Relaxed);
        *lock(&self.resumed) = None;
    }

    /// Ends the run, and this program as by Ctrl-C.
    pub(super) fn end_run(&self) {
        match self.target() {
            Some(outgoing) => self.kill(Signal::SIGINT, &outgoing),
            None => self.die_by(Signal::SIGINT as i32),
        }
    }

    /// Acts as on SIGHUP: the terminal is closed.
    pub(super) fn hung_up(&self) {
        if !ignored().contains(&(Signal::SIGHUP as i32)) {
            self.received(Signal::SIGHUP);
        }
    }

    /// Forwards signals to this run from now on.
    pub(crate) fn forward_to(&self, outgoing: Outgoing) {
        *lock(&self.outgoing) = Some(outgoing);
    }

    /// Calls this, which may block for a moment, before a signal ends the program.
    pub(crate) fn before_death(&self, act: impl FnOnce() + Send + 'static) {
        let mut goodbye = lock(&self.before_death);
        *goodbye = Some(Goodbye(Box::new(act)));
    }

    fn die_by(&self, number: i32) -> ! {
        let goodbye = lock(&self.before_death).take();
        if let Some(Goodbye(act)) = goodbye {
            act();
        }
        die_by(number)
    }

    /// Stops forwarding: the run is over.
    pub(crate) fn stop_forwarding(&self) {
        *lock(&self.outgoing) = None;
    }

    /// The signal by which this program ends, whatever else happens: the first one while it is
    /// not forwarded, else the second; none if there was no such signal.
    pub(crate) fn ends_by(&self) -> Option<i32> {
        Some(self.last.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    /// The patience with a reader of the run's output: until a signal is forwarded.
    pub(crate) fn patience(&self) -> Patience<'_> {
        self.forwarded.as_ref().map_or(Patience::Endless, |event| Patience::Until(event.as_fd()))
    }

    /// Whether a signal was forwarded that may have ended the run.
    pub(crate) fn has_forwarded(&self) -> bool {
        self.once.load(Ordering::Relaxed) || self.hung_up.load(Ordering::Relaxed)
    }

    fn target(&self) -> Option<Outgoing> {
        lock(&self.outgoing).clone()
    }

    fn received(&self, kind: Signal) {
        let Some(outgoing) = self.target() else {
            // Before the connection is closed, which the command would report as an error.
            self.last.store(kind as i32, Ordering::Relaxed);
            self.die_by(kind as i32)
        };
        let ends_listening = matches!(kind, Signal::SIGTERM | Signal::SIGHUP);
        let has_grace = ends_listening && self.has_keyboard.load(Ordering::Relaxed);
        let closes = kind == Signal::SIGHUP && (has_grace || has_hung_up());
        // A terminal that closes is told several times: by the signal, when the shell ends, and to
        // the reader of keys.
        if closes && self.hung_up.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.once.swap(true, Ordering::Relaxed) && !closes {
            self.kill(kind, &outgoing);
        }
        drop(outgoing.message(&forwarded(kind, closes)));
        if let Some(forwarded) = &self.forwarded {
            // Fails only if it can be read already.
            rustix::io::write(forwarded, &1_u64.to_ne_bytes()).ok();
        }
        if has_grace {
            self.kill_after_grace(kind);
        }
    }

    /// Kills the run, and ends this program by a signal.
    fn kill(&self, kind: Signal, outgoing: &Outgoing) -> ! {
        self.last.store(kind as i32, Ordering::Relaxed);
        // If the connection is lost, the agent ends the run by itself.
        drop(outgoing.message(&FromShim::Kill));
        #[expect(
            clippy::disallowed_methods,
            reason = "no event tells that the last datagram has left this machine"
        )]
        std::thread::sleep(LAST_WORDS);
        private_modes::undo();
        self.die_by(kind as i32)
    }

    /// Kills the run if it still has the keyboard after [`GRACE`].
    fn kill_after_grace(&self, kind: Signal) {
        let (Some(runtime), signals) = (&self.runtime, self.clone()) else { return };
        runtime.spawn(async move {
            tokio::time::sleep(GRACE).await;
            tokio::task::spawn_blocking(move || {
                let target = signals.target();
                if let (Some(outgoing), true) =
                    (target, signals.has_keyboard.load(Ordering::Relaxed))
                {
                    signals.kill(kind, &outgoing);
                }
            });
        });
    }
}

/// What forwards a signal. `closes`: whether the terminal is closed.
fn forwarded(kind: Signal, closes: bool) -> FromShim {
    let of_group = match kind {
        Signal::SIGINT | Signal::SIGQUIT => true,
        Signal::SIGHUP => closes,
        _ => false,
    };
    match of_group {
        true => FromShim::Signal(kind as i32),
        false => FromShim::SignalProcess(kind as i32),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends this program by a signal, so that its parent sees that signal.
pub(crate) fn die_by(number: i32) -> ! {
    raw_mode::restore_for_good();
    if let Ok(kind) = Signal::try_from(number) {
        // SAFETY: the default action runs no code of ours.
        #[expect(
            unsafe_code,
            reason = "resetting a disposition is unsafe in nix's signature only"
        )]
        unsafe { signal(kind, SigHandler::SigDfl) }.ok();
        let mut blocked = SigSet::empty();
        blocked.add(kind);
        blocked.thread_unblock().ok();
        raise(kind).ok();
    }
    #[expect(clippy::exit, reason = "a signal that does not end us by itself still has to")]
    std::process::exit(128 + number);
}
