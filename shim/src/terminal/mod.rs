//! The only room that prints and asks.
//!
//! cargo's output is passed on unchanged, each stream to the same one here. Everything of
//! our own goes to standard error: progress of steps that take longer than half a second, one
//! summary line, warnings, errors. On a terminal progress is a spinner that disappears,
//! elsewhere it is lines of text.
//!
//! Invariant: of all that is printed only the output of programs, cargo's own errors and our
//! help can steer a terminal. In everything else, which may hold a text of the agent, a path
//! or a setting, control characters are shown escaped.

pub(crate) mod attached;
pub(crate) mod browser;
pub(crate) mod color;
mod controlling;
mod figure;
mod foreground;
mod job;
mod keyboard;
mod keys;
mod line;
mod private_modes;
mod progress;
mod question;
mod raw_mode;
mod shared;
pub(crate) mod signals;
pub(crate) mod stdin;
pub(crate) mod streams;
mod wait_note;
mod writing;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use burst_protocol::message::Stream;
use burst_sync::tally::Tally;
use rustix::io::Errno;

use self::color::painted;
pub(crate) use self::figure::{amount, bytes, counted, seconds, span};
use self::line::harmless;
pub(crate) use self::line::harmless_line;
use self::progress::Progress;
pub(crate) use self::question::{Answer, TRIES, can_ask};
use self::wait_note::WaitNote;
pub(crate) use self::writing::Patience;
use crate::error::{Error, ErrorKind};

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors and warnings only.
    Quiet,
    /// Also progress and the summary.
    Normal,
    /// Also what each part took.
    Verbose,
}

/// Standard output and standard error.
#[derive(Debug)]
pub(crate) struct Terminal {
    verbosity: Verbosity,
    progress: Progress,
    /// Where a detached run notes what it waits for.
    waits: Option<WaitNote>,
}

