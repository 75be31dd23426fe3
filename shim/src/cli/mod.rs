//! The command line: from its words to a [`Command`].
//!
//! `cargo-burst burst VERB`, which is how cargo calls it, and `cargo-burst VERB` are the
//! same. Each verb is defined once ([`verb`]), each flag once ([`flag`]).
//!
//! The first word that is no option of ours is the verb. A verb of our own wins; `--` in
//! front of the verb skips those. Otherwise cargo's rules decide: built-in commands, then
//! the user's aliases, then built-in aliases ([`alias`]). What is left runs on the agent, or
//! here if it compiles nothing ([`route`]).
//!
//! This room prints nothing. It reads cargo's configuration and looks for plugins on PATH;
//! only `man DIRECTORY` writes files.

mod alias;
mod command;
mod completions;
mod flag;
mod help;
mod refusal;
mod route;
mod split;
mod verb;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use self::alias::Aliases;

pub(crate) use self::command::Command;
pub(crate) use self::refusal::Refusal;
use self::refusal::{
    LIST_VERBS, help_of, misplaced, no_directory, no_options, no_such_command, not_a_command,
    nothing_to_detach, rendered, styled, text, unknown_option, version,
};
pub(crate) use self::route::compiles_here;
use self::route::is_option;
use self::split::Split;
use self::verb::{VERBS, Verb, VerbKind};
use crate::cargo_options::before_dashes;
use crate::environment;
use crate::error::{Error, exit_code};
use crate::run::request::{CargoVerb, Flags, RunArguments};
use crate::terminal::{Verbosity, color};

/// A command line, understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// How much is printed.
    pub(crate) verbosity: Verbosity,
    /// Whether a failure is printed as JSON.
    pub(crate) json: bool,
    /// The toolchain that `+TOOLCHAIN` in front of the verb names.
    pub(crate) toolchain: Option<String>,
    /// The command.
    pub(crate) command: Result<Command, Refusal>,
}

/// What stands before the verb.
#[derive(Debug, Default)]
struct Leading {
    flags: Flags,
    /// The names of the flags.
    given: Vec<&'static str>,
    /// Options of cargo, such as `--config`, which cargo accepts there.
    cargos: Vec<OsString>,
    /// The toolchain that is named by `+TOOLCHAIN`.
    toolchain: Option<String>,
    /// Whether `--` skips our own verbs.
    skips_own: bool,
}

/// Understands a command line. `words` are those behind the program's name.
pub(crate) fn parse(mut words: Vec<OsString>) -> Parsed {
    if words.first().is_some_and(|first| first == "burst") {
        words.remove(0);
    }
    let mut verbosity = Verbosity::Normal;
    let mut toolchain = None;
    let command = parse_leading(Leading::default(), &words, &mut verbosity).and_then(|parts| {
        let (leading, rest) = parts;
        toolchain.clone_from(&leading.toolchain);
        let command = parse_verb(leading, rest, &mut verbosity)?;
        if let Command::Run(run) = &command
            && verbosity == Verbosity::Normal
            && (is_quiet(run) || environment::is_quiet())
        {
            verbosity = Verbosity::Quiet;
        }
        Ok(command)
    });
    let json = match &command {
        Ok(command) => command.is_json(),
        Err(_) => asks_for_json(&words),
    };
    Parsed { verbosity, json, toolchain, command }
}

/// Whether a command line that is refused asks for JSON: `--json` behind a verb of ours.
fn asks_for_json(words: &[OsString]) -> bool {
    let own = words.iter().find_map(|word| verb::find(word.to_str()?));
    own.is_some_and(|verb| matches!(verb.kind, VerbKind::Own { .. }))
        && words.iter().any(|word| word == "--json")
}

/// `-q` among cargo's options quietens us, too.
fn is_quiet(run: &RunArguments) -> bool {
    run.options().iter().any(|word| word == "-q" || word == "--quiet")
}

