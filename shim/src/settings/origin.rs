//! Where a value of a setting stands, and the value as it is written there.

use std::fmt;
use std::path::PathBuf;

use toml::de::DeValue;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The built-in defaults.
    Default,
    /// The user config.
    User(PathBuf),
    /// The project file.
    Project(PathBuf),
    /// An environment variable.
    Environment(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::User(path) | Self::Project(path) => write!(formatter, "{}", path.display()),
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
        }
    }
}

/// The setting that an error is about, with its place: the beginning of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A key in a file.
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
    },
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { path, line, key } => {
                write!(formatter, "{}:{line}: `{key}`", path.display())
            }
            Self::Variable(name) => write!(formatter, "`{name}`"),
        }
    }
}

/// A value as it is written.
#[derive(Clone, Debug)]
pub(super) enum Raw<'t> {
    /// In a file.
    Toml(DeValue<'t>),
    /// In an environment variable; not empty.
    Text(String),
}
