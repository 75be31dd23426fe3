//! The environment variables that cargo sees on the other end: those that the settings or
//! `--env` name, except the ones that would break the run there.
//!
//! An agent on this machine may have been started by another shell. It is also told the
//! few variables that every agent has of its own (`PATH`, `HOME`, language, proxies),
//! since those of the calling shell are the right ones.
//!
//! What says how cargo uses the terminal, which is the one here, is sent to every agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use burst_protocol::ByteBuf;

use crate::settings::name_pattern::{is_pattern, matches};
use crate::settings::{is_forwardable, is_forwardable_by_pattern};

/// The variables that are set here, by their names. Those with other names than Unicode, or
/// without a value, are left out.
pub(super) type Variables = BTreeMap<String, OsString>;

/// The variables to send, and what the user is told of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// Names and values.
    pub(super) variables: Vec<(ByteBuf, ByteBuf)>,
    pub(super) warnings: Vec<String>,
}

/// The variables that an agent on this machine uses in place of its own.
pub(super) fn of_this_shell() -> Vec<(ByteBuf, ByteBuf)> {
    let bytes = |text: OsString| ByteBuf::from(text.into_vec());
    burst_agent::host::passed_on().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

/// The variables that say whether cargo and programs use colours and draw progress.
const OF_TERMINAL: [&str; 6] =
    ["CARGO_TERM_*", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "COLORTERM"];

/// The variables of the terminal that are set here.
pub(super) fn of_terminal(here: &Variables) -> Vec<(ByteBuf, ByteBuf)> {
    let is_meant = |name: &str| OF_TERMINAL.iter().any(|pattern| matches(pattern, name));
    here.iter()
        .filter(|(name, _)| is_meant(name))
        .map(|(name, value)| {
            (ByteBuf::from(name.as_bytes()), ByteBuf::from(value.clone().into_vec()))
        })
        .collect()
}

/// The variables of this process.
pub(super) fn variables(all: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect()
}

/// The variables to send. `--env` wins over the settings, the last over the first. Names and
/// patterns that nothing here fits are skipped.
pub(super) fn forwarded(here: &Variables, standing: &[String], flags: &[String]) -> Forwarded {
    let standing = standing.iter().map(|name| (name.as_str(), None));
    let flags = flags.iter().map(|flag| match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag.as_str(), None),
    });
    let mut forwarded = Forwarded::default();
    for (name, value) in standing.chain(flags) {
        match value {
            _ if !is_forwardable(name) => forwarded
                .warnings
                .push(format!("{name} is not forwarded: the agent needs a value of its own")),
            Some(value) => forwarded.send(name, value.as_bytes().to_vec()),
            None if is_pattern(name) => {
                let fitting = here
                    .iter()
                    .filter(|(other, _)| matches(name, other) && is_forwardable_by_pattern(other));
                for (other, value) in fitting {
                    forwarded.send(other, value.clone().into_vec());
                }
            }
            None => {
                if let Some(value) = here.get(name) {
                    forwarded.send(name, value.clone().into_vec());
                }
            }
        }
    }
    if forwarded.variables.iter().any(|(name, _)| name.as_slice() == b"CI") {
        forwarded.warnings.push(
            "CI is forwarded: cargo and other tools work there as for a CI service, which can \
             turn off incremental compilation, progress and new snapshots"
                .to_owned(),
        );
    }
    forwarded
}

impl Forwarded {
    fn send(&mut self, name: &str, value: Vec<u8>) {
        let name = ByteBuf::from(name.as_bytes());
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, ByteBuf::from(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [(&str, &str); 8] = [
        ("A", "1"),
        ("CARGO_HOME", "/here"),
        ("CARGO_PROFILE_DEV_DEBUG", "0"),
        ("CARGO_PROFILE_DEV_LTO", "true"),
        ("CARGO_REGISTRY_TOKEN", "secret"),
        ("CARGO_BURST_VOLUME_GB", "50"),
        ("CI", "true"),
        ("EMPTY", ""),
    ];

    fn sent(standing: &[&str], flags: &[&str]) -> (String, Vec<String>) {
        let here = variables(HERE.map(|(name, value)| (name.into(), value.into())));
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let Forwarded { variables, warnings } = forwarded(&here, &words(standing), &words(flags));
        let text = |bytes: &ByteBuf| String::from_utf8_lossy(bytes).into_owned();
        let variables = variables.iter().map(|(name, value)| text(name) + "=" + &text(value));
        (variables.collect::<Vec<_>>().join(" "), warnings)
    }

    #[test]
    fn the_last_value_of_a_name_is_sent() {
        for (standing, flags, expected) in [
            (["A", "UNSET", "EMPTY"].as_slice(), [].as_slice(), "A=1"),
            (&["A"], &["A=2", "B=3=4"], "A=2 B=3=4"),
            (&[], &["A=2", "A"], "A=1"),
            (&[], &["A="], "A="),
        ] {
            assert_eq!(sent(standing, flags), (expected.to_owned(), Vec::new()), "{flags:?}");
        }
    }

    #[test]
    fn patterns_send_what_fits_but_no_credentials_and_nothing_of_ours() {
        const PROFILE: &str = "CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_LTO=true";
        for (standing, flags, expected) in [
            (["CARGO_PROFILE_*"].as_slice(), [].as_slice(), PROFILE),
            (&["CARGO_*"], &[], PROFILE),
            (&["*_LTO", "CARGO_PROFILE_DEV_LTO"], &[], "CARGO_PROFILE_DEV_LTO=true"),
            (
                &[],
                &["CARGO_PROFILE_*", "CARGO_PROFILE_DEV_DEBUG=1"],
                "CARGO_PROFILE_DEV_LTO=true CARGO_PROFILE_DEV_DEBUG=1",
            ),
            (&["CARGO_REGISTRY_TOKEN"], &[], "CARGO_REGISTRY_TOKEN=secret"),
            (&["X*"], &[], ""),
        ] {
            assert_eq!(sent(standing, flags), (expected.to_owned(), Vec::new()), "{standing:?}");
        }
    }

    #[test]
    fn the_user_is_told_of_names_that_are_not_sent_and_of_ci() {
        let (variables, warnings) = sent(&["CARGO_HOME"], &["C*I"]);
        assert_eq!(variables, "CI=true");
        assert_eq!(
            warnings,
            [
                "CARGO_HOME is not forwarded: the agent needs a value of its own",
                "CI is forwarded: cargo and other tools work there as for a CI service, which can \
                 turn off incremental compilation, progress and new snapshots"
            ]
        );
    }
}
