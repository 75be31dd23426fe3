//! The variables that change builds, tests or their output, that are set here, and that cargo on
//! the other end does not see. The user is told of them once per set and workspace.

use std::collections::BTreeSet;

use super::forwarding::Variables;
use crate::error::Error;
use crate::settings::is_forwardable;
use crate::settings::name_pattern::matches;
use crate::terminal::Terminal;
use crate::workspace::state::WorkspaceState;

/// The names and patterns of such variables, to which `report_env` adds. The README has the
/// same list.
const REPORTED: [&str; 45] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "MIRIFLAGS",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
    "RUST_MIN_STACK",
    "RUST_TEST_*",
    "RUSTC_BOOTSTRAP",
    "CARGO_BUILD_*",
    "CARGO_INCREMENTAL",
    "CARGO_PROFILE_*",
    "CARGO_REGISTRIES_*_INDEX",
    "CARGO_TARGET_*",
    "CARGO_UNSTABLE_*",
    "CC",
    "CC_*",
    "CXX",
    "CXX_*",
    "AR",
    "CFLAGS",
    "CFLAGS_*",
    "CXXFLAGS",
    "CXXFLAGS_*",
    "CPPFLAGS",
    "LDFLAGS",
    "LIBCLANG_PATH",
    "BINDGEN_EXTRA_CLANG_ARGS*",
    "OPENSSL_*",
    "PKG_CONFIG_*",
    "PROTOC",
    "SOURCE_DATE_EPOCH",
    "SQLX_*",
    "DATABASE_URL",
    "INSTA_*",
    "UPDATE_EXPECT",
    "TRYBUILD",
    "PROPTEST_*",
    "QUICKCHECK_*",
    "NEXTEST_PROFILE",
    "NEXTEST_RETRIES",
    "NEXTEST_TEST_THREADS",
    "CRITERION_*",
];

/// The names of variables that are set here, matter and are not sent. `more` adds to the list,
/// or takes from it what stands behind `!`; of several that fit a name the last one counts.
pub(super) fn unsent(here: &Variables, sent: &[&[u8]], more: &[String]) -> BTreeSet<String> {
    let more: Vec<(&str, bool)> = more
        .iter()
        .map(|entry| match entry.strip_prefix('!') {
            Some(pattern) => (pattern, false),
            None => (entry.as_str(), true),
        })
        .collect();
    let matters = |name: &str| {
        let last = more.iter().rev().find(|(pattern, _)| matches(pattern, name));
        last.map_or_else(
            || REPORTED.iter().any(|pattern| matches(pattern, name)),
            |(_, reported)| *reported,
        )
    };
    here.keys()
        .filter(|name| matters(name) && is_forwardable(name))
        .filter(|name| !sent.contains(&name.as_bytes()))
        .cloned()
        .collect()
}

/// Tells of the variables, unless the last command that used the workspace had the same ones.
pub(super) fn tell(
    terminal: &Terminal,
    state: &WorkspaceState,
    unsent: &BTreeSet<String>,
) -> Result<(), Error> {
    if state.note_unsent_variables(unsent)? && !unsent.is_empty() {
        terminal.warn(&line(unsent));
    }
    Ok(())
}

fn line(unsent: &BTreeSet<String>) -> String {
    let names: Vec<&str> = unsent.iter().map(String::as_str).collect();
    let (names, verb, them) = match names.split_last() {
        Some((last, first)) if !first.is_empty() => {
            (format!("{} and {last}", first.join(", ")), "are", "them")
        }
        _ => (names.concat(), "is", "it"),
    };
    format!(
        "{names} {verb} set here but not forwarded to cargo: `--env NAME` forwards {them} once, \
         `forward_env` in the settings always"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn found(here: &[&str], sent: &[&str], more: &[&str]) -> Vec<String> {
        let here = here.iter().map(|name| ((*name).to_owned(), "x".into())).collect();
        let sent: Vec<&[u8]> = sent.iter().map(|name| name.as_bytes()).collect();
        let more: Vec<String> = more.iter().map(|entry| (*entry).to_owned()).collect();
        unsent(&here, &sent, &more).into_iter().collect()
    }

    #[test]
    fn variables_that_matter_and_are_not_sent_are_found() {
        const HERE: [&str; 9] = [
            "RUSTFLAGS",
            "CARGO_PROFILE_DEV_DEBUG",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_BUILD_DIR",
            "CARGO_HOME",
            "CARGO_BURST_VOLUME_GB",
            "EDITOR",
            "MY_FEATURE",
            "CC_x86_64-unknown-linux-gnu",
        ];
        const USUAL: [&str; 3] =
            ["CARGO_PROFILE_DEV_DEBUG", "CC_x86_64-unknown-linux-gnu", "RUSTFLAGS"];
        for (sent, more, expected) in [
            ([].as_slice(), [].as_slice(), USUAL.as_slice()),
            (&["RUSTFLAGS"], &[], &USUAL[..2]),
            (&["RUSTFLAGS"], &["!C*"], &[]),
            (&[], &["!*", "MY_*"], &["MY_FEATURE"]),
            (&[], &["!CC_*", "!CARGO_PROFILE_*"], &["RUSTFLAGS"]),
        ] {
            assert_eq!(found(&HERE, sent, more), expected, "{more:?}");
        }
    }

    #[test]
    fn one_line_names_them_and_the_way_to_forward_them() {
        let line = |names: &[&str]| line(&names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(
            line(&["CC"]),
            "CC is set here but not forwarded to cargo: `--env NAME` forwards it once, \
             `forward_env` in the settings always"
        );
        assert!(line(&["CC", "CXX", "RUSTFLAGS"]).starts_with("CC, CXX and RUSTFLAGS are set "));
    }

    #[test]
    fn the_readme_has_the_list() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = fs::read_to_string(readme).unwrap();
        let missing: Vec<&&str> =
            REPORTED.iter().filter(|name| !readme.contains(&format!("`{name}`"))).collect();
        assert_eq!(missing, [&""; 0]);
    }
}
