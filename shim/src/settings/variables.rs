//! The environment variables of cargo-burst that are not settings, and the check that a
//! variable with our prefix is a known one.
//!
//! `CARGO_BURST` itself has not this prefix and is not checked.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::error::{invalid, nearest};
use super::key::Key;
use crate::error::Error;

/// The prefix that only our variables have.
const PREFIX: &str = "CARGO_BURST_";

/// A variable that is not a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// Its name.
    pub(super) name: &'static str,
    /// Its meaning, in one line.
    pub(super) meaning: &'static str,
}

/// All variables that are not settings.
pub(super) const OTHER_VARIABLES: [Variable; 5] = [
    Variable {
        name: "CARGO_BURST_LOG",
        meaning: "filter of the logs of commands, agent and keeper, like RUST_LOG",
    },
    Variable {
        name: "CARGO_BURST_INSIDE",
        meaning: "set by the agent inside a run; cargo-burst then runs plain cargo",
    },
    Variable {
        name: "CARGO_BURST_GRACE_SECS",
        meaning: "for tests: seconds of silence after which a connection counts as lost",
    },
    Variable {
        name: "CARGO_BURST_PORT_SECS",
        meaning: "for tests: seconds for which a server that runs may be silent",
    },
    Variable {
        name: "CARGO_BURST_DEAD_MAN_SECS",
        meaning: "for tests: seconds by which a server deletes itself later than a keeper would",
    },
];

/// Refuses names with our prefix that nothing reads.
pub(super) fn check_names<'a>(
    names: impl IntoIterator<Item = &'a OsString>,
    keys: &[Key],
) -> Result<(), Error> {
    let settings = || keys.iter().map(|key| (key.name, key.variable));
    let others = || OTHER_VARIABLES.iter().map(|variable| variable.name);
    for name in names {
        let Some(rest) = name.as_bytes().strip_prefix(PREFIX.as_bytes()) else { continue };
        if settings().any(|(_, known)| name == known) || others().any(|known| name == known) {
            continue;
        }
        let shown = name.to_string_lossy();
        let error = invalid(format!("unknown environment variable `{}`", shown.escape_debug()));
        // Compared without the prefix, which all have in common, and also with the keys:
        // not every variable is named after its key.
        let rest = String::from_utf8_lossy(rest).to_ascii_lowercase();
        let others: Vec<(String, &str)> = others()
            .map(|known| (known.trim_start_matches(PREFIX).to_ascii_lowercase(), known))
            .collect();
        let others = others.iter().map(|(name, variable)| (name.as_str(), *variable));
        return Err(match nearest(&rest, settings().chain(others)) {
            Some(nearest) => error.with_hint(format!("did you mean `{nearest}`?")),
            None => error.with_hint(
                "unset it; `cargo burst config --defaults` shows the variables of all settings",
            ),
        });
    }
    Ok(())
}
