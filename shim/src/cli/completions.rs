//! Completions for shells: those of clap_complete for `cargo-burst`, and for bash, elvish and
//! fish a few lines that complete `cargo burst` alike. zsh's own completion of cargo calls
//! `_cargo-burst`; PowerShell completes `cargo-burst` alone.

use clap::ValueEnum;
use clap_complete::{Shell, generate};

use super::help::program;

/// The completion script of a shell.
pub(super) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash() + include_str!("completions/cargo.bash"),
        Shell::Elvish => elvish() + include_str!("completions/cargo.elv"),
        Shell::Fish => generated(shell, "cargo-burst") + &fish_of_cargo() + &fish_of_shells(),
        shell => generated(shell, "cargo-burst"),
    }
}

/// The labels that clap_complete writes for bash do not match for a name with a dash, so the
/// script is generated for a name without one.
fn bash() -> String {
    generated(Shell::Bash, "cargo_burst").replace(" cargo_burst\n", " cargo-burst\n")
}

/// clap_complete writes no values of arguments without a name for elvish, nor for fish.
fn elvish() -> String {
    let block = "&'cargo-burst;completions'= {\n";
    let values = shells().map(|shell| format!("            cand {shell} 'The shell'\n"));
    let with_values = block.to_owned() + &values.collect::<String>();
    generated(Shell::Elvish, "cargo-burst").replace(block, &with_values)
}

/// The values of `completions SHELL` in both spellings.
fn fish_of_shells() -> String {
    let shells = shells().collect::<Vec<_>>().join(" ");
    let line = |command: &str, condition: &str| {
        format!("complete -c {command} -n \"{condition} completions\" -f -a \"{shells}\"\n")
    };
    let under_burst = "__fish_cargo_or_burst_using_subcommand burst; and \
                       __fish_seen_subcommand_from";
    line("cargo-burst", "__fish_cargo_burst_using_subcommand") + &line("cargo", under_burst)
}

/// The names of all shells.
fn shells() -> impl Iterator<Item = String> {
    Shell::value_variants().iter().map(ToString::to_string)
}

/// Our verbs as subcommands of `cargo burst`.
fn fish_of_cargo() -> String {
    let mut cargo = clap::Command::new("cargo")
        .disable_help_subcommand(true)
        .subcommand(program().name("burst"));
    // The completions for cargo that come with fish may have functions of these names.
    written(Shell::Fish, &mut cargo, "cargo").replace("__fish_cargo_", "__fish_cargo_or_burst_")
}

fn generated(shell: Shell, name: &str) -> String {
    written(shell, &mut program().bin_name(name), name)
}

fn written(shell: Shell, command: &mut clap::Command, name: &str) -> String {
    let mut script = Vec::new();
    generate(shell, command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