impl Terminal {
    /// For one command.
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, progress: Progress::new(), waits: None }
    }

    /// Notes at this path what the command waits for, whatever it prints.
    #[must_use]
    pub(crate) fn noting_waits(self, path: Option<PathBuf>) -> Self {
        Self { waits: path.map(WaitNote::at), ..self }
    }

    /// Whether only errors and warnings are printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// Starts the progress of a step, unless `--quiet`. It ends with the next step or with
    /// [`quiet`](Self::quiet), and is shown only after half a second.
    pub(crate) fn begin(&self, text: impl Into<String>) {
        self.note_wait(None);
        match self.verbosity {
            Verbosity::Quiet => self.progress.clear(),
            Verbosity::Normal | Verbosity::Verbose => {
                self.progress.start(harmless_line(&text.into()), None);
            }
        }
    }

    /// Starts the progress of a step that is a wait for `what`. It ends with what is printed next,
    /// and not where a tallied step begins: sources are sent while a server boots.
    pub(crate) fn wait_for(&self, what: &str, text: impl Into<String>) {
        self.begin(text);
        self.note_wait(Some(what));
    }

    fn note_wait(&self, what: Option<&str>) {
        match (&self.waits, what) {
            (Some(note), Some(what)) => note.write(what),
            (Some(note), None) => note.clear(),
            (None, _) => {}
        }
    }

    /// Starts the progress of a step, with the figures of `tally`. A step of the same name that
    /// is in progress already keeps the time at which it began.
    pub(crate) fn begin_tallied(&self, text: &str, tally: &Arc<Tally>) {
        if self.verbosity > Verbosity::Quiet {
            self.progress.start(harmless_line(text), Some(Arc::clone(tally)));
        }
    }

    /// Starts the thread that shows progress. It ends when the terminal is dropped.
    pub(crate) fn keep_moving(&self) {
        self.progress.keep_moving();
    }

    /// Likewise, but only where standard error is a terminal: a command that is usually done at
    /// once prints no lines of progress.
    pub(crate) fn keep_spinning(&self) {
        if io::stderr().is_terminal() {
            self.keep_moving();
        }
    }

    /// Clears the progress line.
    pub(crate) fn quiet(&self) {
        self.note_wait(None);
        self.progress.clear();
    }

    /// Passes on output of the run, byte for byte. Returns how many bytes are written: all, unless
    /// the patience with the reader has ended. A terminal that is closed shows nothing any more,
    /// which a program may survive.
    pub(crate) fn pass_on(
        &self,
        stream: Stream,
        bytes: &[u8],
        patience: Patience<'_>,
    ) -> io::Result<usize> {
        self.quiet();
        let Some(to) = streams::destination(stream) else { return Ok(bytes.len()) };
        let is_closed = |error: &io::Error| {
            error.raw_os_error() == Some(Errno::IO.raw_os_error()) && controlling::has_hung_up()
        };
        let written = match writing::write(to, bytes, patience) {
            Err(error) if is_closed(&error) => bytes.len(),
            other => other?,
        };
        private_modes::note(to, &bytes[..written]);
        Ok(written)
    }

    /// Waits until output can be passed on, or an error says why not; false once the patience with
    /// the reader has ended.
    pub(crate) fn wait_for_room(&self, stream: Stream, patience: Patience<'_>) -> io::Result<bool> {
        streams::destination(stream).map_or(Ok(true), |to| writing::has_room(to, patience))
    }

    /// Resets private modes of the terminals that a program has set and that it cannot reset: it
    /// was killed.
    pub(crate) fn undo_modes(&self) {
        private_modes::undo();
    }

    /// Prints one line on standard error, unless `--quiet`.
    pub(crate) fn say(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.notice(text);
        }
    }

    /// Prints one line on standard error, also with `--quiet`.
    pub(crate) fn notice(&self, text: &str) {
        self.quiet();
        line::write(&format!("burst: {}", harmless(text)));
    }

    /// Prints one line on standard error with `--verbose`.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.notice(text);
        }
    }

    /// Prints a warning, which the user can act on.
    pub(crate) fn warn(&self, text: &str) {
        self.quiet();
        line::write(&format!("{} {}", painted("warning:", "33;1"), harmless(text)));
    }

    /// Prints the error that ends the command: message, causes and hint.
    pub(crate) fn error(&self, failure: &Error) {
        self.quiet();
        if failure.kind() == ErrorKind::BrokenPipe {
            return;
        }
        if failure.kind() == ErrorKind::Cargo {
            // cargo's own report is complete; it may be written already.
            match failure.to_string().trim_end() {
                "" => {}
                report => line::write(report),
            }
            return;
        }
        let message = harmless_line(&failure.to_string());
        line::write(&format!("{} {message}", painted("error:", "31;1")));
        for cause in failure.causes() {
            line::write(&format!("{} {}", painted("caused by:", "1"), harmless_line(cause)));
        }
        line::write(&format!("{} {}", painted("hint:", "36;1"), harmless_line(failure.hint())));
    }

    /// Prints a result on standard output.
    pub(crate) fn result(&self, text: &str) -> Result<(), Error> {
        self.quiet();
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(harmless(text).as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|source| unwritable(&source))
    }

    /// Prints help on standard output, in colours.
    pub(crate) fn help(&self, text: &str) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|source| unwritable(&source))
    }

    /// Prints help that was not asked for, on standard error.
    pub(crate) fn complain(&self, text: &str) {
        line::write(text.trim_end());
    }

    /// Asks a question whose answer is yes or no; Enter alone gives the default. After three
    /// other answers, and at the end of the input, the answer is no. Only where
    /// [`can_ask`] says so.
    pub(crate) fn ask(&self, question: &str, default: Answer) -> bool {
        self.answer(question, default) == Some(Answer::Yes)
    }

    /// As [`ask`](Self::ask), with none where there is no answer.
    pub(crate) fn answer(&self, question: &str, default: Answer) -> Option<Answer> {
        self.quiet();
        let (input, output) = (io::stdin().lock(), io::stderr().lock());
        question::yes_or_no(input, output, &harmless(question), default)
    }

    /// Asks for a text, named by `noun`. Enter alone gives the default, the end of the input none.
    pub(crate) fn ask_for(&self, noun: &str, default: &str) -> Option<String> {
        self.quiet();
        question::text(io::stdin().lock(), io::stderr().lock(), &harmless(noun), default)
    }

    /// Asks for a secret, which is not shown while it is typed.
    pub(crate) fn ask_secretly(&self, question: &str) -> io::Result<String> {
        self.quiet();
        rpassword::prompt_password(harmless(question))
    }
}

/// The error of output that cannot be written. A reader that has gone, as in `| head`, is
/// no failure to report.
pub(crate) fn unwritable(source: &io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::BrokenPipe => ErrorKind::BrokenPipe,
        _ => ErrorKind::Output,
    };
    Error::new(
        kind,
        "the output cannot be written",
        "check where standard output and standard error go (a full disk?), then run the command \
         again",
    )
    .caused_by(source)
}
