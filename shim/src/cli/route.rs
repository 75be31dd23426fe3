//! Where a verb that is not in our table runs: on the agent, or on this machine; and which verbs
//! are built into cargo. Pure.

use std::ffi::OsString;

use crate::cargo_options::{before_dashes, first_word};

/// The commands built into cargo that read or edit files here, install programs here, or need
/// the credentials of this machine. With [`BUILT_IN_OTHER`] they are those of `cargo --list` of
/// Rust 1.95.
const BUILT_IN_LOCAL: [&str; 26] = [
    "add",
    "config",
    "fetch",
    "generate-lockfile",
    "info",
    "init",
    "install",
    "locate-project",
    "login",
    "logout",
    "metadata",
    "new",
    "owner",
    "package",
    "pkgid",
    "publish",
    "read-manifest",
    "remove",
    "report",
    "search",
    "tree",
    "uninstall",
    "update",
    "vendor",
    "version",
    "yank",
];

/// The other commands built into cargo.
const BUILT_IN_OTHER: [&str; 12] = [
    "bench",
    "build",
    "check",
    "clean",
    "doc",
    "fix",
    "git-checkout",
    "help",
    "run",
    "rustc",
    "rustdoc",
    "test",
];

/// Well-known plugins, and commands of other versions of cargo, that run here for the same
/// reasons.
const OTHER_LOCAL: [&str; 10] = [
    "audit",
    "deny",
    "edit",
    "fmt",
    "machete",
    "outdated",
    "release",
    "sort",
    "upgrade",
    "verify-project",
];

/// Whether a verb runs on this machine.
pub(super) fn is_local(verb: &str) -> bool {
    BUILT_IN_LOCAL.contains(&verb) || OTHER_LOCAL.contains(&verb)
}

/// The verbs of these that compile. Users are told, since they expect that to happen on the agent.
const COMPILING: [&str; 3] = ["install", "package", "publish"];

/// The verb of a command line of cargo that runs and compiles on this machine, if it is one that
/// shows no help and lists nothing.
pub(crate) fn compiles_here(arguments: &[OsString]) -> Option<&'static str> {
    const QUIET: [&str; 6] = ["-h", "--help", "-q", "--quiet", "--list", "-l"];
    let options = before_dashes(arguments);
    let is_quiet = QUIET.iter().any(|quiet| options.iter().any(|word| word == quiet));
    let verb = first_word(options)?;
    let verb = COMPILING.iter().find(|compiling| verb == **compiling).filter(|_| !is_quiet)?;
    let does_compile = *verb == "install" || !options.iter().any(|word| word == "--no-verify");
    does_compile.then_some(*verb)
}

/// Whether a verb is built into cargo, so that no alias replaces it.
pub(super) fn is_built_in(verb: &str) -> bool {
    BUILT_IN_LOCAL.contains(&verb) || BUILT_IN_OTHER.contains(&verb)
}

/// Whether a word is an option.
pub(super) fn is_option(word: &OsString) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// Whether a word can be the name of a cargo subcommand.
pub(super) fn is_name(word: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !word.is_empty() && !word.starts_with('-') && word.bytes().all(is_allowed)
}

/// The name in a list that is most similar to a word, if one is similar.
pub(super) fn similar<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR: f64 = 0.85;
    names
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 2 && strsim::jaro_winkler(word, name) >= SIMILAR)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_that_compile_here_are_told_of() {
        let verb = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            compiles_here(&words)
        };
        assert_eq!(verb("install --path ."), Some("install"));
        assert_eq!(verb("--config x=1 package"), Some("package"));
        for line in [
            "tree",
            "add install",
            "install --help",
            "help install",
            "install --list",
            "package --no-verify",
            "install -q x",
        ] {
            assert_eq!(verb(line), None, "{line}");
        }
    }

    #[test]
    fn names_and_their_neighbours() {
        assert!(is_name("llvm-cov") && !is_name("?") && !is_name("") && !is_name("-x"));
        let names = || ["build", "bench", "status"].into_iter();
        assert_eq!(similar("biuld", names()), Some("build"));
        assert_eq!(similar("statsu", names()), Some("status"));
        assert_eq!(similar("expand", names()), None);
        assert!(is_local("fmt") && !is_local("hack"));
    }
}
