//! Help texts, and man pages, made of the tables of verbs and flags.

use std::path::Path;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects};
use clap::{Arg, ArgAction, Command as ClapCommand};

use super::flag;
use super::verb::{VERBS, Verb, VerbKind};
use crate::error::{Error, ErrorKind, exit_code};
use crate::run::request::CargoVerb;

/// What the help of the program ends with.
const AFTER_HELP: &str = "\
cargo's own rules hold for every cargo verb: `--` ends the options, and what follows a
program's first argument is the program's. Our options stand before the verb or among
cargo's. cargo's aliases (b, c, d, t, r) and yours work. Any other verb of cargo runs on the
agent, or here where it only reads or edits files: `cargo burst [--] VERB [ARGUMENTS]`; before
such a verb stand our options, behind it only cargo's.";

/// The end of the help, with the exit codes.
fn after_help() -> String {
    let codes = exit_code::MEANINGS.iter().map(|(code, meaning)| format!("{code} {meaning}"));
    let codes = codes.collect::<Vec<_>>().join(", ");
    format!("{AFTER_HELP}\n\nExit codes: cargo's own pass through; {codes}")
}

/// cargo's colours.
fn styles() -> Styles {
    let heading = AnsiColor::BrightGreen.on_default().effects(Effects::BOLD);
    let literal = AnsiColor::BrightCyan.on_default().effects(Effects::BOLD);
    Styles::styled()
        .header(heading)
        .usage(heading)
        .literal(literal)
        .placeholder(AnsiColor::Cyan.on_default())
        .error(AnsiColor::BrightRed.on_default().effects(Effects::BOLD))
        .valid(literal)
        .invalid(AnsiColor::Yellow.on_default().effects(Effects::BOLD))
}

/// The whole program as `clap` sees it.
pub(super) fn program() -> ClapCommand {
    let options = [
        Arg::new("quiet")
            .short('q')
            .long("quiet")
            .action(ArgAction::SetTrue)
            .help("Print only errors, warnings and cargo's own output; before the verb"),
        Arg::new("verbose")
            .short('v')
            .long("verbose")
            .action(ArgAction::SetTrue)
            .help("Print what each part does and how long it takes; before the verb"),
    ];
    ClapCommand::new("cargo-burst")
        .bin_name("cargo burst")
        .about("Run cargo on a big server that exists only while it is needed")
        .version(version())
        .styles(styles())
        .max_term_width(100)
        .disable_help_subcommand(true)
        .subcommand_value_name("VERB")
        .subcommand_help_heading("Verbs")
        .args(options)
        .after_help(after_help())
        .subcommands(VERBS.iter().map(of_verb))
}

/// One verb as `clap` sees it.
fn of_verb(verb: &Verb) -> ClapCommand {
    let command = ClapCommand::new(verb.name)
        .about(verb.about)
        .styles(styles())
        .max_term_width(100)
        .after_help(examples(verb));
    match &verb.kind {
        VerbKind::Own { arguments, .. } => arguments(command),
        VerbKind::Cargo(cargo) => flag::add_to(command, *cargo).arg(cargos(*cargo)),
    }
}

/// One verb on its own, for its help and for parsing.
pub(super) fn alone(verb: &Verb) -> ClapCommand {
    of_verb(verb).bin_name(format!("cargo burst {}", verb.name))
}

/// The place of cargo's arguments in a help text.
fn cargos(verb: CargoVerb) -> Arg {
    let arg = Arg::new("arguments")
        .value_name("ARGUMENTS")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true);
    match verb.name() {
        Some("sync") => arg.help("cargo's options that choose the workspace"),
        Some("test") => arg.help(
            "As for `cargo test`; where nextest is installed, passed to `cargo nextest run` in its \
             spelling; see `cargo help test`",
        ),
        Some(name) => {
            arg.help(format!("Passed to `cargo {name}` unchanged; see `cargo help {name}`"))
        }
        None => arg.help("Passed to cargo unchanged"),
    }
}

fn examples(verb: &Verb) -> String {
    let width = verb.examples.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
    let lines =
        verb.examples.iter().map(|(line, about)| format!("  cargo burst {line:<width$}  {about}"));
    std::iter::once("Examples:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// The version of the program, its commit if it is known, and the protocol version.
pub(super) fn version() -> String {
    let protocol = burst_protocol::hello::VERSIONS.end();
    let commit = option_env!("BURST_COMMIT").filter(|commit| !commit.is_empty());
    let commit = commit.map(|commit| format!("{commit}, ")).unwrap_or_default();
    format!("{} ({commit}protocol {protocol})", env!("CARGO_PKG_VERSION"))
}

/// The main manual page.
pub(super) fn man_page() -> String {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    drop(clap_mangen::Man::new(program()).render(&mut page));
    String::from_utf8_lossy(&page).into_owned()
}

/// Writes all manual pages to a directory.
pub(super) fn write_man_pages(directory: &Path) -> Result<(), Error> {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(program(), directory));
    written.map_err(|source| {
        let message = format!("cannot write the manual pages to `{}`", directory.display());
        Error::new(ErrorKind::Output, message, "name a directory that you may write to")
            .caused_by(&source)
    })
}
