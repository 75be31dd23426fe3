//! What is answered in place of a command: errors of the command line, help and version.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};

use super::alias;
use super::flag;
use super::help;
use super::route::is_option;
use super::verb::{self, Verb, VerbKind};
use crate::error::{Error, ErrorKind, exit_code};
use crate::terminal::color;

/// The hint of an error about a verb, where no verb is similar.
pub(super) const LIST_VERBS: &str = "`cargo burst help` lists the verbs";

/// Why a command line is not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An error of ours.
    Error(Error),
    /// A text that `clap` has rendered, with its exit code: 0 for help and version.
    Text {
        /// The text.
        text: String,
        /// The exit code.
        code: u8,
    },
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The error of `--detach` without a verb.
pub(super) fn nothing_to_detach() -> Error {
    Error::new(
        ErrorKind::Usage,
        "`--detach` stands before a verb, and there is none",
        format!("usage: `cargo burst --detach VERB`; {LIST_VERBS}"),
    )
}

/// The error of our options of cargo verbs, which were `given`, before another verb.
pub(super) fn no_options(name: &str, given: &[&str]) -> Error {
    let hint = match given {
        ["--detach"] => format!(
            "it runs on this machine and cannot be detached: `cargo burst {name}`, with `&` behind \
             it in a shell to go on meanwhile"
        ),
        _ => format!("`cargo burst help {name}` shows its options"),
    };
    let message = format!("`{name}` takes none of the options of cargo verbs");
    Error::new(ErrorKind::Usage, message, hint)
}

/// The error of cargo's option for a working directory, which only a nightly cargo takes.
pub(super) fn no_directory(option: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("`{option}` is not supported"),
        "change to the directory with `cd`, or name the manifest with `--manifest-path`",
    )
}

/// The error of a word that cannot be a verb.
pub(super) fn not_a_command(word: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("`{word}` is not a command"), LIST_VERBS)
}

/// The error of a verb that does not exist.
pub(super) fn no_such_command(name: &str, hint: impl Into<String>) -> Error {
    Error::new(ErrorKind::NoCommand, format!("no such command: `{name}`"), hint)
}

pub(super) fn help_of(verb: Option<&Verb>) -> String {
    let mut command = verb.map_or_else(help::program, help::alone);
    styled(&command.render_help(), color::on_stdout())
}

/// A text of `clap`, with its colours where they are shown.
pub(super) fn styled(text: &StyledStr, colored: bool) -> String {
    if colored { text.ansi().to_string() } else { text.to_string() }
}

pub(super) fn version() -> String {
    format!("cargo-burst {}\n", help::version())
}

/// A text for standard output.
pub(super) const fn text(text: String) -> Refusal {
    Refusal::Text { text, code: 0 }
}

/// The error of an option that is not ours, where a verb follows it: a misspelt one of ours, or
/// one of cargo's.
pub(super) fn misplaced(option: &str, behind: &[OsString]) -> Option<Refusal> {
    let verb = behind.iter().find(|word| !is_option(word))?.to_str()?;
    let is_verb = matches!(
        verb::find(alias::built_in(verb).unwrap_or(verb)),
        Some(Verb { kind: VerbKind::Cargo(_), .. })
    );
    let hint = match flag::misspelt(option.as_ref(), None) {
        Some(flag) => format!("did you mean `{flag}`?"),
        None if is_verb => format!(
            "options of cargo stand behind the verb: `cargo burst {verb} {option}`; `cargo burst \
             help` shows those that stand before it"
        ),
        None => return None,
    };
    let message = format!("unexpected argument `{option}` before the verb");
    Some(Error::new(ErrorKind::Usage, message, hint).into())
}

/// The error of an option behind a verb of ours, where `clap` knows no better than to take it for
/// a value.
pub(super) fn unknown_option(verb: &str, error: &clap::Error) -> Option<Error> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let hint = match option.as_str() {
        "-q" | "--quiet" | "-v" | "--verbose" => {
            format!("it stands before the verb: `cargo burst {option} {verb}`")
        }
        "--json" if verb == "attach" => {
            "`cargo burst status --json` tells how detached runs have ended".to_owned()
        }
        _ => return None,
    };
    let is_unknown = error.kind() == clap::error::ErrorKind::UnknownArgument;
    let message = format!("unexpected argument `{option}` behind `{verb}`");
    is_unknown.then(|| Error::new(ErrorKind::Usage, message, hint))
}

/// What `clap` says of options before the verb that are not ours.
pub(super) fn rendered(words: &[OsString]) -> Refusal {
    let program = std::iter::once(OsString::from("cargo burst"));
    match help::program().try_get_matches_from(program.chain(words.iter().cloned())) {
        // Several letters in one word, such as `-vV`.
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayVersion => text(version()),
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => text(help_of(None)),
        Err(error) => {
            let text = styled(&error.render(), color::on_stderr());
            Refusal::Text { text, code: exit_code::USAGE }
        }
        // `--` alone: as without a verb.
        Ok(_) => text(help_of(None)),
    }
}
