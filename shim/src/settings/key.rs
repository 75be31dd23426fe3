//! A setting without the type of its value: what names, files and documentation need.

use super::kind::{Kind, Shown};

/// Which files may hold a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The user config and project files.
    Shared,
    /// Only the user config: it says where secrets are or where they are sent, and a
    /// project file comes from a repository.
    User,
}

/// A setting without its type.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in files.
    pub(super) name: &'static str,
    /// Its environment variable.
    pub(super) variable: &'static str,
    /// The files that may hold it.
    pub(super) scope: Scope,
    /// Whether its value is never shown.
    pub(super) secret: bool,
    /// Its type, for users.
    pub(super) expected: String,
    /// Its documentation, by lines.
    pub(super) documentation: &'static [&'static str],
    /// Its default.
    pub(super) default: Shown,
}

impl Key {
    /// A setting whose values are of `kind`.
    pub(super) fn new<K: Kind>(
        (name, variable, scope): (&'static str, &'static str, Scope),
        documentation: &'static [&'static str],
        kind: &K,
        default: &K::Value,
    ) -> Self {
        let (secret, expected, default) = (K::SECRET, kind.documented(), kind.shown(default));
        Self { name, variable, scope, secret, expected, documentation, default }
    }
}
