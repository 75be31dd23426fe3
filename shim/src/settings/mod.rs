//! Settings: files and environment variables, resolved and checked once a command.
//!
//! `settings/definition.rs` holds each setting once: name, type, default, range, environment
//! variable, rule for project files and documentation. A layer is one file or one variable; a higher layer
//! replaces the value of a lower one, or adds to it where the setting is a list that adds
//! up. Values of [`Settings`] are in range: users of a field need no check of their own.
//!
//! A project file comes from a repository, so each setting has a rule for it
//! (`project_rule`): beyond the user's own values it holds only if the user trusts its
//! content (`trust`), and a limit is never raised by it. [`Settings::load`] resolves a file
//! that is not trusted, too, without what needs trust; who acts on settings calls
//! [`Settings::check_trust`] first.
//!
//! Errors have the kind `Settings`, `Token` for a malformed token, or `Untrusted` for a
//! project file that is not trusted. Their message begins with `FILE:LINE`, or names the
//! variable or the file; none contains a secret.
//!
//! Not here: the command line, which is above all layers, and the process's environment,
//! which the caller passes in.

mod definition;
mod documentation;
mod error;
mod key;
mod kind;
mod layer;
pub(crate) mod name_pattern;
mod origin;
mod port_forward;
mod project_file;
mod project_rule;
mod request;
mod resolve;
mod trust;
mod variables;

#[cfg(test)]
mod project_tests;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use self::definition::keys;
pub(crate) use self::definition::{Compression, Fetch, Settings, defaults};
pub(crate) use self::documentation::documentation;
pub(crate) use self::kind::Shown;
pub(crate) use self::kind::parse_token;
use self::layer::{File, Layer};
pub(crate) use self::origin::Origin;
pub(crate) use self::port_forward::PortForward;
pub(crate) use self::project_file::{Content, PROJECT_FILE, ProjectFile, Standing};
pub(crate) use self::request::Request;
pub(crate) use self::resolve::{Effective, Reason, Withheld};
pub(crate) use self::trust::{Project, TrustStore};
use crate::error::Error;

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

/// Whether a pattern may stand for the variable of this name: no pattern sends our own
/// variables, or the credentials of registries.
pub(crate) fn is_forwardable_by_pattern(name: &str) -> bool {
    const CREDENTIALS: [&str; 3] = ["_TOKEN", "_SECRET_KEY", "_CREDENTIAL_PROVIDER"];
    let is_credential = name.starts_with("CARGO_REGISTR")
        && CREDENTIALS.iter().any(|ending| name.ends_with(ending));
    is_forwardable(name) && !name.starts_with("CARGO_BURST") && !is_credential
}

/// The user config: `$XDG_CONFIG_HOME/cargo-burst/config.toml`.
pub(crate) fn user_file(config_home: &Path) -> PathBuf {
    config_home.join("cargo-burst/config.toml")
}

impl Settings {
    /// Reads and resolves all layers: the user config, the file of `project`, and those of
    /// `variables` that are ours. Files that do not exist are skipped. Without trust, what
    /// needs it does not hold.
    pub(crate) fn load(
        config_home: &Path,
        project: Option<Project<'_>>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let user = user_file(config_home);
        let user_text = File::read(&user)?;
        let mut layers = Vec::new();
        if let Some(file) = &user_text {
            layers.push(file.layer(Origin::User(user.clone()), &user, keys())?);
        }
        let project_path = project.map(|project| project.root.join(PROJECT_FILE));
        let project_text = project_path.as_deref().map(File::read).transpose()?.flatten();
        let (Some(Project { root, trust }), Some(path), Some(file)) =
            (project, project_path, &project_text)
        else {
            layers.extend(Layer::environment(variables, keys())?);
            return Self::resolve(&layers, false);
        };
        let of_project = file.layer(Origin::Project(path.clone()), &path, keys())?;
        let below = layers.len();
        layers.extend(Layer::environment(variables, keys())?);
        let own = Self::resolve(&layers, false)?;
        layers.insert(below, of_project);
        let content = Content::new(root, file.bytes());
        let standing = trust.standing(&content, &own.trusted_directories)?;
        let resolved = Self::resolve(&layers, standing.is_trusted())?;
        Ok(Self { project: Some(ProjectFile { path, content, standing }), ..resolved })
    }

    /// The value and the origins of every setting, in the order of their definition.
    pub(crate) fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// The project file; `None` if there is none.
    pub(crate) const fn project(&self) -> Option<&ProjectFile> {
        self.project.as_ref()
    }

    /// What the project file sets beyond the user's own values, trusted or not.
    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The project file, if something in it needs trust that it does not have.
    pub(crate) fn untrusted(&self) -> Option<&ProjectFile> {
        let file = self.project()?;
        (!self.requests.is_empty() && !file.standing.is_trusted()).then_some(file)
    }

    /// Fails if something in the project file needs trust that it does not have.
    pub(crate) fn check_trust(&self) -> Result<(), Error> {
        self.untrusted().map_or(Ok(()), |file| Err(file.untrusted(&self.requests)))
    }
}
