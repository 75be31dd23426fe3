//! The keyboard as the run's: the terminal here is raw, and every key goes to the controlling
//! terminal of the run, but for the [escapes](super::keyboard).
//!
//! A thread reads the keys from the start of the run until its end, and only while this process
//! is in the foreground: in the background it waits to be brought back. It never waits for the
//! run, so an escape is heard even if the run reads nothing.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use burst_protocol::message::{Ending, FromShim};
use burst_sync::flow_control::SendWindow;
use burst_sync::wire::Outgoing;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Termios;

use super::foreground::{FOREGROUND_CHECK_INTERVAL, fail_instead_of_stop, is_foreground};
use super::job::{Scope, signal_others, suspend, wait_until_parent_has};
use super::keyboard::{Escapes, Event, INTERRUPT, Keyboard, QUIT, is_answer};
use super::signals::Signals;
use super::streams::window_size;
use super::{line, raw_mode};

/// Bytes of one message; several fit into the window.
pub(super) const PIECE_BYTES: usize = 32 << 10;

/// The escapes, as `~?` lists them.
const ESCAPES: &str = "escapes at the beginning of a line:\n\
                       \x20 ~.   end the run and this command\n\
                       \x20 ~^Z  suspend this command\n\
                       \x20 ~~   send a tilde\n\
                       \x20 ~?   list these escapes";

/// What is said when Ctrl-C has changed nothing.
const IN_VAIN: &str = "Ctrl-C goes to the program; Enter, then `~.` ends the run";

/// The reader of the keys. When it is dropped, the terminal has its mode again.
pub(super) struct Keys {
    shared: Arc<Shared>,
    signals: Signals,
}

/// What the reader is woken for, as a byte in a pipe.
const RESUMED: u8 = b'r';
const CREDIT: u8 = b'c';
const OVER: u8 = b'o';

/// The most bytes of keys that wait until the run has read earlier ones. What is typed beyond
/// is lost, as on a terminal whose program reads nothing.
const WAITING_BYTES_MAX: usize = 1 << 20;

struct Shared {
    /// Whether the run has written something since it was asked last.
    answered: AtomicBool,
    /// Whether keys wait for credit of the agent.
    waits: AtomicBool,
    /// The last key.
    last: AtomicU8,
    is_over: AtomicBool,
    wake: OwnedFd,
}

impl Shared {
    fn wake(&self, reason: u8) {
        // A full pipe wakes the reader, too.
        rustix::io::write(&self.wake, &[reason]).ok();
    }
}

impl Keys {
    /// Starts the reader.
    pub(super) fn start(
        outgoing: &Outgoing,
        signals: &Signals,
        window: &Arc<SendWindow>,
    ) -> Result<Self, Errno> {
        let (woken, wake) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            answered: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            last: AtomicU8::new(0),
            is_over: AtomicBool::new(false),
            wake,
        });
        raw_mode::restore_on_panic();
        signals.give_keyboard({
            let shared = shared.clone();
            move || shared.wake(RESUMED)
        });
        let reader = Reader {
            shared: shared.clone(),
            woken,
            outgoing: outgoing.clone(),
            signals: signals.clone(),
            window: window.clone(),
            waiting: Vec::new(),
        };
        std::thread::spawn(move || reader.read_keys());
        Ok(Self { shared, signals: signals.clone() })
    }

    /// Learns how the run has ended. If a key has ended it, the signal of that key reaches the
    /// job of this process, as a terminal that is not raw has it: a script ends with its command.
    pub(super) fn ended(&self, ending: Ending) {
        let signal = match self.shared.last.load(Ordering::Relaxed) {
            INTERRUPT => Signal::SIGINT,
            QUIT => Signal::SIGQUIT,
            _ => return,
        };
        if ending == Ending::Signaled(signal as i32) && is_foreground(rustix::stdio::stdin()) {
            signal_others(signal);
            wait_until_parent_has(signal);
        }
    }

    /// Learns that the agent has returned credit.
    pub(super) fn credited(&self) {
        if self.shared.waits.load(Ordering::Acquire) {
            self.shared.wake(CREDIT);
        }
    }

    /// Learns what the run has written.
    pub(super) fn answered(&self, output: &[u8]) {
        if is_answer(output) {
            self.shared.answered.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.wake(OVER);
        self.signals.take_terminal();
        raw_mode::restore();
    }
}

struct Reader {
    shared: Arc<Shared>,
    woken: OwnedFd,
    outgoing: Outgoing,
    signals: Signals,
    window: Arc<SendWindow>,
    /// Keys that wait for credit.
    waiting: Vec<u8>,
}

/// The connection is lost, which the receiver of messages reports.
struct Gone;

