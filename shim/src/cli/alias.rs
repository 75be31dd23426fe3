//! cargo's aliases: the built-in ones, and those of the user's configuration.
//!
//! As in cargo, an alias of the user's cannot replace a built-in command; it wins over a
//! built-in alias and over an external subcommand. Of several definitions the first counts:
//! the variable `CARGO_ALIAS_NAME`, then `.cargo/config.toml` from the working directory
//! upwards, then the one in cargo's home. A file's `include`s are read after it. Files that
//! cannot be read are left to cargo, which reports them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::route;
use crate::cargo_config::{first, split_words, words_of};
use crate::environment;
use crate::error::Error;

/// The aliases built into cargo.
const BUILT_IN_ALIASES: [(&str, &str); 6] =
    [("b", "build"), ("c", "check"), ("d", "doc"), ("t", "test"), ("r", "run"), ("rm", "remove")];

/// The command that a built-in alias stands for.
pub(super) fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN_ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, command)| *command)
}

/// The exit code of cargo's own errors.
const CARGO_ERROR: u8 = 101;

/// Where aliases are looked for.
#[derive(Debug)]
pub(super) struct Aliases {
    directory: Option<PathBuf>,
    cargo_home: Option<PathBuf>,
}

impl Aliases {
    /// The aliases that hold in the working directory.
    pub(super) fn here() -> Self {
        let directory = std::env::current_dir().ok();
        Self { directory, cargo_home: environment::cargo_home() }
    }

    /// Whether a name is an alias.
    pub(super) fn has(&self, name: &str) -> bool {
        self.definition(name).is_some()
    }

    /// The built-in alias of a command, unless an alias of the user's has its name.
    pub(super) fn built_in_for(&self, command: &str) -> Option<&'static str> {
        let (alias, _) = BUILT_IN_ALIASES.iter().find(|(_, meant)| *meant == command)?;
        self.of_user(alias).is_none().then_some(*alias)
    }

    /// Replaces an alias at the beginning of `words` by its definition, as often as the
    /// result begins with one. An alias that leads to itself is cargo's error.
    pub(super) fn expand(&self, mut words: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let Some(name) = words.first().and_then(|word| word.to_str()).map(str::to_owned) else {
                return Ok(words);
            };
            let Some(definition) = self.definition(&name) else { return Ok(words) };
            if seen.contains(&name) {
                seen.push(name);
                let chain = seen.join(" -> ");
                let words = format!(
                    "error: alias {} has unresolvable recursive definition: {chain}",
                    seen[0]
                );
                return Err(Error::cargo(words, CARGO_ERROR));
            }
            if definition.is_empty() {
                let words = format!("error: subcommand is required, but `alias.{name}` is empty\n");
                return Err(Error::cargo(words.trim_end(), CARGO_ERROR));
            }
            seen.push(name);
            words.splice(0..1, definition.into_iter().map(OsString::from));
        }
    }

    /// The words that a name stands for; `None` if it is no alias.
    fn definition(&self, name: &str) -> Option<Vec<String>> {
        if route::is_built_in(name) {
            return None;
        }
        self.of_user(name).or_else(|| built_in(name).map(|command| vec![command.to_owned()]))
    }

    fn of_user(&self, name: &str) -> Option<Vec<String>> {
        let variable = format!("CARGO_ALIAS_{}", name.to_uppercase().replace('-', "_"));
        if let Some(text) = environment::text(&variable) {
            return Some(split_words(&text));
        }
        let look = |table: &toml::Table, _: &Path| {
            table.get("alias").and_then(|aliases| aliases.get(name)).and_then(words_of)
        };
        first(self.directory.as_deref(), self.cargo_home.clone(), &look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(configs: &[(&str, &str)], line: &str) -> Result<String, Error> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in configs {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let home = root.path().join("home");
        let aliases = Aliases { directory: Some(root.path().join("a/b")), cargo_home: Some(home) };
        let words = line.split_whitespace().map(OsString::from).collect();
        let words = aliases.expand(words)?;
        Ok(words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn aliases_are_found_at_every_level_and_expanded_recursively() {
        let configs = [
            ("a/b/.cargo/config.toml", "[alias]\nnear = 'two --x'\nb = 'check'\n"),
            ("a/.cargo/config", "[alias]\ntwo = ['test', 'a b']\nnear = 'far'\n"),
            ("home/config.toml", "include = 'more.toml'\n[alias]\nhomely = 'build'\n"),
            ("home/more.toml", "[alias]\nmore = 'run --release'\nhomely = 'doc'\n"),
        ];
        for (line, expected) in [
            ("near -q", "test a b --x -q"),
            ("b --release", "check --release"),
            ("t x", "test x"),
            ("homely", "build"),
            ("more", "run --release"),
            ("unknown x", "unknown x"),
        ] {
            assert_eq!(expanded(&configs, line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn built_in_commands_are_not_replaced() {
        let config = [("a/.cargo/config.toml", "[alias]\nbuild = 'check'\nfmt = 'version'\n")];
        assert_eq!(expanded(&config, "build").unwrap(), "build");
        assert_eq!(expanded(&config, "fmt").unwrap(), "version");
    }

    #[test]
    fn a_circle_is_cargos_error() {
        let config = [("a/.cargo/config.toml", "[alias]\nx = 'y'\ny = 'x'\n")];
        let error = expanded(&config, "x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "error: alias x has unresolvable recursive definition: x -> y -> x"
        );
        assert_eq!(error.exit_code(), 101);
    }
}
