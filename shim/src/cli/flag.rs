//! The one definition of our flags of cargo verbs. Parsing, help, completions and man pages
//! come from the table [`FLAGS`].
//!
//! A flag stands before the verb or among cargo's options, never behind `--`. If a flag
//! with a value is repeated, the last one wins; `--env` and `--forward` add up.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

use super::route::similar;
use crate::error::{Error, ErrorKind};
use crate::run::request::{CargoVerb, Flags};
use crate::settings::Fetch;

/// What a port is, in errors.
const EXPECTED_PORT: &str =
    "expected a port such as 8080, or PORT:PORT, here and there, such as 8080:80";

/// The heading of our flags in help texts.
const HEADING: &str = "Options of cargo-burst";

/// One flag.
pub(super) struct Flag {
    /// Its name with the dashes.
    pub(super) name: &'static str,
    /// The name of its value; `None` if it takes none.
    pub(super) value: Option<&'static str>,
    /// Its help, with the default where it has one.
    pub(super) help: &'static str,
    /// Whether a cargo verb can use it. Another verb has it not in its help, and refuses it.
    fits: fn(CargoVerb) -> bool,
    /// Enters it into the flags. The value is empty if it takes none. The error completes
    /// "invalid value `…` for `--flag`: ".
    set: fn(&mut Flags, &str) -> Result<(), &'static str>,
}

/// A flag at the beginning of words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Its name with the dashes.
    pub(super) name: &'static str,
    /// How many words it is, with its value.
    pub(super) words: usize,
}

/// All flags, in the order of help texts.
static FLAGS: [Flag; 11] = [
    Flag {
        name: "--no-fetch",
        value: None,
        help: "Leave artifacts on the agent: `--fetch none`",
        fits: runs_cargo,
        set: |flags, _| {
            flags.fetch = Some(Fetch::None);
            Ok(())
        },
    },
    Flag {
        name: "--fetch",
        value: Some("WHAT|PATH"),
        help: "Fetch `all` of the target directory, `artifacts` or `none` [default: `fetch`, \
               artifacts], or a path that the run has written; repeatable",
        fits: |_| true,
        set: |flags, value| {
            match Fetch::named(value) {
                None if value.is_empty() => {
                    return Err("expected `all`, `artifacts`, `none` or a path");
                }
                None => flags.fetched_paths.push(value.to_owned()),
                meant => flags.fetch = meant,
            }
            Ok(())
        },
    },
    Flag {
        name: "--env",
        value: Some("NAME[=VALUE]"),
        help: "Pass an environment variable to cargo, with its value here or the given one; \
               repeatable",
        fits: runs_cargo,
        set: |flags, value| {
            if value.is_empty() || value.starts_with('=') {
                return Err("expected NAME or NAME=VALUE");
            }
            flags.env.push(value.to_owned());
            Ok(())
        },
    },
    Flag {
        name: "--forward",
        value: Some("PORT[:PORT]"),
        help: "Forward a TCP port of this machine to the one of the server, where a program of \
               the run listens: PORT, or HERE:THERE; repeatable",
        fits: runs_cargo,
        set: |flags, value| {
            flags.forward.push(value.parse().map_err(|()| EXPECTED_PORT)?);
            Ok(())
        },
    },
    Flag {
        name: "--keep-alive",
        value: Some("SECONDS"),
        help: "Keep the idle server, or the agent on this machine, for so long [default: \
               `keep_alive_secs`, 300]",
        fits: |_| true,
        set: |flags, value| {
            const EXPECTED: &str = "expected a number of seconds such as 1800, at most 31536000";
            let secs: u64 = value.parse().map_err(|_| EXPECTED)?;
            if secs > 31_536_000 {
                return Err(EXPECTED);
            }
            flags.keep_alive = Some(secs);
            Ok(())
        },
    },
    Flag {
        name: "--no-reap",
        value: None,
        help: "Keep server and volume until `cargo burst down`, whatever later commands say",
        fits: |_| true,
        set: |flags, _| {
            flags.no_reap = true;
            Ok(())
        },
    },
    Flag {
        name: "--max-cost",
        value: Some("EUR"),
        help: "Create no server whose first hour costs more [default: no limit]",
        fits: |_| true,
        set: |flags, value| {
            flags.max_cost = Some(amount(value)?);
            Ok(())
        },
    },
    Flag {
        name: "--yes",
        value: None,
        help: "Answer yes to questions about large files and about costs beyond a limit",
        fits: |_| true,
        set: |flags, _| {
            flags.yes = true;
            Ok(())
        },
    },
    Flag {
        name: "--detach",
        value: None,
        help: "Start the command in the background, and return; `cargo burst attach` shows it",
        fits: |_| true,
        set: |flags, _| {
            flags.detach = true;
            Ok(())
        },
    },
    Flag {
        name: "--no-doctests",
        value: None,
        help: "Skip the documentation tests",
        fits: |verb| verb == CargoVerb::Test,
        set: |flags, _| {
            flags.no_doctests = true;
            Ok(())
        },
    },
    Flag {
        name: "--cargo-test",
        value: None,
        help: "Run `cargo test` even where nextest is installed",
        fits: |verb| verb == CargoVerb::Test,
        set: |flags, _| {
            flags.cargo_test = true;
            Ok(())
        },
    },
];

