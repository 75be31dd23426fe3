//! A pseudo-terminal with a session in it; tests type keys and read what is shown.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use burst_tests::{carry_over, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, Termios, tcgetattr};

use super::terminal;

/// A terminal, and the session in it.
pub(crate) struct Desk {
    pub(crate) ours: std::fs::File,
    pub(crate) theirs: OwnedFd,
    pub(crate) child: Child,
    /// The modes before the session.
    before: Termios,
    shown: Vec<u8>,
    /// How much of it was expected already.
    seen: usize,
}

impl Desk {
    /// Starts a command that leads a session with this terminal.
    pub(crate) fn start(command: &Command) -> Self {
        let mut session = Command::new("setsid");
        session.arg("-c").arg(command.get_program());
        carry_over(&mut session, command);
        let (ours, theirs) = terminal();
        let before = tcgetattr(&theirs).unwrap();
        for set in [Command::stdin::<OwnedFd>, Command::stdout, Command::stderr] {
            set(&mut session, theirs.try_clone().unwrap());
        }
        let child = session.spawn().unwrap();
        Self { ours, theirs, child, before, shown: Vec::new(), seen: 0 }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads what is shown. Returns whether there was something before the deadline.
    fn read_until(&mut self, deadline: Instant) -> bool {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
        let mut events = [PollFd::new(&self.ours, PollFlags::IN)];
        if poll(&mut events, Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let read = rustix::io::read(&self.ours, &mut buffer).unwrap_or_default();
        self.shown.extend_from_slice(&buffer[..read]);
        read > 0
    }

    pub(crate) fn rest(&self) -> String {
        String::from_utf8_lossy(&self.shown[self.seen..]).into_owned()
    }

    /// Waits until exactly this is shown next.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.rest().len() < text.len() && self.read_until(deadline) {}
        assert!(self.rest().starts_with(text), "expected {text:?}, found {:?}", self.rest());
        self.seen += text.len();
    }

    /// Waits until this is shown, whatever is shown before it. Returns what that is.
    #[track_caller]
    pub(crate) fn find(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        let found = loop {
            match self.rest().find(text) {
                Some(found) => break found,
                None => assert!(self.read_until(deadline), "no {text:?}: {:?}", self.rest()),
            }
        };
        let before = self.rest()[..found].to_owned();
        self.seen += found + text.len();
        before
    }

    /// Waits until the local terminal passes every key unchanged.
    #[track_caller]
    pub(crate) fn wait_until_raw(&self) {
        wait_until("a raw terminal", || {
            !tcgetattr(&self.theirs).unwrap().local_modes.contains(LocalModes::ICANON)
        });
    }

    /// Waits until the local terminal does not show what is typed.
    #[track_caller]
    pub(crate) fn wait_until_hidden(&self) {
        wait_until("a terminal that hides", || {
            !tcgetattr(&self.theirs).unwrap().local_modes.contains(LocalModes::ECHO)
        });
    }

    /// Whether the local terminal gives lines, and shows what is typed.
    pub(crate) fn has_lines(&self) -> bool {
        let lines = LocalModes::ICANON | LocalModes::ECHO;
        tcgetattr(&self.theirs).unwrap().local_modes.contains(lines)
    }

    /// Waits for the end: nothing more is shown, and the terminal is as it was.
    #[track_caller]
    pub(crate) fn end(mut self) -> ExitStatus {
        let status = self.leave();
        assert_eq!(self.rest(), "");
        status
    }

    /// Waits for the end of a program that Ctrl-C ends. The kernel makes the signal first: the
    /// program may have closed its terminal before the key is echoed.
    #[track_caller]
    pub(crate) fn end_interrupted(mut self) -> ExitStatus {
        let status = self.leave();
        assert!(["", "^C"].contains(&self.rest().as_str()), "{}", self.rest());
        status
    }

    /// Waits for the end: the terminal is as it was.
    #[track_caller]
    pub(crate) fn leave(&mut self) -> ExitStatus {
        wait_until("the end", || {
            // A session does not end while nobody reads what it shows.
            self.read_until(Instant::now());
            self.child.try_wait().unwrap().is_some()
        });
        while self.read_until(Instant::now()) {}
        let (after, before) = (tcgetattr(&self.theirs).unwrap(), &self.before);
        assert_eq!(after.input_modes, before.input_modes);
        assert_eq!(after.output_modes, before.output_modes);
        assert_eq!(after.local_modes, before.local_modes);
        self.child.wait().unwrap()
    }
}
