//! The kinds of values that settings have.
//!
//! A kind reads a value from TOML and from the text of an environment variable, checks it,
//! puts it over the value of a lower layer, and shows it. Each kind makes its own errors:
//! [`Subject`] begins their message, and no message repeats a secret.

use std::marker::PhantomData;

use burst_hcloud::Token;
use toml::de::DeValue;

use super::layer::Subject;
use super::{invalid, parse_token};
use crate::error::Error;

/// A value as `cargo burst config` prints it.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
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

/// The effect of a value on the value of the layers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    /// Only the higher value holds.
    Replaced,
    /// Both values hold.
    Extended,
    /// The higher value adds nothing.
    Unchanged,
}

/// What the values of a setting have in common.
pub(super) trait Kind {
    /// The type of the field in `Settings`.
    type Value;

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

/// A string that is not empty.
pub(super) struct Text;

impl Text {
    fn checked(text: &str, subject: &Subject) -> Result<String, Error> {
        match text {
            "" => Err(invalid(format!("{subject} must not be empty"))),
            text => Ok(text.to_owned()),
        }
    }
}

impl Kind for Text {
    type Value = String;

    fn expected(&self) -> String {
        "a string".into()
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<String, Error> {
        match value {
            DeValue::String(text) => Self::checked(text, subject),
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<String, Error> {
        Self::checked(text, subject)
    }

    fn shown(&self, value: &String) -> Shown {
        Shown::Value(value.as_str().into())
    }
}

/// A Hetzner API token.
pub(super) struct Secret;

impl Kind for Secret {
    type Value = Token;

    const SECRET: bool = true;

    fn expected(&self) -> String {
        "a string".into()
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<Token, Error> {
        match value {
            DeValue::String(text) => parse_token(text, &subject.to_string()),
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<Token, Error> {
        parse_token(text, &subject.to_string())
    }

    fn shown(&self, _: &Token) -> Shown {
        Shown::Hidden
    }
}

/// A string or a list of strings, none of them empty. In an environment variable, commas
/// separate them.
pub(super) struct List {
    may_be_empty: bool,
    adds_up: bool,
}

impl List {
    /// Alternatives in the order of preference: at least one; a higher layer replaces them.
    pub(super) const fn preference() -> Self {
        Self { may_be_empty: false, adds_up: false }
    }

    /// Any number of items; the lists of all layers add up, without repetitions.
    pub(super) const fn additive() -> Self {
        Self { may_be_empty: true, adds_up: true }
    }

    fn checked(&self, items: Vec<String>, subject: &Subject) -> Result<Vec<String>, Error> {
        if items.is_empty() && !self.may_be_empty {
            return Err(invalid(format!("{subject} must not be empty")));
        }
        if items.iter().any(String::is_empty) {
            return Err(invalid(format!("{subject} must not contain an empty string")));
        }
        Ok(items)
    }
}

impl Kind for List {
    type Value = Vec<String>;

    fn expected(&self) -> String {
        "a string or a list of strings".into()
    }

    fn documented(&self) -> String {
        let more = if self.adds_up { "; the lists of all layers add up" } else { "" };
        self.expected() + more
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<Vec<String>, Error> {
        let item = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(self.mistyped(other, subject)),
        };
        let items = match value {
            DeValue::Array(items) => {
                items.iter().map(|value| item(value.get_ref())).collect::<Result<_, _>>()?
            }
            one => vec![item(one)?],
        };
        self.checked(items, subject)
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<Vec<String>, Error> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        self.checked(items.map(str::to_owned).collect(), subject)
    }

    fn shown(&self, value: &Vec<String>) -> Shown {
        Shown::Value(value.clone().into())
    }

    fn overlay(&self, held: &mut Vec<String>, higher: Vec<String>) -> Overlay {
        let overlay = match self.adds_up {
            false => Overlay::Replaced,
            true if higher.is_empty() => Overlay::Unchanged,
            true if held.is_empty() => Overlay::Replaced,
            true => Overlay::Extended,
        };
        if !self.adds_up {
            held.clear();
        }
        for item in higher {
            if !held.contains(&item) {
                held.push(item);
            }
        }
        overlay
    }
}

/// A whole number of a range.
pub(super) struct Whole {
    min: u64,
    max: u64,
}

impl Whole {
    /// From `min` to `max`, both included.
    pub(super) const fn between(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    /// `number` is none where its digits are more than fit.
    fn checked(&self, number: Option<u64>, got: &str, subject: &Subject) -> Result<u64, Error> {
        let Self { min, max } = self;
        number.filter(|number| (*min..=*max).contains(number)).ok_or_else(|| {
            invalid(format!("{subject} must be between {min} and {max} (got {got})"))
        })
    }
}

impl Kind for Whole {
    type Value = u64;

    fn expected(&self) -> String {
        format!("a whole number between {} and {}", self.min, self.max)
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<u64, Error> {
        match value {
            DeValue::Integer(digits) => {
                let number = u64::from_str_radix(digits.as_str(), digits.radix()).ok();
                self.checked(number, &digits.to_string(), subject)
            }
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<u64, Error> {
        let text = text.trim();
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let expected = self.expected();
            return Err(invalid(format!("{subject} must be {expected} (got {text:?})")));
        }
        self.checked(text.parse().ok(), text, subject)
    }

    fn shown(&self, value: &u64) -> Shown {
        // The largest number of a range is far below what TOML can hold.
        Shown::Value(i64::try_from(*value).unwrap_or(i64::MAX).into())
    }
}

/// Yes or no.
pub(super) struct Flag;

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

/// Money in EUR without tax: finite and not negative. A negative zero becomes zero.
pub(super) struct Amount;

impl Amount {
    fn checked(&self, amount: Option<f64>, got: &str, subject: &Subject) -> Result<f64, Error> {
        match amount {
            Some(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount.abs()),
            _ => Err(invalid(format!("{subject} must be {} (got {got})", self.expected()))),
        }
    }
}

impl Kind for Amount {
    type Value = f64;

    fn expected(&self) -> String {
        "an amount of EUR, such as 40 or 12.5".into()
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<f64, Error> {
        match value {
            DeValue::Integer(digits) => {
                let whole = u32::from_str_radix(digits.as_str(), digits.radix()).ok();
                self.checked(whole.map(f64::from), &digits.to_string(), subject)
            }
            DeValue::Float(digits) => {
                self.checked(digits.as_str().parse().ok(), digits.as_str(), subject)
            }
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<f64, Error> {
        let text = text.trim();
        self.checked(text.parse().ok(), &format!("{text:?}"), subject)
    }

    fn shown(&self, value: &f64) -> Shown {
        Shown::Value((*value).into())
    }
}

/// An enumeration whose values have names in settings.
pub(super) trait Named: Copy + 'static {
    /// All values, in the order in which they are documented.
    const ALL: &'static [Self];

    /// The name in files, variables and documentation.
    fn name(self) -> &'static str;
}

/// One of a few names.
pub(super) struct Choice<T>(PhantomData<T>);

impl<T: Named> Choice<T> {
    /// Any of [`Named::ALL`].
    pub(super) const fn any() -> Self {
        Self(PhantomData)
    }

    fn checked(&self, text: &str, subject: &Subject) -> Result<T, Error> {
        T::ALL
            .iter()
            .copied()
            .find(|one| one.name() == text)
            .ok_or_else(|| invalid(format!("{subject} must be {} (got {text:?})", self.expected())))
    }
}

impl<T: Named> Kind for Choice<T> {
    type Value = T;

    fn expected(&self) -> String {
        let names: Vec<String> = T::ALL.iter().map(|one| format!("{:?}", one.name())).collect();
        match names.split_last() {
            Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => names.concat(),
        }
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<T, Error> {
        match value {
            DeValue::String(text) => self.checked(text, subject),
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<T, Error> {
        self.checked(text.trim(), subject)
    }

    fn shown(&self, value: &T) -> Shown {
        Shown::Value(value.name().into())
    }
}

/// A setting without a default.
pub(super) struct Optional<K> {
    /// The kind of its values.
    pub(super) kind: K,
    /// A value as TOML, for the documentation.
    pub(super) example: &'static str,
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