/// Whether a verb calls cargo, which alone has artifacts and variables.
fn runs_cargo(verb: CargoVerb) -> bool {
    verb != CargoVerb::Sync
}

/// An amount in EUR: finite and not negative.
pub(super) fn amount(text: &str) -> Result<f64, &'static str> {
    const EXPECTED: &str = "expected an amount in euros such as 0.50";
    let amount: f64 = text.parse().map_err(|_| EXPECTED)?;
    // Adding zero makes a negative zero positive.
    if amount.is_finite() && amount >= 0.0 { Ok(amount + 0.0) } else { Err(EXPECTED) }
}

/// Adds the flags of a verb to its `clap` command, for help, completions and man pages.
pub(super) fn add_to(command: Command, verb: CargoVerb) -> Command {
    let mine = FLAGS.iter().filter(|flag| (flag.fits)(verb));
    command.args(mine.map(|flag| {
        let long = flag.name.trim_start_matches('-');
        let arg = Arg::new(long).long(long).help(flag.help).help_heading(HEADING);
        match flag.value {
            Some(value) => arg.value_name(value).action(ArgAction::Append),
            None => arg.action(ArgAction::SetTrue),
        }
    }))
}

/// Takes a flag of ours from the beginning of `words`. Returns none if there is no flag of
/// ours. `verb` is `None` before the verb is known: then each flag is accepted, and
/// [`check`] follows.
pub(super) fn take(
    flags: &mut Flags,
    words: &[OsString],
    verb: Option<CargoVerb>,
) -> Result<Option<Taken>, Error> {
    let Some(word) = words.first().and_then(|word| word.to_str()) else { return Ok(None) };
    let (name, attached) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    let is_meant = |flag: &&Flag| flag.name == name && verb.is_none_or(flag.fits);
    let Some(flag) = FLAGS.iter().find(is_meant) else { return Ok(None) };
    let (value, words) = match (flag.value, attached) {
        (None, None) => ("", 1),
        (None, Some(value)) => return Err(invalid(name, value, "it takes no value")),
        (Some(_), Some(value)) => (value, 1),
        (Some(kind), None) => match words.get(1).map(|next| OsStr::to_str(next)) {
            Some(Some(value)) => (value, 2),
            Some(None) => return Err(invalid(name, "…", "it is not UTF-8")),
            None => return Err(missing(name, kind)),
        },
    };
    (flag.set)(flags, value).map_err(|expected| invalid(name, value, expected))?;
    Ok(Some(Taken { name: flag.name, words }))
}

/// Refuses a flag before a verb that cannot use it. `given` are the names of the flags.
pub(super) fn check(given: &[&'static str], verb: CargoVerb, name: &str) -> Result<(), Error> {
    let fits = |given: &str| FLAGS.iter().any(|flag| flag.name == given && (flag.fits)(verb));
    match given.iter().find(|given| !fits(given)) {
        None => Ok(()),
        Some(wrong) => Err(Error::new(
            ErrorKind::Usage,
            format!("`{name}` does not take `{wrong}`"),
            match verb {
                CargoVerb::Other => {
                    "`cargo burst help build` shows the options of all verbs".into()
                }
                _ => format!("`cargo burst help {name}` shows its options"),
            },
        )),
    }
}

/// The flag that a word seems to mean, if it is none and is similar to one. `verb` as for
/// [`take`].
pub(super) fn misspelt(word: &OsStr, verb: Option<CargoVerb>) -> Option<&'static str> {
    let name = word.to_str()?.split('=').next()?;
    if !name.starts_with("--") {
        return None;
    }
    // Short names are similar to options of cargo: `--yes` to `--test`.
    let is_long = |name: &&str| name.len() > "--12345".len();
    let fitting = FLAGS.iter().filter(|flag| verb.is_none_or(flag.fits)).map(|flag| flag.name);
    similar(name, fitting.filter(is_long))
}

