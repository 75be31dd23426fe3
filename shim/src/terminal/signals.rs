//! Signals (Ctrl-C, Ctrl-\, SIGTERM, SIGHUP) during a run.
//!
//! The first one is forwarded to cargo's process group on the other end; cargo ends as it
//! would here, and this program with it. The second one kills the run and ends this program
//! at once. Before cargo runs, the first one ends this program: nothing has happened yet.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burst_protocol::message::{FromShim, WindowSize};
use burst_sync::wire::Outgoing;
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;

/// How long this program waits for its last message to be sent.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What is called before a signal ends the program.
struct Goodbye(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Goodbye {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Goodbye")
    }
}

/// Receives signals, and forwards them while cargo runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    outgoing: Arc<Mutex<Option<Outgoing>>>,
    before_death: Arc<Mutex<Option<Goodbye>>>,
    once: Arc<AtomicBool>,
    /// The signal by which this program ends; 0 for none.
    last: Arc<AtomicI32>,
}

impl Signals {
    /// Installs the handlers. Signals end the program until [`Self::forward_to`].
    pub(crate) fn listen(runtime: &Handle) -> Self {
        let signals = Self::default();
        for kind in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
            let signals = signals.clone();
            runtime.spawn(async move {
                let Ok(mut received) =
                    tokio::signal::unix::signal(SignalKind::from_raw(kind as i32))
                else {
                    return;
                };
                while received.recv().await.is_some() {
                    let signals = signals.clone();
                    tokio::task::spawn_blocking(move || signals.received(kind));
                }
            });
        }
        let resized = signals.clone();
        runtime.spawn(async move {
            let Ok(mut received) = tokio::signal::unix::signal(SignalKind::window_change()) else {
                return;
            };
            while received.recv().await.is_some() {
                let resized = resized.clone();
                tokio::task::spawn_blocking(move || {
                    if let (Some(outgoing), Some(size)) = (resized.target(), window_size()) {
                        // After the end of the run it is not needed.
                        drop(outgoing.message(&FromShim::Resize(size)));
                    }
                });
            }
        });
        signals
    }

    /// Forwards signals to this run from now on.
    pub(crate) fn forward_to(&self, outgoing: Outgoing) {
        *self.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = Some(outgoing);
    }

    /// Calls this, which may block for a moment, before a signal ends the program.
    pub(crate) fn before_death(&self, act: impl FnOnce() + Send + 'static) {
        let mut goodbye = self.before_death.lock().unwrap_or_else(PoisonError::into_inner);
        *goodbye = Some(Goodbye(Box::new(act)));
    }

    fn die_by(&self, number: i32) -> ! {
        let goodbye = self.before_death.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Goodbye(act)) = goodbye {
            act();
        }
        die_by(number)
    }

    /// Stops forwarding: the run is over.
    pub(crate) fn stop_forwarding(&self) {
        *self.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The signal by which this program ends, whatever else happens: the first one while it is
    /// not forwarded, else the second; none if there was no such signal.
    pub(crate) fn ends_by(&self) -> Option<i32> {
        Some(self.last.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    fn target(&self) -> Option<Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn received(&self, kind: Signal) {
        let again = self.once.swap(true, Ordering::Relaxed);
        let target = self.target();
        if again || target.is_none() {
            // Before the connection is closed, which the command would report as an error.
            self.last.store(kind as i32, Ordering::Relaxed);
        }
        let Some(outgoing) = target else { self.die_by(kind as i32) };
        if again {
            // If the connection is lost, the agent ends the run by itself.
            drop(outgoing.message(&FromShim::Kill));
            #[expect(
                clippy::disallowed_methods,
                reason = "no event tells that the last datagram has left this machine"
            )]
            std::thread::sleep(LAST_WORDS);
            self.die_by(kind as i32);
        }
        drop(outgoing.message(&FromShim::Signal(kind as i32)));
    }
}

/// The size of the terminal, if one of the standard streams is one.
pub(crate) fn window_size() -> Option<WindowSize> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stderr(), rustix::stdio::stdin()];
    streams.into_iter().find_map(|stream| {
        let size = rustix::termios::tcgetwinsize(stream).ok()?;
        (size.ws_col > 0).then_some(WindowSize { columns: size.ws_col, rows: size.ws_row })
    })
}

/// Ends this program by a signal, so that its parent sees that signal.
pub(crate) fn die_by(number: i32) -> ! {
    if let Ok(kind) = Signal::try_from(number) {
        // SAFETY: the default action runs no code of ours.
        #[expect(
            unsafe_code,
            reason = "resetting a disposition is unsafe in nix's signature only"
        )]
        unsafe { signal(kind, SigHandler::SigDfl) }.ok();
        raise(kind).ok();
    }
    #[expect(clippy::exit, reason = "a signal that does not end us by itself still has to")]
    std::process::exit(128 + number);
}
