//! A setting without the type of its value: what names, files and documentation need.

use super::kind::{Kind, Shown};
use super::project_rule::ProjectRule;

/// A setting without its type.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in files.
    pub(super) name: &'static str,
    /// Its environment variable.
    pub(super) variable: &'static str,
    /// Whether no project file may hold it.
    pub(super) is_of_user: bool,
    /// What a project file may set, for users; `None` where it may set anything.
    pub(super) in_project: Option<String>,
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
        (name, variable): (&'static str, &'static str),
        documentation: &'static [&'static str],
        kind: &K,
        default: &K::Value,
        rule: &ProjectRule<K::Value>,
    ) -> Self {
        Self {
            name,
            variable,
            is_of_user: rule.is_refusal(),
            in_project: rule.documented(),
            secret: K::SECRET,
            expected: kind.documented(),
            documentation,
            default: kind.shown(default),
        }
    }
}
