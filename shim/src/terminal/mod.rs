//! The only module that prints.
//!
//! cargo's words go through unchanged: its standard output to ours, its standard
//! error to ours. Everything of our own goes to standard error: progress of what
//! takes longer than half a second, one line of summary, warnings, errors. On a
//! terminal progress is a spinner that disappears; elsewhere it is plain lines.

pub(crate) mod browser;
pub(crate) mod color;
pub(crate) mod signals;
pub(crate) mod stdin;

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use burst_protocol::message::Stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::color::painted;
use crate::error::{Error, ErrorKind};

/// How long something takes before it is worth a word.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

/// How often a plain line says that it still goes on.
const REPEATED_AFTER: Duration = Duration::from_secs(15);

/// How often progress moves.
const TICK: Duration = Duration::from_millis(100);

/// How much we say.
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
    progress: Mutex<Option<Progress>>,
}

#[derive(Debug)]
struct Progress {
    text: String,
    began: Instant,
    said: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Terminal {
    /// For one command.
    pub(crate) const fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, progress: Mutex::new(None) }
    }

    /// Something begins that may take a while; it ends with the next one, or
    /// with [`quiet`](Self::quiet). Nothing is shown before half a second.
    pub(crate) fn begin(&self, text: impl Into<String>) {
        self.quiet();
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let progress = Progress { text: text.into(), began: Instant::now(), said: None, bar: None };
        *self.lock() = Some(progress);
    }

    /// Lets progress move, on a thread of its own that ends with the program.
    pub(crate) fn keep_moving(self: &std::sync::Arc<Self>) {
        let terminal = std::sync::Arc::downgrade(self);
        std::thread::spawn(move || {
            while let Some(terminal) = terminal.upgrade() {
                terminal.tick();
                drop(terminal);
                std::thread::sleep(TICK);
            }
        });
    }

    fn tick(&self) {
        let mut held = self.lock();
        let Some(progress) = held.as_mut() else { return };
        if progress.began.elapsed() < SHOWN_AFTER {
            return;
        }
        if io::stderr().is_terminal() {
            let bar = progress.bar.get_or_insert_with(|| spinner(progress.text.clone()));
            bar.tick();
        } else if progress.said.is_none_or(|said| said.elapsed() > REPEATED_AFTER) {
            let waited =
                progress.said.map(|_| format!(" ({} s)", progress.began.elapsed().as_secs()));
            let text = format!("burst: {}{}", progress.text, waited.unwrap_or_default());
            progress.said = Some(Instant::now());
            write_line(&text);
        }
    }

    /// Nothing goes on any more, or cargo has the word.
    pub(crate) fn quiet(&self) {
        if let Some(Progress { bar: Some(bar), .. }) = self.lock().take() {
            bar.finish_and_clear();
        }
    }

    /// cargo's own words, byte for byte.
    pub(crate) fn pass_on(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.quiet();
        match stream {
            Stream::Output => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Stream::Error => io::stderr().lock().write_all(bytes),
        }
    }

    /// One line of ours, on standard error.
    pub(crate) fn say(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.quiet();
            write_line(&format!("burst: {text}"));
        }
    }

    /// One line for those who want to know.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.quiet();
            write_line(&format!("burst: {text}"));
        }
    }

    /// Something that the user should change.
    pub(crate) fn warn(&self, text: &str) {
        self.quiet();
        write_line(&format!("{} {text}", painted("warning:", "33;1")));
    }

    /// Why the command ends.
    pub(crate) fn error(&self, failure: &Error) {
        self.quiet();
        if failure.kind() == ErrorKind::BrokenPipe {
            return;
        }
        if failure.kind() == ErrorKind::Cargo {
            // cargo's own report is complete.
            write_line(failure.to_string().trim_end());
            return;
        }
        let message = printable(&failure.to_string());
        write_line(&format!("{} {message}", painted("error:", "31;1")));
        for cause in failure.causes() {
            write_line(&format!("{} {}", painted("caused by:", "1"), printable(cause)));
        }
        write_line(&format!("{} {}", painted("hint:", "36;1"), printable(failure.hint())));
    }

    /// The result of a command such as `status`, on standard output.
    pub(crate) fn result(&self, text: &str) -> Result<(), Error> {
        self.quiet();
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|source| unwritable(&source))
    }

    /// Help that was not asked for, on standard error.
    pub(crate) fn complain(&self, text: &str) {
        write_line(text.trim_end());
    }

    /// Asks a question whose answer is yes or no; yes if it is just confirmed.
    /// Only where both ends are a terminal.
    pub(crate) fn ask(&self, question: &str) -> bool {
        self.quiet();
        let mut stderr = io::stderr().lock();
        let asked = write!(stderr, "{question} [Y/n] ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        if asked.is_err() || io::stdin().lock().read_line(&mut answer).is_err() {
            return false;
        }
        matches!(answer.trim(), "y" | "Y" | "yes") || answer == "\n"
    }

    /// Asks for a text; what is just confirmed is the usual one.
    pub(crate) fn ask_for(&self, what: &str, usual: &str) -> String {
        self.quiet();
        let mut stderr = io::stderr().lock();
        let mut answer = String::new();
        let asked = write!(stderr, "{what} [{usual}]: ").and_then(|()| stderr.flush());
        if asked.is_err() || io::stdin().lock().read_line(&mut answer).is_err() {
            return usual.to_owned();
        }
        Some(answer.trim()).filter(|answer| !answer.is_empty()).unwrap_or(usual).to_owned()
    }

    /// Asks for something that is not to be seen while it is typed.
    pub(crate) fn ask_secretly(&self, question: &str) -> io::Result<String> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        self.quiet();
        let stdin = io::stdin();
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question}")?;
        stderr.flush()?;
        let usual = tcgetattr(&stdin)?;
        let mut hidden = usual.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &hidden)?;
        let mut answer = String::new();
        let read = stdin.lock().read_line(&mut answer);
        tcsetattr(&stdin, OptionalActions::Now, &usual)?;
        writeln!(stderr)?;
        read.map(|_| answer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Whether questions make sense.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A duration for people.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        secs @ 60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        secs => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
    }
}

fn spinner(text: String) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} burst: {msg} ({elapsed})");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(text);
    bar
}

/// Words of a peer or a file without what could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn write_line(line: &str) {
    // Without standard error there is nowhere to complain.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1234), "1.2 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(48_310_832), "48 MB");
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(seconds(Duration::from_secs(7260)), "2 h 1 min");
    }
}