/// What has happened.
enum Next {
    Keys,
    /// Keys that wait can be sent.
    Credit,
    /// Another process may have changed the mode of the terminal.
    Resumed,
    /// Time to look whether this process is in the foreground.
    Look,
    /// The terminal or the run is over.
    Over,
}

impl Reader {
    fn read_keys(mut self) {
        fail_instead_of_stop();
        let mut keyboard = Keyboard::new(Escapes::OfRun);
        let mut buffer = vec![0; PIECE_BYTES];
        let (mut has_keyboard, mut anew) = (false, false);
        loop {
            let entered = raw_mode::enter(&self.shared.is_over, anew, Termios::make_raw);
            let had = std::mem::replace(&mut has_keyboard, entered);
            if has_keyboard && (anew || !had) {
                self.tell_size();
            }
            if anew {
                self.signals.continue_run();
            }
            anew = false;
            match self.wait(has_keyboard) {
                Next::Keys => {}
                Next::Resumed => {
                    anew = true;
                    continue;
                }
                Next::Credit => match self.send_waiting() {
                    Ok(()) => continue,
                    Err(Gone) => return,
                },
                Next::Look => continue,
                Next::Over => return,
            }
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => return self.signals.hung_up(),
                Ok(read) => {
                    let answered = self.shared.answered.swap(false, Ordering::Relaxed);
                    for event in keyboard.type_in(&buffer[..read], answered) {
                        if self.act(event).is_err() {
                            return;
                        }
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) if !is_foreground(rustix::stdio::stdin()) => {}
                Err(_) => return self.signals.hung_up(),
            }
        }
    }

    /// Waits for keys if this process has the keyboard, for a change, or for the end.
    fn wait(&self, has_keyboard: bool) -> Next {
        let interval = Timespec::try_from(FOREGROUND_CHECK_INTERVAL).ok();
        let (keys, deadline) = match has_keyboard {
            true => (PollFlags::IN, None),
            false => (PollFlags::empty(), interval.as_ref()),
        };
        let stdin = rustix::stdio::stdin();
        let mut events = [PollFd::new(&self.woken, PollFlags::IN), PollFd::new(&stdin, keys)];
        let polled = poll(&mut events, deadline);
        if self.shared.is_over.load(Ordering::Acquire) {
            // What is typed now is not the run's any more.
            return Next::Over;
        }
        match polled {
            Err(Errno::INTR) => return Next::Look,
            Err(_) => return Next::Over,
            Ok(_) => {}
        }
        if !events[0].revents().is_empty() {
            let mut reasons = [0; 64];
            let read = rustix::io::read(&self.woken, &mut reasons).unwrap_or_default();
            let resumed = reasons[..read].contains(&RESUMED);
            return if resumed { Next::Resumed } else { Next::Credit };
        }
        // Also in the background: reading then tells that the terminal has hung up.
        if events[1].revents().is_empty() { Next::Look } else { Next::Keys }
    }

    fn act(&mut self, event: Event) -> Result<(), Gone> {
        match event {
            Event::Input(bytes) => {
                if let Some(last) = bytes.last() {
                    self.shared.last.store(*last, Ordering::Relaxed);
                }
                let room = WAITING_BYTES_MAX.saturating_sub(self.waiting.len());
                self.waiting.extend(bytes.into_iter().take(room));
                return self.send_waiting();
            }
            Event::End => {
                self.say("the run is ended");
                self.signals.end_run();
            }
            Event::Suspend => suspend(Scope::Group),
            // Only among the escapes of `attach`.
            Event::Detach => {}
            Event::List => self.say(ESCAPES),
            Event::InVain => self.say(IN_VAIN),
        }
        Ok(())
    }

    /// Sends the keys that wait, as far as there is credit for them.
    fn send_waiting(&mut self) -> Result<(), Gone> {
        self.shared.waits.store(true, Ordering::Release);
        while !self.waiting.is_empty() {
            let size = self.waiting.len().min(PIECE_BYTES);
            if !self.window.has_room(size) {
                return Ok(());
            }
            let rest = self.waiting.split_off(size);
            let piece = std::mem::replace(&mut self.waiting, rest);
            self.window.sent(size);
            self.outgoing.message(&FromShim::Input(piece.into())).map_err(|_| Gone)?;
        }
        self.shared.waits.store(false, Ordering::Release);
        Ok(())
    }

    /// Prints a line in the middle of what the run shows.
    fn say(&self, text: &str) {
        line::write(&format!("\nburst: {text}"));
    }

    /// Tells the run the size of the terminal, which may have changed in the background.
    fn tell_size(&self) {
        if let Some(size) = window_size() {
            // After the end of the run it is not needed.
            drop(self.outgoing.message(&FromShim::Resize(size)));
        }
    }
}