/// Takes the options before the verb; `leading` are those that were taken before.
fn parse_leading<'w>(
    mut leading: Leading,
    words: &'w [OsString],
    verbosity: &mut Verbosity,
) -> Result<(Leading, &'w [OsString]), Refusal> {
    let mut rest = words;
    while let Some((word, more)) = rest.split_first() {
        if let Some(taken) = flag::take(&mut leading.flags, rest, None)? {
            leading.given.push(taken.name);
            rest = &rest[taken.words..];
            continue;
        }
        match word.to_str() {
            Some("-q" | "--quiet") => *verbosity = Verbosity::Quiet,
            Some("-v" | "-vv" | "--verbose") => *verbosity = Verbosity::Verbose,
            Some("-h" | "--help") => return Err(text(help_of(None))),
            Some("-V" | "--version") => return Err(text(version())),
            Some("--locked" | "--offline" | "--frozen") => leading.cargos.push(word.clone()),
            Some(option)
                if ["--color=", "--config=", "-Z"]
                    .iter()
                    .any(|start| option.len() > start.len() && option.starts_with(start)) =>
            {
                leading.cargos.push(word.clone());
            }
            Some("--color" | "--config" | "-Z") => {
                leading.cargos.extend([word.clone()]);
                leading.cargos.extend(more.first().cloned());
                rest = more.get(1..).unwrap_or_default();
                continue;
            }
            Some(option) if is_without_verb(option) => break,
            Some(option) if option.starts_with("-C") => return Err(no_directory(option).into()),
            Some("--") if !more.is_empty() => {
                leading.skips_own = true;
                return Ok((leading, more));
            }
            Some(option) if option.starts_with('-') => {
                return Err(misplaced(option, more).unwrap_or_else(|| rendered(rest)));
            }
            Some(word) if word.len() > 1 && word.starts_with('+') => {
                leading.toolchain = Some(word[1..].to_owned());
            }
            _ => break,
        }
        rest = more;
    }
    Ok((leading, rest))
}

fn parse_verb(
    mut leading: Leading,
    rest: &[OsString],
    verbosity: &mut Verbosity,
) -> Result<Command, Refusal> {
    let Some((first, _)) = rest.split_first() else {
        return Err(match leading.flags.detach {
            // A script that has lost its verb is to notice.
            true => nothing_to_detach().into(),
            false => text(help_of(None)),
        });
    };
    let own = first.to_str().and_then(verb::find);
    if let Some(verb @ Verb { kind: VerbKind::Own { read, .. }, .. }) = own
        && !leading.skips_own
    {
        return parse_own(verb, *read, &leading, rest);
    }
    let aliases = Aliases::here();
    let mut words = match own {
        Some(Verb { kind: VerbKind::Cargo(CargoVerb::Sync), .. }) if !leading.skips_own => {
            rest.to_vec()
        }
        _ => aliases.expand(rest.to_vec())?,
    };
    let is_alias = words.first() != Some(first);
    if words.first().is_some_and(|word| word == "burst") {
        // As in an alias such as `st = "burst status"`.
        return parse_verb(Leading { skips_own: false, ..leading }, &words[1..], verbosity);
    }
    let begins_with_options = !is_option(first) && words.first().is_some_and(is_option);
    if begins_with_options {
        // An alias may begin with options, as in `x = "--offline build"`.
        let (more, verb) = parse_leading(leading, &words, verbosity)?;
        leading = more;
        words = aliases.expand(verb.to_vec())?;
    }
    let (name, arguments) = match words.split_first() {
        Some((name, arguments)) => (name.to_string_lossy().into_owned(), arguments),
        None => (String::new(), [].as_slice()),
    };
    match verb::find(&name) {
        Some(verb @ Verb { kind: VerbKind::Cargo(cargo), .. }) => {
            flag::check(&leading.given, *cargo, verb.name)?;
            match split::split(*cargo, arguments, leading.flags, &leading.cargos)? {
                Split::Run(run) => {
                    let alias = is_alias.then(|| aliases.built_in_for(verb.name)).flatten();
                    Ok(Command::Run(RunArguments { alias, ..run }))
                }
                Split::Help => Err(text(help_of(Some(verb)))),
            }
        }
        // cargo here expands the alias itself.
        _ if is_alias && !begins_with_options && route::is_local(&name) => {
            parse_other(&name, rest.to_vec(), leading)
        }
        _ => parse_other(&name, words, leading),
    }
}

