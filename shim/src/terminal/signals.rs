//! Ctrl-C and its like, while a run is under way.
//!
//! The first one goes to cargo's process group on the other end, as it would here;
//! cargo then ends in its own way and we with it. The second one ends the run and
//! this program at once. Before cargo runs, the first one already ends us: nothing
//! has happened yet.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burst_protocol::message::{FromShim, WindowSize};
use burst_sync::wire::Outgoing;
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;

/// How long the last message may take on its way.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where signals go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    outgoing: Arc<Mutex<Option<Outgoing>>>,
    once: Arc<AtomicBool>,
    /// The signal that came a second time; 0 is none.
    last: Arc<AtomicI32>,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen(runtime: &Handle) -> Self {
        let signals = Self::default();
        for kind in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
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
                        // A run that is over needs no size.
                        drop(outgoing.message(&FromShim::Resize(size)));
                    }
                });
            }
        });
        signals
    }

    /// From now on signals go to this run.
    pub(crate) fn forward_to(&self, outgoing: Outgoing) {
        *self.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = Some(outgoing);
    }

    /// The run is over.
    pub(crate) fn stop_forwarding(&self) {
        *self.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The signal by which the user insisted, if any: it is how this program
    /// ends, whatever else happens meanwhile.
    pub(crate) fn insisted(&self) -> Option<i32> {
        Some(self.last.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    fn target(&self) -> Option<Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn received(&self, kind: Signal) {
        let again = self.once.swap(true, Ordering::Relaxed);
        let Some(outgoing) = self.target() else { die_by(kind as i32) };
        if again {
            self.last.store(kind as i32, Ordering::Relaxed);
            // If the agent hears nothing any more, its own end of the stream tells.
            drop(outgoing.message(&FromShim::Kill));
            std::thread::sleep(LAST_WORDS);
            die_by(kind as i32);
        }
        drop(outgoing.message(&FromShim::Signal(kind as i32)));
    }
}

/// The size of the terminal, if one of our streams is one.
pub(crate) fn window_size() -> Option<WindowSize> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stderr(), rustix::stdio::stdin()];
    streams.into_iter().find_map(|stream| {
        let size = rustix::termios::tcgetwinsize(stream).ok()?;
        (size.ws_col > 0).then_some(WindowSize { columns: size.ws_col, rows: size.ws_row })
    })
}

/// Ends this program by a signal, so that whoever started it sees just that.
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
