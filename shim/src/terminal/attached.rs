//! The terminal while it shows a detached run: what is typed, its size and signals, one event
//! after the other.
//!
//! Where the run has a terminal of its own, every key is the run's but for the
//! [escapes](super::keyboard) of `attach`. Where it has none, keys are only read for these, and
//! Ctrl-C is a signal. Keys are read only while this process is in the foreground.
//!
//! This is for a process of one thread: signals are blocked in it and arrive as events.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use burst_protocol::message::WindowSize;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, Termios};

use super::foreground::{FOREGROUND_CHECK_INTERVAL, fail_instead_of_stop, is_foreground};
use super::job::{Scope, ignored, suspend};
use super::keyboard::{Escapes, Event, Keyboard};
use super::streams::may_take_keyboard;
use super::streams::window_size;
use super::writing::Patience;
use super::{line, private_modes, raw_mode};

/// Bytes that are read at once.
const READ_BYTES: usize = 32 << 10;

/// The escapes, as `~?` lists them.
const ESCAPES: &str = "escapes at the beginning of a line:\n\
                       \x20 ~d   leave the run, which goes on\n\
                       \x20 ~^Z  suspend this command\n\
                       \x20 ~.   end the run, where its program has the keyboard\n\
                       \x20 ~~   send a tilde\n\
                       \x20 ~?   list these escapes";

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// The other descriptor can be read, or has reached its end.
    Readable,
    /// Keys for the run.
    Keys(Vec<u8>),
    /// The size of the terminal, at first and when it has changed.
    Size(WindowSize),
    /// A signal for the run.
    Signal(i32),
    /// The user leaves the run.
    Detached,
    /// A signal ends this process: its terminal is closed, or it is terminated.
    Ends(i32),
}

/// The terminal, if there is one. When it is dropped, it has its mode again, and signals have their
/// usual effect.
#[derive(Debug)]
pub(crate) struct AttachedTerminal {
    signals: SignalFd,
    /// The signal mask before.
    mask: SigSet,
    keyboard: Keyboard,
    /// Whether this process is to have the keyboard, and whether it has it now.
    wants_keyboard: bool,
    has_keyboard: bool,
    /// Whether another process may have changed the mode of the terminal.
    is_changed: bool,
    passes_keys: bool,
    is_over: AtomicBool,
    happened: VecDeque<Happening>,
}

impl AttachedTerminal {
    /// Takes the keyboard if there is one. `passes_keys`: whether the run has a terminal.
    pub(crate) fn take(passes_keys: bool) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        let ignored = ignored();
        for kind in [
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGWINCH,
            Signal::SIGCONT,
            Signal::SIGTSTP,
            Signal::SIGALRM,
            Signal::SIGABRT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ] {
            // A signal that is ignored would arrive if it were blocked.
            if !ignored.contains(&(kind as i32)) {
                signals.add(kind);
            }
        }
        let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        fail_instead_of_stop();
        raw_mode::restore_on_panic();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let mut terminal = Self {
            signals: SignalFd::with_flags(&signals, flags)?,
            mask,
            keyboard: Keyboard::new(Escapes::OfAttach),
            wants_keyboard: may_take_keyboard(),
            has_keyboard: false,
            is_changed: false,
            passes_keys,
            is_over: AtomicBool::new(false),
            happened: VecDeque::new(),
        };
        // Before anything is shown: a terminal of the run has translated the line ends.
        terminal.look_at_keyboard();
        Ok(terminal)
    }

    /// What happens next, here or with `other`. Blocks if it `waits`; otherwise there may be
    /// nothing.
    pub(crate) fn next(
        &mut self,
        other: BorrowedFd<'_>,
        waits: bool,
    ) -> io::Result<Option<Happening>> {
        loop {
            if let Some(happening) = self.happened.pop_front() {
                return Ok(Some(happening));
            }
            if std::mem::take(&mut self.is_changed) {
                self.look_at_keyboard();
                continue;
            }
            self.wait(other, waits)?;
            if !waits && self.happened.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Undoes what the program of the run has set in the terminal, and ends the line that it has
    /// begun: the user leaves it while it runs.
    pub(crate) fn leave(&self) {
        private_modes::leave();
    }

    /// The patience with a reader of what is shown: until there is a signal.
    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience::Until(self.signals.as_fd())
    }

    /// Prints a line in the middle of what the run shows.
    fn note(&self, text: &str) {
        line::write(&format!("\nburst: {text}"));
    }

    /// Takes the keyboard if this process is in the foreground; the size may have changed.
    fn look_at_keyboard(&mut self) {
        if self.wants_keyboard {
            let change = if self.passes_keys { Termios::make_raw } else { without_lines };
            self.has_keyboard = raw_mode::enter(&self.is_over, true, change);
        }
        if self.has_keyboard {
            self.happened.extend(window_size().map(Happening::Size));
        }
    }

    fn wait(&mut self, other: BorrowedFd<'_>, waits: bool) -> io::Result<()> {
        let waits_for_keyboard = self.wants_keyboard && !self.has_keyboard;
        let deadline = match waits {
            false => Some(Timespec::default()),
            true if waits_for_keyboard => Timespec::try_from(FOREGROUND_CHECK_INTERVAL).ok(),
            true => None,
        };
        let keys = if self.has_keyboard { PollFlags::IN } else { PollFlags::empty() };
        let stdin = rustix::stdio::stdin();
        let mut polled = [
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(other, PollFlags::IN),
            PollFd::new(&stdin, keys),
        ];
        let polled = if self.wants_keyboard { &mut polled[..] } else { &mut polled[..2] };
        match poll(polled, deadline.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            other => other?,
        };
        self.is_changed = waits_for_keyboard;
        let events: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        if events[0] {
            self.take_signals()?;
        }
        if events.get(2) == Some(&true) {
            self.take_keys();
        }
        if events[1] {
            self.happened.push_back(Happening::Readable);
        }
        Ok(())
    }

    fn take_signals(&mut self) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGWINCH | Signal::SIGCONT) => self.is_changed = true,
                Ok(Signal::SIGTSTP) => {
                    suspend(Scope::Process);
                    self.is_changed = true;
                }
                Ok(Signal::SIGINT | Signal::SIGQUIT) => {
                    self.happened.push_back(Happening::Signal(number));
                }
                _ => self.happened.push_back(Happening::Ends(number)),
            }
        }
        Ok(())
    }

    fn take_keys(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        let stdin = rustix::stdio::stdin();
        match rustix::io::read(stdin, &mut buffer) {
            Ok(read) if read > 0 => {
                for event in self.keyboard.type_in(&buffer[..read], false) {
                    self.act(event);
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) if !is_foreground(stdin) => self.has_keyboard = false,
            _ => self.happened.push_back(Happening::Ends(Signal::SIGHUP as i32)),
        }
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Input(bytes) => self.happened.push_back(Happening::Keys(bytes)),
            Event::Detach => self.happened.push_back(Happening::Detached),
            Event::Suspend => {
                suspend(Scope::Group);
                self.is_changed = true;
            }
            Event::List => self.note(ESCAPES),
            // Left to the command of the run.
            Event::End | Event::InVain => {}
        }
    }
}

impl Drop for AttachedTerminal {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        raw_mode::restore();
        self.mask.thread_set_mask().ok();
    }
}

/// Keys are read as they are typed and not shown; the terminal still makes signals of them.
fn without_lines(modes: &mut Termios) {
    modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
}