fn invalid(name: &str, value: &str, expected: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("invalid value `{value}` for `{name}`: {expected}"),
        "`cargo burst help build` shows the options with their values",
    )
}

fn missing(name: &str, kind: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("a value is required for `{name} <{kind}>`"),
        "`cargo burst help build` shows the options with their values",
    )
}

#[cfg(test)]
mod tests {
    use super::take as take_flag;
    use super::*;

    #[test]
    fn amounts_are_finite_and_not_negative() {
        assert_eq!(amount("0.50"), Ok(0.5));
        assert!(amount("-0").unwrap().is_sign_positive());
        for wrong in ["nan", "inf", "-1", "", "1,50"] {
            assert_eq!(amount(wrong), Err("expected an amount in euros such as 0.50"), "{wrong}");
        }
    }

    #[test]
    fn misspelt_flags_are_recognised_and_options_of_cargo_are_not() {
        let misspelt = |word: &str, verb| misspelt(OsStr::new(word), verb);
        for (word, flag) in [
            ("--no-fecth", Some("--no-fetch")),
            ("--no-reep", Some("--no-reap")),
            ("--keep-alvie=3", Some("--keep-alive")),
            ("--max-csot", Some("--max-cost")),
            ("no-fecth", None),
        ] {
            assert_eq!(misspelt(word, Some(CargoVerb::Build)), flag, "{word}");
            assert_eq!(misspelt(word, None), flag, "{word}");
        }
        assert_eq!(misspelt("--no-doctest", Some(CargoVerb::Build)), None);
        assert_eq!(misspelt("--no-doctest", Some(CargoVerb::Test)), Some("--no-doctests"));
        let of_cargo = [
            "--no-run",
            "--no-deps",
            "--test",
            "--tests",
            "--bench",
            "--bins",
            "--lib",
            "--all",
            "--release",
            "--quiet",
            "--verbose",
            "--locked",
            "--offline",
            "--frozen",
            "--fix",
            "--no-fail-fast",
            "--open",
            "--doc",
            "--timings",
            "--no-default-features",
            "--no-capture",
            "--no-pager",
            "--no-tests",
            "--unit-graph",
            "--keep-going",
            "--ff",
            "--nff",
            "--fail-fast",
            "--max-fail",
            "--ignore-rust-version",
            "--allow-dirty",
        ];
        for word in of_cargo {
            assert_eq!(misspelt(word, Some(CargoVerb::Test)), None, "{word}");
        }
    }

    #[test]
    fn flags_take_their_words() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let mut flags = Flags::default();
        let mut take = |line, verb| take_flag(&mut flags, &words(line), verb);
        let taken = |name, words| Ok(Some(Taken { name, words }));
        assert_eq!(take("--no-fetch x", None), taken("--no-fetch", 1));
        assert_eq!(take("--env A=1 x", None), taken("--env", 2));
        assert_eq!(take("--env=B", None), taken("--env", 1));
        assert_eq!(take("--release", None), Ok(None));
        assert_eq!(take("--no-doctests", Some(CargoVerb::Build)), Ok(None));
        assert_eq!(take("--no-fetch", Some(CargoVerb::Sync)), Ok(None));
        assert_eq!(take("--no-doctests", Some(CargoVerb::Test)), taken("--no-doctests", 1));
        let error = take("--max-cost nan", None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid value `nan` for `--max-cost`: expected an amount in euros such as 0.50"
        );
        assert_eq!(
            take("--keep-alive", None).unwrap_err().to_string(),
            "a value is required for `--keep-alive <SECONDS>`"
        );
        assert_eq!(flags.env, ["A=1", "B"]);
    }
}
