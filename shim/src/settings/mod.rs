//! Settings: files and environment variables, resolved and checked once a command.
//!
//! `settings/definition.rs` holds each setting once: name, type, default, range, environment
//! variable, scope and documentation. A layer is one file or one variable; a higher layer
//! replaces the value of a lower one, or adds to it where the setting is a list that adds
//! up. Values of [`Settings`] are in range: users of a field need no check of their own.
//!
//! Errors have the kind `Settings`, or `Token` for a malformed token. Their message begins
//! with `FILE:LINE` or names the variable; none contains a secret.
//!
//! Not here: the command line, which is above all layers, and the process's environment,
//! which the caller passes in.

mod definition;
mod documentation;
mod kind;
mod layer;
mod resolve;
mod variables;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use burst_hcloud::Token;

pub use self::definition::{Compression, Settings};
pub use self::documentation::documentation;
pub use self::kind::Shown;
pub use self::layer::Origin;
use self::layer::{File, Layer};
pub use self::resolve::{Effective, defaults};
use crate::error::{Error, ErrorKind};

/// The project file, relative to the workspace root.
pub const PROJECT_FILE: &str = ".config/cargo-burst.toml";

/// Variables that are never forwarded: with the values of this machine, cargo on the
/// server would not find its files, or would report wrong paths. The last three are ours.
const NOT_FORWARDABLE: [&str; 17] = [
    "PATH",
    "HOME",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "CARGO",
    "RUSTC",
    "RUSTDOC",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "TMPDIR",
    "PWD",
    "HCLOUD_TOKEN",
    "HCLOUD_ENDPOINT",
    "CARGO_BURST_INSIDE",
];

/// Whether the variable of this name may be passed to cargo on the server.
pub fn is_forwardable(name: &str) -> bool {
    !NOT_FORWARDABLE.contains(&name)
}

/// The user config: `$XDG_CONFIG_HOME/cargo-burst/config.toml`.
pub fn user_file(config_home: &Path) -> PathBuf {
    config_home.join("cargo-burst/config.toml")
}

/// Reads a token. `subject` begins the message of the error, which does not contain the
/// text.
pub fn parse_token(text: &str, subject: &str) -> Result<Token, Error> {
    Token::parse(text).map_err(|error| {
        let hint = "create a token in the Hetzner console: project, Security, API tokens, Read & \
                    Write";
        Error::new(ErrorKind::Token, format!("{subject} is not a Hetzner API token"), hint)
            .caused_by(&error)
    })
}

impl Settings {
    /// Reads and resolves all layers: the user config, the project file of `workspace`,
    /// and those of `variables` that are ours. Files that do not exist are skipped.
    pub fn load(
        config_home: &Path,
        workspace: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let user = user_file(config_home);
        let project = workspace.map(|root| root.join(PROJECT_FILE));
        let user_text = File::read(&user)?;
        let project_text = project.as_deref().map(File::read).transpose()?.flatten();
        let mut layers = Vec::new();
        if let Some(file) = &user_text {
            layers.push(file.layer(Origin::User(user.clone()), &user)?);
        }
        if let (Some(path), Some(file)) = (&project, &project_text) {
            layers.push(file.layer(Origin::Project(path.clone()), path)?);
        }
        layers.extend(Layer::environment(variables)?);
        Self::resolve(&layers)
    }

    /// The value and the origins of every setting, in the order of their definition.
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }
}

/// The error for a value or a name that is not valid.
fn invalid(message: impl Into<String>) -> Error {
    let hint = "`cargo burst config --defaults` shows every setting with its type and default";
    Error::new(ErrorKind::Settings, message, hint)
}

/// The candidate that is most similar to a wrong name, if any is similar: each is the name
/// to compare with and the one to suggest.
fn nearest<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<&'a str> {
    const SIMILAR: f64 = 0.8;
    let scored = candidates
        .into_iter()
        .map(|(name, suggested)| (strsim::jaro_winkler(wrong, name), suggested))
        .filter(|(score, _)| *score >= SIMILAR);
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, suggested)| suggested)
}
