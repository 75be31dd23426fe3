//! The only room that prints and asks.
//!
//! cargo's output is passed on unchanged, each stream to the same one here. Everything of
//! our own goes to standard error: progress of steps that take longer than half a second, one
//! summary line, warnings, errors. On a terminal progress is a spinner that disappears,
//! elsewhere it is lines of text.

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

/// How long a step takes before its progress is shown.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

/// The pause between two lines of progress where there is no spinner.
const REPEATED_AFTER: Duration = Duration::from_secs(15);

/// The pause between two frames of the spinner.
const TICK: Duration = Duration::from_millis(100);

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

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes: the default of questions about convenience.
    Yes,
    /// No: the default of questions about money and deletion.
    No,
}

impl Answer {
    /// Reads an answer; an empty one is the default. `None` if it is neither yes nor no.
    fn parse(text: &str, default: Self) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" => Some(default),
            "y" | "yes" => Some(Self::Yes),
            "n" | "no" => Some(Self::No),
            _ => None,
        }
    }
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

    /// Starts the progress of a step. It ends with the next step or with
    /// [`quiet`](Self::quiet), and is shown only after half a second.
    pub(crate) fn begin(&self, text: impl Into<String>) {
        self.quiet();
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let progress = Progress { text: text.into(), began: Instant::now(), said: None, bar: None };
        *self.lock() = Some(progress);
    }

    /// Starts the thread that shows progress. It ends when the terminal is dropped.
    pub(crate) fn keep_moving(self: &std::sync::Arc<Self>) {
        let terminal = std::sync::Arc::downgrade(self);
        std::thread::spawn(move || {
            while let Some(terminal) = terminal.upgrade() {
                terminal.tick();
                drop(terminal);
                std::thread::park_timeout(TICK);
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

    /// Clears the progress line.
    pub(crate) fn quiet(&self) {
        if let Some(Progress { bar: Some(bar), .. }) = self.lock().take() {
            bar.finish_and_clear();
        }
    }

    /// Passes on output of the run, byte for byte.
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

    /// Prints one line on standard error, unless `--quiet`.
    pub(crate) fn say(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.quiet();
            write_line(&format!("burst: {text}"));
        }
    }

    /// Prints one line on standard error with `--verbose`.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.quiet();
            write_line(&format!("burst: {text}"));
        }
    }

    /// Prints a warning, which the user can act on.
    pub(crate) fn warn(&self, text: &str) {
        self.quiet();
        write_line(&format!("{} {text}", painted("warning:", "33;1")));
    }

    /// Prints the error that ends the command: message, causes and hint.
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

    /// Prints a result on standard output.
    pub(crate) fn result(&self, text: &str) -> Result<(), Error> {
        self.quiet();
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|source| unwritable(&source))
    }

    /// Prints help that was not asked for, on standard error.
    pub(crate) fn complain(&self, text: &str) {
        write_line(text.trim_end());
    }

    /// Asks a question whose answer is yes or no; Enter alone gives the default. After three
    /// other answers, and at the end of the input, the answer is no. Only where
    /// [`can_ask`] says so.
    pub(crate) fn ask(&self, question: &str, default: Answer) -> bool {
        const TRIES: usize = 3;
        self.quiet();
        let mut stderr = io::stderr().lock();
        let choices = match default {
            Answer::Yes => "[Y/n]",
            Answer::No => "[y/N]",
        };
        for _ in 0..TRIES {
            let asked = write!(stderr, "{question} {choices} ").and_then(|()| stderr.flush());
            let mut line = String::new();
            match io::stdin().lock().read_line(&mut line) {
                Ok(read) if read > 0 && asked.is_ok() => {}
                _ => return false,
            }
            match Answer::parse(line.trim(), default) {
                Some(answer) => return answer == Answer::Yes,
                None => drop(writeln!(stderr, "please answer y or n")),
            }
        }
        false
    }

    /// Asks for a text. Enter alone gives `usual`.
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

    /// Asks for a secret, which is not shown while it is typed.
    pub(crate) fn ask_secretly(&self, question: &str) -> io::Result<String> {
        self.quiet();
        rpassword::prompt_password(question)
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

/// Whether questions can be asked: standard input and standard error are terminals.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A number of bytes, such as `1.2 kB`.
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

/// A duration, such as `1.2 s` or `2 min 5 s`.
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

/// Text from a peer or a file, without characters that could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn write_line(line: &str) {
    // Without standard error there is no place to report that.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_yes_no_or_asked_again() {
        assert_eq!(Answer::parse("", Answer::No), Some(Answer::No));
        assert_eq!(Answer::parse("", Answer::Yes), Some(Answer::Yes));
        assert_eq!(Answer::parse("YES", Answer::No), Some(Answer::Yes));
        assert_eq!(Answer::parse("n", Answer::Yes), Some(Answer::No));
        assert_eq!(Answer::parse("?", Answer::Yes), None);
    }

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
