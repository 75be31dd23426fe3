//! The kinds of values that settings have.
//!
//! A kind reads a value from TOML and from the text of an environment variable, checks it,
//! puts it over the value of a lower layer, and shows it. Each kind makes its own errors:
//! [`Subject`] begins their message, and no message repeats a secret.

mod number;
mod ports;
mod text;

use std::fmt;

use toml::de::DeValue;

pub(in crate::settings) use self::number::{Amount, Whole};
pub(in crate::settings) use self::ports::Ports;
pub(crate) use self::text::parse_token;
pub(in crate::settings) use self::text::{Choice, List, Named, Secret, Url};
use super::error::invalid;
use super::origin::Subject;
use crate::error::Error;

/// A value as `cargo burst config` prints it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    /// No layer sets it and it has no default. In `config --defaults` the example, as
    /// TOML, stands in its place.
    Unset {
        /// TOML that could stand there.
        example: &'static str,
        /// Whether its values are never shown.
        secret: bool,
    },
    /// It is set, and a secret.
    Hidden,
    /// The value.
    Value(toml::Value),
}

impl Shown {
    const HIDDEN: &str = "\"(set, not shown)\"";
}

/// As TOML in one line.
impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset { .. } => formatter.write_str("not set"),
            Self::Hidden => formatter.write_str(Self::HIDDEN),
            Self::Value(value) => formatter.write_str(&as_toml(value)),
        }
    }
}

/// A value as TOML in one line.
fn as_toml(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => basic_string(text),
        toml::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(as_toml).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text as a basic string. It may come from a repository, so characters that could steer
/// a terminal, or reorder what it shows, are escaped.
fn basic_string(text: &str) -> String {
    let mut string = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => string.extend(['\\', character]),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                string.push_str(&escaped(character));
            }
            other if other.is_control() => string.push_str(&escaped(other)),
            other => string.push(other),
        }
    }
    string + "\""
}

fn escaped(character: char) -> String {
    format!("\\u{:04X}", u32::from(character))
}

/// The effect of a value on the value of the layers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::settings) enum Overlay {
    /// Only the higher value holds.
    Replaced,
    /// Both values hold.
    Extended,
    /// The higher value adds nothing.
    Unchanged,
}

/// What the values of a setting have in common.
pub(in crate::settings) trait Kind {
    /// The type of the field in `Settings`.
    type Value: Clone;

    /// Whether values must never be shown.
    const SECRET: bool = false;

    /// Completes "must be" in errors.
    fn expected(&self) -> String;

    /// The type as `config --defaults` documents it.
    fn documented(&self) -> String {
        self.expected()
    }

    /// Reads a value of a settings file.
    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<Self::Value, Error>;

    /// Reads the value of an environment variable, which is not empty.
    fn read_text(&self, text: &str, subject: &Subject) -> Result<Self::Value, Error>;

    /// The value for people and programs.
    fn shown(&self, value: &Self::Value) -> Shown;

    /// Puts the value of a higher layer over that of the lower ones.
    fn overlay(&self, held: &mut Self::Value, higher: Self::Value) -> Overlay {
        *held = higher;
        Overlay::Replaced
    }

    /// The error for a TOML value of another type.
    fn mistyped(&self, value: &DeValue<'_>, subject: &Subject) -> Error {
        let got = match value {
            DeValue::Array(_) | DeValue::Integer(_) => "an",
            _ => "a",
        };
        let (expected, name) = (self.expected(), value.type_str());
        invalid(format!("{subject} must be {expected} (got {got} {name})"))
    }
}

/// Yes or no.
pub(in crate::settings) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn expected(&self) -> String {
        "true or false".into()
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<bool, Error> {
        match value {
            DeValue::Boolean(flag) => Ok(*flag),
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<bool, Error> {
        match text.trim() {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            other => Err(invalid(format!("{subject} must be true or false (got {other:?})"))),
        }
    }

    fn shown(&self, value: &bool) -> Shown {
        Shown::Value((*value).into())
    }
}

/// A setting without a default.
pub(in crate::settings) struct Optional<K> {
    /// The kind of its values.
    pub(in crate::settings) kind: K,
    /// A value as TOML, for the documentation.
    pub(in crate::settings) example: &'static str,
}

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;

    const SECRET: bool = K::SECRET;

    fn expected(&self) -> String {
        self.kind.expected()
    }

    fn documented(&self) -> String {
        self.kind.documented()
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<Self::Value, Error> {
        self.kind.read_toml(value, subject).map(Some)
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<Self::Value, Error> {
        self.kind.read_text(text, subject).map(Some)
    }

    fn shown(&self, value: &Self::Value) -> Shown {
        let unset = Shown::Unset { example: self.example, secret: K::SECRET };
        value.as_ref().map_or(unset, |value| self.kind.shown(value))
    }
}
