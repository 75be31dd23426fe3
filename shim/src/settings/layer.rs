//! One layer of settings: a file, or the environment. Its text becomes values of
//! the right kinds here, or an error that names file, line and key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::SettingsError;
use super::key::{KEYS, Key, Kind, find, nearest};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The built-in defaults.
    Default,
    /// The user's own file.
    User(PathBuf),
    /// The project's file.
    Project(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::User(path) | Self::Project(path) => write!(formatter, "{}", path.display()),
            Self::Environment(name) => write!(formatter, "environment, {name}"),
            Self::CommandLine => formatter.write_str("command line"),
        }
    }
}

/// A value of the right kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Text`] and [`Kind::Secret`].
    Text(String),
    /// Of [`Kind::Texts`].
    Texts(Vec<String>),
    /// Of [`Kind::Number`].
    Number(u64),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Amount`], as it was written.
    Amount(String),
}

/// The values of one source.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where from.
    pub origin: Origin,
    /// What, by key.
    pub values: BTreeMap<&'static str, Value>,
}

impl Layer {
    /// Reads a file; none if there is none.
    pub fn file(origin: Origin, path: &Path) -> Result<Option<Self>, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let layer = Self::parse(origin, path, &text)?;
                layer.check_privacy(path)?;
                Ok(Some(layer))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SettingsError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// A file with a secret must be its owner's alone.
    fn check_privacy(&self, path: &Path) -> Result<(), SettingsError> {
        use std::os::unix::fs::MetadataExt;
        const OTHERS: u32 = 0o077;
        let is_secret = |name: &&str| find(name).is_some_and(|key| key.kind == Kind::Secret);
        let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
        if self.values.keys().any(is_secret)
            && std::fs::metadata(path).map_err(unreadable)?.mode() & OTHERS != 0
        {
            return Err(SettingsError::ReadableByOthers { path: path.to_owned() });
        }
        Ok(())
    }

    /// Reads the text of a file.
    pub fn parse(origin: Origin, path: &Path, text: &str) -> Result<Self, SettingsError> {
        let at = |offset: usize| Place { path: path.to_owned(), line: line_of(text, offset) };
        let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
            place: at(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut values = BTreeMap::new();
        for (name, value) in table.get_ref() {
            let place = at(name.span().start);
            let name: &Cow<'_, str> = name.get_ref();
            let Some(key) = find(name) else {
                return Err(SettingsError::UnknownKey {
                    place,
                    key: name.to_string(),
                    nearest: nearest(name),
                });
            };
            if key.private && matches!(origin, Origin::Project(_)) {
                return Err(SettingsError::PrivateInProject { place, key: key.name });
            }
            let value = value_of(key, value).ok_or_else(|| SettingsError::WrongType {
                place: at(value.span().start),
                key: key.name,
                expected: key.kind.expected(),
            })?;
            values.insert(key.name, value);
        }
        Ok(Self { origin, values })
    }

    /// Reads the environment, one layer a variable.
    pub fn environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Self>, SettingsError> {
        let wrong = |key: &Key| SettingsError::WrongVariable {
            variable: key.variable,
            expected: key.kind.expected(),
        };
        let mut layers = Vec::new();
        for key in &KEYS {
            let Some(text) = variable(key.variable).filter(|text| !text.is_empty()) else {
                continue;
            };
            let value = match key.kind {
                Kind::Text | Kind::Secret => Value::Text(text),
                Kind::Texts => Value::Texts(
                    text.split(',')
                        .map(str::trim)
                        .filter(|item| !item.is_empty())
                        .map(Into::into)
                        .collect(),
                ),
                Kind::Number => Value::Number(text.trim().parse().map_err(|_| wrong(key))?),
                Kind::Amount => Value::Amount(amount(text.trim()).ok_or_else(|| wrong(key))?),
                Kind::Flag => match text.trim() {
                    "1" | "true" => Value::Flag(true),
                    "0" | "false" => Value::Flag(false),
                    _ => return Err(wrong(key)),
                },
            };
            layers.push(Self {
                origin: Origin::Environment(key.variable),
                values: [(key.name, value)].into(),
            });
        }
        Ok(layers)
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, line {}", self.path.display(), self.line)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// An amount, checked.
fn amount(text: &str) -> Option<String> {
    let parsed: f64 = text.parse().ok()?;
    (parsed.is_finite() && parsed >= 0.0).then(|| text.to_owned())
}

fn value_of(key: &Key, value: &Spanned<DeValue<'_>>) -> Option<Value> {
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    match (key.kind, value.get_ref()) {
        (Kind::Text | Kind::Secret, value) => text(value).map(Value::Text),
        (Kind::Texts, DeValue::Array(items)) => items
            .iter()
            .map(|item| text(item.get_ref()))
            .collect::<Option<Vec<_>>>()
            .map(Value::Texts),
        (Kind::Texts, value) => text(value).map(|text| Value::Texts(vec![text])),
        (Kind::Number, DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Number)
        }
        (Kind::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
        (Kind::Amount, DeValue::Integer(number)) => amount(number.as_str()).map(Value::Amount),
        (Kind::Amount, DeValue::Float(number)) => amount(number.as_str()).map(Value::Amount),
        (Kind::Number | Kind::Flag | Kind::Amount, _) => None,
    }
}
