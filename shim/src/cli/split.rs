//! Splits the arguments behind a cargo verb: ours, cargo's, and those of the program.
//!
//! cargo's rules hold. `--` ends the options of both; it and everything behind it is passed
//! on as it is. Behind the program's first argument (`run prog ARG`) nothing is an option.

use std::ffi::OsString;

use super::flag;
use crate::cargo_options::takes_next;
use crate::error::{Error, ErrorKind};
use crate::run::request::{CargoVerb, Flags, RunArguments};

/// The arguments of a cargo verb, split.
#[derive(Debug, PartialEq)]
pub(super) enum Split {
    /// A run.
    Run(RunArguments),
    /// `--help` or `-h` was among the options.
    Help,
}

/// Splits what follows a verb. `flags` and `cargos`, options of cargo, stood before the verb.
/// The latter follow the verb's own options, so that cargo's usage texts do not show them.
pub(super) fn split(
    verb: CargoVerb,
    words: &[OsString],
    mut flags: Flags,
    cargos: &[OsString],
) -> Result<Split, Error> {
    let mut arguments = Vec::new();
    let mut rest = words;
    while let Some((word, more)) = rest.split_first() {
        if let Some(taken) = flag::take(&mut flags, rest, Some(verb))? {
            rest = &rest[taken.words..];
            continue;
        }
        match word.to_str() {
            Some("--") => break,
            Some("-h" | "--help") => return Ok(Split::Help),
            Some(text) if let Some(flag) = flag::misspelt(word, Some(verb)) => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("unexpected argument `{text}`"),
                    format!("did you mean `{flag}`?"),
                ));
            }
            Some(text) if !text.starts_with('-') && verb == CargoVerb::Run => break,
            _ => {}
        }
        arguments.push(word.clone());
        rest = more;
        if takes_next(word)
            && let Some((value, more)) = rest.split_first()
            && !value.as_encoded_bytes().starts_with(b"-")
        {
            arguments.push(value.clone());
            rest = more;
        }
    }
    arguments.extend_from_slice(cargos);
    let options = arguments.len();
    arguments.extend(rest.iter().cloned());
    if verb == CargoVerb::Sync {
        check_sync(&arguments)?;
    }
    Ok(Split::Run(RunArguments { verb, alias: None, arguments, options, flags }))
}

/// `sync` calls no cargo that would refuse a wrong argument.
fn check_sync(arguments: &[OsString]) -> Result<(), Error> {
    const ACCEPTED: [&str; 4] = ["--manifest-path", "--config", "--target-dir", "--color"];
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let (name, attached) = match text.split_once('=') {
            Some((name, _)) => (name, true),
            None => (text.as_ref(), false),
        };
        if !ACCEPTED.contains(&name) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`sync` does not take `{text}`"),
                format!("it takes {}", ACCEPTED.join(", ")),
            ));
        }
        if !attached {
            words.next();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Fetch;

    fn run(verb: CargoVerb, line: &str) -> (String, Flags) {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match split(verb, &words, Flags::default(), &[]).unwrap() {
            Split::Run(run) => {
                let words: Vec<_> =
                    run.arguments.iter().map(|word| word.to_string_lossy()).collect();
                (words.join(" "), run.flags)
            }
            Split::Help => ("HELP".into(), Flags::default()),
        }
    }

    #[test]
    fn our_flags_are_taken_out_before_the_dashes() {
        let (words, flags) = run(CargoVerb::Build, "--release --no-fetch -p a --env A=1 -- --yes");
        assert_eq!(words, "--release -p a -- --yes");
        assert_eq!(
            flags,
            Flags { fetch: Some(Fetch::None), env: vec!["A=1".into()], ..Flags::default() }
        );
        assert_eq!(run(CargoVerb::Build, "--no-doctests").0, "--no-doctests");
        assert!(run(CargoVerb::Test, "--no-doctests").1.no_doctests);
    }

    #[test]
    fn leading_dashes_mean_what_they_mean_to_cargo() {
        for (verb, line) in [
            (CargoVerb::Run, "-- --release"),
            (CargoVerb::Test, "-- --ignored"),
            (CargoVerb::Clippy, "-- -Dwarnings"),
            (CargoVerb::Bench, "-- --save-baseline x"),
            (CargoVerb::Rustc, "-- -C opt-level=1"),
            (CargoVerb::Run, "-- --help --no-fetch"),
        ] {
            assert_eq!(run(verb, line), (line.to_owned(), Flags::default()));
        }
    }

    #[test]
    fn nothing_behind_the_programs_first_argument_is_an_option() {
        for line in
            ["a --yes", "a --help", "--bin x a -h", "-F b,c a --no-fetch", "-p x -- a --yes"]
        {
            assert_eq!(run(CargoVerb::Run, line), (line.to_owned(), Flags::default()));
        }
        let (words, flags) = run(CargoVerb::Run, "--bin x --yes a --yes");
        assert_eq!((words.as_str(), flags.yes), ("--bin x a --yes", true));
        // A filter of tests is followed by options.
        assert!(run(CargoVerb::Test, "name --yes").1.yes);
    }

    #[test]
    fn help_is_ours_among_the_options() {
        assert_eq!(run(CargoVerb::Build, "--release -h").0, "HELP");
        assert_eq!(run(CargoVerb::Run, "--help").0, "HELP");
        // The value of an option is none.
        assert_eq!(run(CargoVerb::Build, "--color always").0, "--color always");
    }
}
