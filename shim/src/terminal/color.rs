//! Whether messages are coloured.

use std::io::{IsTerminal, stderr, stdout};

use crate::environment;

/// Whether standard error shows colours: it is a terminal that can, and `NO_COLOR` is not
/// set.
pub(crate) fn on_stderr() -> bool {
    are_shown() && stderr().is_terminal()
}

/// The same for standard output.
pub(crate) fn on_stdout() -> bool {
    are_shown() && stdout().is_terminal()
}

fn are_shown() -> bool {
    let dumb = environment::terminal_name().is_some_and(|name| name == "dumb");
    !environment::no_color() && !dumb
}

/// A word in a colour (the parameters of an SGR sequence), where colours are shown.
pub(super) fn painted(word: &str, color: &str) -> String {
    if on_stderr() { format!("\u{1b}[{color}m{word}\u{1b}[0m") } else { word.to_owned() }
}
