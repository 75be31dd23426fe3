//! Whether messages are coloured, by the rules of cargo.
//!
//! `--color` wins over `CARGO_TERM_COLOR`. Where both leave it open, `NO_COLOR` wins over
//! `CLICOLOR_FORCE`, that over `CLICOLOR`, and what is left depends on the stream and on
//! `TERM`.

use std::io::{IsTerminal, stderr, stdout};
use std::sync::OnceLock;

use crate::environment;

/// What the command line says.
static CHOSEN: OnceLock<When> = OnceLock::new();

/// When colours are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// On a terminal that can, unless a variable says otherwise.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl When {
    /// The value of `--color` or `CARGO_TERM_COLOR`; `None` if it is none, which cargo reports.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// The variables that matter where it is left open.
#[derive(Clone, Copy, Debug, Default)]
struct Variables {
    no_color: bool,
    forces: bool,
    clicolor: Option<bool>,
    /// Whether `TERM` names a terminal that can.
    can: bool,
    is_ci: bool,
}

/// Takes the value of `--color`, for the rest of the process. The first one counts.
pub(crate) fn choose(when: When) {
    CHOSEN.get_or_init(|| when);
}

/// Whether standard error shows colours.
pub(crate) fn on_stderr() -> bool {
    are_shown(when(), Variables::here(), stderr().is_terminal())
}

/// The same for standard output.
pub(crate) fn on_stdout() -> bool {
    are_shown(when(), Variables::here(), stdout().is_terminal())
}

fn when() -> When {
    let configured = || environment::text("CARGO_TERM_COLOR").and_then(|text| When::parse(&text));
    CHOSEN.get().copied().or_else(configured).unwrap_or(When::Auto)
}

fn are_shown(when: When, variables: Variables, is_terminal: bool) -> bool {
    let Variables { no_color, forces, clicolor, can, is_ci } = variables;
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if no_color => false,
        When::Auto if forces => true,
        When::Auto => {
            clicolor != Some(false) && is_terminal && (can || clicolor == Some(true) || is_ci)
        }
    }
}

impl Variables {
    fn here() -> Self {
        let name = environment::terminal_name();
        Self {
            no_color: environment::variable("NO_COLOR").is_some(),
            forces: environment::variable("CLICOLOR_FORCE").is_some(),
            clicolor: environment::variable("CLICOLOR").map(|value| value != "0"),
            can: name.is_some_and(|name| name != "dumb"),
            is_ci: environment::variable("CI").is_some(),
        }
    }
}

/// A word in a colour (the parameters of an SGR sequence), where colours are shown.
pub(super) fn painted(word: &str, color: &str) -> String {
    if on_stderr() { format!("\u{1b}[{color}m{word}\u{1b}[0m") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_shown_where_cargo_shows_them() {
        let none = Variables::default();
        let can = Variables { can: true, ..none };
        let no_color = Variables { no_color: true, ..can };
        let forces = Variables { forces: true, ..can };
        let clicolor = |on| Variables { clicolor: Some(on), ..none };
        for (when, variables, on_terminal, on_pipe) in [
            (When::Auto, can, true, false),
            // TERM is `dumb` or not set.
            (When::Auto, none, false, false),
            (When::Auto, no_color, false, false),
            (When::Auto, forces, true, true),
            (When::Auto, Variables { no_color: true, ..forces }, false, false),
            (When::Auto, clicolor(true), true, false),
            (When::Auto, clicolor(false), false, false),
            (When::Auto, Variables { can: true, ..clicolor(false) }, false, false),
            (When::Auto, Variables { forces: true, ..clicolor(false) }, true, true),
            (When::Auto, Variables { is_ci: true, ..none }, true, false),
            (When::Always, no_color, true, true),
            (When::Never, forces, false, false),
        ] {
            let found = [true, false].map(|terminal| are_shown(when, variables, terminal));
            assert_eq!(found, [on_terminal, on_pipe], "{when:?} {variables:?}");
        }
    }
}
