//! The documentation of all settings: a commented TOML file with the defaults, made of
//! the definition. It is a valid settings file.

use super::definition::keys;
use super::kind::Shown;
use super::variables::{OTHER_VARIABLES, Variable};

/// What stands above the settings; no line is longer than 88 characters.
const HEADER: &str = "\
# The settings of cargo-burst and their defaults.
#
# Your own settings belong in ~/.config/cargo-burst/config.toml (the user config). Those
# that a team shares belong in WORKSPACE/.config/cargo-burst.toml (the project file).
# The layers, highest first: flags, environment variables, project file, user config,
# defaults. In an environment variable, commas separate the items of a list.
#
# What a project file sets beyond your own settings holds once you trust that content of
# it: `cargo burst trust`.
#
# `cargo burst config` shows the value of each setting and its origin.
";

/// The text of `cargo burst config --defaults`.
pub(crate) fn documentation() -> String {
    let mut text = HEADER.to_owned();
    for key in keys() {
        text.push('\n');
        for line in key.documentation {
            text.push_str(&format!("# {}\n", line.strip_prefix(' ').unwrap_or(line)));
        }
        text.push_str(&format!("# Type: {}\n# Variable: {}\n", key.expected, key.variable));
        if let Some(rule) = &key.in_project {
            text.push_str(&format!("# {rule}\n"));
        }
        match &key.default {
            Shown::Value(value) => text.push_str(&format!("{} = {value}\n", key.name)),
            Shown::Unset { example, .. } => text.push_str(&format!("# {} = {example}\n", key.name)),
            Shown::Hidden => {}
        }
    }
    text.push_str("\n# Environment variables that are not settings:\n");
    for Variable { name, meaning } in &OTHER_VARIABLES {
        text.push_str(&format!("#\n# {name}\n#     {meaning}\n"));
    }
    text
}
