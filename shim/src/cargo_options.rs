//! The options of cargo and nextest, as far as command lines have to be understood: which
//! of them take a value, and what the value is.
//!
//! Options end at the first `--`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The options of cargo's building commands that take a value in the next argument. From
/// `cargo help build`, `run`, `test`, `bench`, `doc`, `rustc`, `clippy`.
const VALUED: [&str; 24] = [
    "-p",
    "--package",
    "--exclude",
    "--bin",
    "--example",
    "--test",
    "--bench",
    "-F",
    "--features",
    "-j",
    "--jobs",
    "--profile",
    "--target",
    "--target-dir",
    "--artifact-dir",
    "--manifest-path",
    "--lockfile-path",
    "--message-format",
    "--color",
    "--config",
    "--print",
    "--crate-type",
    "-Z",
    "-C",
];

/// The options of `cargo nextest run` that take a value in the next argument, beside
/// cargo's. From `cargo nextest run --help` of nextest 0.9.143.
const NEXTEST_VALUED: [&str; 38] = [
    "-E",
    "--filterset",
    "--filter-expr",
    "-P",
    "-R",
    "--rerun",
    "--cargo-profile",
    "--cargo-message-format",
    "--build-jobs",
    "--test-threads",
    "--retries",
    "--flaky-result",
    "--max-fail",
    "--debugger",
    "--tracer",
    "--no-tests",
    "--run-ignored",
    "--partition",
    "--platform-filter",
    "--stress-count",
    "--stress-duration",
    "--failure-output",
    "--success-output",
    "--status-level",
    "--final-status-level",
    "--show-progress",
    "--max-progress-running",
    "--message-format-version",
    "--archive-file",
    "--archive-format",
    "--extract-to",
    "--cargo-metadata",
    "--workspace-remap",
    "--binaries-metadata",
    "--target-dir-remap",
    "--build-dir-remap",
    "--config-file",
    "--user-config-file",
];

/// Whether an option takes a value and only nextest has it.
pub(crate) fn is_valued_by_nextest(option: &OsStr) -> bool {
    NEXTEST_VALUED.iter().any(|known| option == *known)
}

/// Whether an argument is an option whose value is the next argument.
pub(crate) fn takes_next(argument: &OsStr) -> bool {
    VALUED.iter().any(|option| argument == *option) || is_valued_by_nextest(argument)
}

/// The first word that is neither an option nor the value of one.
pub(crate) fn first_word(arguments: &[OsString]) -> Option<&OsStr> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if !word.as_bytes().starts_with(b"-") {
            return Some(word);
        }
        if takes_next(word) {
            words.next();
        }
    }
    None
}

/// The words before the first `--`.
pub(crate) fn before_dashes(arguments: &[OsString]) -> &[OsString] {
    let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    &arguments[..end]
}

/// The words behind the first `--`.
pub(crate) fn behind_dashes(arguments: &[OsString]) -> &[OsString] {
    arguments.get(before_dashes(arguments).len() + 1..).unwrap_or_default()
}

/// Whether an argument is this option, alone or as `NAME=VALUE`.
pub(crate) fn is_option(argument: &OsStr, name: &str) -> bool {
    let rest = argument.as_bytes().strip_prefix(name.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

/// Whether one of these options is given.
pub(crate) fn has_option(arguments: &[OsString], names: &[&str]) -> bool {
    before_dashes(arguments).iter().any(|word| names.iter().any(|name| is_option(word, name)))
}

/// The value of the option `--NAME VALUE` or `--NAME=VALUE`; the first one if there are
/// several.
pub(crate) fn value_of(arguments: &[OsString], name: &str) -> Option<OsString> {
    values_of(arguments, name, name).into_iter().next()
}

/// All values of a repeatable option that has only a short name, such as `-Z`.
pub(crate) fn short_values_of(arguments: &[OsString], short: &str) -> Vec<OsString> {
    // No word begins like that.
    values_of(arguments, "\0", short)
}

/// All values of a repeatable option, under its long or its short name.
pub(crate) fn values_of(arguments: &[OsString], long: &str, short: &str) -> Vec<OsString> {
    let mut values = Vec::new();
    let mut words = before_dashes(arguments).iter();
    while let Some(word) = words.next() {
        let text = word.as_bytes();
        if word == long || word == short {
            values.extend(words.next().cloned());
        } else if let Some(rest) = text.strip_prefix(long.as_bytes()) {
            values.extend(rest.strip_prefix(b"=").map(|value| OsStr::from_bytes(value).to_owned()));
        } else if let Some(rest) = text.strip_prefix(short.as_bytes())
            && !text.starts_with(b"--")
        {
            let value = rest.strip_prefix(b"=").unwrap_or(rest);
            values.push(OsStr::from_bytes(value).to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn options_are_found_in_every_spelling() {
        assert_eq!(value_of(&words("--target-dir x"), "--target-dir").unwrap(), "x");
        assert_eq!(value_of(&words("--target-dir=x"), "--target-dir").unwrap(), "x");
        assert_eq!(value_of(&words("-- --target-dir=x"), "--target-dir"), None);
        assert_eq!(
            values_of(&words("-p a -pb --package=c --package d"), "--package", "-p"),
            ["a", "b", "c", "d"]
        );
        assert_eq!(
            short_values_of(&words("-Z a -Zb=c --Z d -Z=e -- -Zf"), "-Z"),
            ["a", "b=c", "e"]
        );
    }

    #[test]
    fn options_that_take_a_value_are_known() {
        assert!(takes_next(OsStr::new("--bin")) && !takes_next(OsStr::new("--release")));
    }
}