/// A verb of ours, by `clap`.
fn parse_own(
    verb: &Verb,
    read: fn(&clap::ArgMatches) -> Command,
    leading: &Leading,
    rest: &[OsString],
) -> Result<Command, Refusal> {
    let is_given = !leading.given.is_empty() || leading.toolchain.is_some();
    if is_given || !leading.cargos.is_empty() {
        return Err(Refusal::Error(no_options(verb.name, &[])));
    }
    let command = read(&help::alone(verb).try_get_matches_from(rest).map_err(|error| {
        if let Some(error) = unknown_option(verb.name, &error) {
            return error.into();
        }
        let code = u8::try_from(error.exit_code()).unwrap_or(exit_code::USAGE);
        let text = match code {
            0 => help_of(Some(verb)),
            _ => styled(&error.render(), color::on_stderr()),
        };
        Refusal::Text { text, code }
    })?);
    match command {
        Command::Help(None) => Err(text(help_of(None))),
        Command::Help(Some(name)) => help_about(&name),
        Command::Version => Err(text(version())),
        Command::Completions(shell) => Err(text(completions::script(shell))),
        Command::Man(None) => Err(text(help::man_page())),
        Command::Man(Some(directory)) => {
            help::write_man_pages(&directory)?;
            Err(text(String::new()))
        }
        command => Ok(command),
    }
}

/// `help NAME`: ours for a verb of the table; cargo's for any other verb that cargo has.
fn help_about(name: &str) -> Result<Command, Refusal> {
    if let Some(verb) = verb::find(alias::built_in(name).unwrap_or(name)) {
        return Err(text(help_of(Some(verb))));
    }
    if !route::is_name(name) {
        return Err(not_a_command(name).into());
    }
    let is_cargos = route::is_local(name) || route::is_built_in(name) || is_installed(name);
    if is_cargos || Aliases::here().has(name) {
        return Ok(Command::Local(vec!["help".into(), name.into()]));
    }
    Err(match similar_verb(name) {
        Some(similar) => no_such_command(name, format!("did you mean `{similar}`?")),
        None => no_such_command(name, LIST_VERBS),
    }
    .into())
}

/// A verb that is in no table of ours.
fn parse_other(name: &str, words: Vec<OsString>, leading: Leading) -> Result<Command, Refusal> {
    let wrong = |error: Error| Err(Refusal::Error(error));
    if name.starts_with('-') && (leading.skips_own || is_without_verb(name)) {
        if !leading.given.is_empty() {
            return wrong(no_options(name, &leading.given));
        }
        return Ok(Command::Local([leading.cargos, words].concat()));
    }
    if name == "help" {
        return Ok(Command::Local(words));
    }
    if !route::is_name(name) {
        return wrong(not_a_command(name));
    }
    if route::is_local(name) {
        if !leading.given.is_empty() {
            return wrong(no_options(name, &leading.given));
        }
        return Ok(Command::Local([leading.cargos, words].concat()));
    }
    if let Some(similar) = similar_verb(name)
        && !leading.skips_own
        && !route::is_built_in(name)
        && !is_installed(name)
    {
        return wrong(if similar == name {
            let hint = format!("in an alias, verbs of cargo-burst are written `burst {name}`");
            no_such_command(name, hint)
        } else {
            no_such_command(name, format!("did you mean `{similar}`?"))
        });
    }
    // cargo's options that stood before the verb follow it, before any `--`.
    let (verb, behind) = words.split_at(1);
    let arguments = [verb, &leading.cargos, behind].concat();
    let options = before_dashes(&arguments).len();
    let verb = CargoVerb::Other;
    flag::check(&leading.given, verb, name)?;
    let flags = leading.flags;
    Ok(Command::Run(RunArguments { verb, alias: None, arguments, options, flags }))
}

/// The verb of ours that is most similar to a name.
fn similar_verb(name: &str) -> Option<&'static str> {
    route::similar(name, VERBS.iter().map(|verb| verb.name))
}

/// Whether cargo has an option with which it needs no verb, and neither do we.
fn is_without_verb(option: &str) -> bool {
    ["--list", "--explain"].contains(&option.split('=').next().unwrap_or(option))
}

/// Whether `cargo-NAME` is installed here.
fn is_installed(name: &str) -> bool {
    let program = format!("cargo-{name}");
    let path = environment::variable("PATH").unwrap_or_default();
    let home = environment::cargo_home().map(|home| home.join("bin"));
    let is_there = |directory: PathBuf| Path::new(&directory).join(&program).is_file();
    std::env::split_paths(&path).chain(home).any(is_there)
}

#[cfg(test)]
mod tests;
