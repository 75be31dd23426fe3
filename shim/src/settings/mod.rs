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
mod error;
mod key;
mod kind;
mod layer;
mod origin;
mod resolve;
mod variables;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use self::definition::keys;
pub(crate) use self::definition::{Compression, Settings, defaults};
pub(crate) use self::documentation::documentation;
pub(crate) use self::kind::Shown;
pub(crate) use self::kind::parse_token;
use self::layer::{File, Layer};
pub(crate) use self::origin::Origin;
pub(crate) use self::resolve::Effective;
use crate::error::Error;

/// The project file, relative to the workspace root.
pub(crate) const PROJECT_FILE: &str = ".config/cargo-burst.toml";

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
pub(crate) fn is_forwardable(name: &str) -> bool {
    !NOT_FORWARDABLE.contains(&name)
}

/// The user config: `$XDG_CONFIG_HOME/cargo-burst/config.toml`.
pub(crate) fn user_file(config_home: &Path) -> PathBuf {
    config_home.join("cargo-burst/config.toml")
}

impl Settings {
    /// Reads and resolves all layers: the user config, the project file of `workspace`,
    /// and those of `variables` that are ours. Files that do not exist are skipped.
    pub(crate) fn load(
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
            layers.push(file.layer(Origin::User(user.clone()), &user, keys())?);
        }
        if let (Some(path), Some(file)) = (&project, &project_text) {
            layers.push(file.layer(Origin::Project(path.clone()), path, keys())?);
        }
        layers.extend(Layer::environment(variables, keys())?);
        Self::resolve(&layers)
    }

    /// The value and the origins of every setting, in the order of their definition.
    pub(crate) fn effective(&self) -> &[Effective] {
        &self.effective
    }
}
