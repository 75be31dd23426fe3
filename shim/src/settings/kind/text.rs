//! Kinds of text: a URL, a token, a list of strings, one of a few names.

use std::marker::PhantomData;

use burst_hcloud::Token;
use burst_hcloud::endpoint::without_userinfo;
use toml::de::DeValue;

use super::{Kind, Overlay, Shown};
use crate::error::{Error, ErrorKind};
use crate::settings::error::invalid;
use crate::settings::origin::Subject;

/// A URL, which is not checked here. A user name and a password in it are not shown.
pub(in crate::settings) struct Url;

impl Url {
    fn checked(text: &str, subject: &Subject) -> Result<String, Error> {
        match text {
            "" => Err(invalid(format!("{subject} must not be empty"))),
            text => Ok(text.to_owned()),
        }
    }
}

impl Kind for Url {
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
        Shown::Value(without_userinfo(value).into())
    }
}

/// A Hetzner API token.
pub(in crate::settings) struct Secret;

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
pub(in crate::settings) struct List {
    may_be_empty: bool,
    adds_up: bool,
    items: Items,
}

/// What the items of a list are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Items {
    Any,
    Variables,
    Directories,
}

impl List {
    /// Alternatives in the order of preference: at least one; a higher layer replaces them.
    pub(in crate::settings) const fn preference() -> Self {
        Self { may_be_empty: false, adds_up: false, items: Items::Any }
    }

    /// Any number of items; the lists of all layers add up, without repetitions.
    pub(in crate::settings) const fn additive() -> Self {
        Self { may_be_empty: true, adds_up: true, items: Items::Any }
    }

    /// Any number of names of environment variables; the lists of all layers add up.
    pub(in crate::settings) const fn variables() -> Self {
        Self { items: Items::Variables, ..Self::additive() }
    }

    /// Directories, each absolute or below the home directory; the lists add up.
    pub(in crate::settings) const fn of_directories() -> Self {
        Self { items: Items::Directories, ..Self::additive() }
    }

    fn checked(&self, items: Vec<String>, subject: &Subject) -> Result<Vec<String>, Error> {
        if items.is_empty() && !self.may_be_empty {
            return Err(invalid(format!("{subject} must not be empty")));
        }
        if items.iter().any(String::is_empty) {
            return Err(invalid(format!("{subject} must not contain an empty string")));
        }
        let is_no_name = |item: &&String| item.contains(['=', '\0']);
        if self.items == Items::Variables
            && let Some(wrong) = items.iter().find(is_no_name)
        {
            // A value may be a secret.
            let shown = wrong.split_inclusive('=').next().unwrap_or_default().escape_debug();
            let message = format!(
                "{subject} must contain names of variables, without `=` and NUL (got `{shown}…`)"
            );
            let hint = "write the name alone; `--env NAME=VALUE` passes a value";
            return Err(Error::new(ErrorKind::Settings, message, hint));
        }
        let is_directory =
            |item: &str| item == "~" || item.starts_with('/') || item.starts_with("~/");
        if self.items == Items::Directories
            && let Some(wrong) = items.iter().find(|item| !is_directory(item))
        {
            return Err(invalid(format!(
                "{subject} must contain paths that begin with `/` or `~/` (got {wrong:?})"
            )));
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

/// An enumeration whose values have names in settings.
pub(in crate::settings) trait Named: Copy + 'static {
    /// All values, in the order in which they are documented.
    const ALL: &'static [Self];

    /// The name in files, variables and documentation.
    fn name(self) -> &'static str;
}

/// One of a few names.
pub(in crate::settings) struct Choice<T>(PhantomData<T>);

impl<T: Named> Choice<T> {
    /// Any of [`Named::ALL`].
    pub(in crate::settings) const fn any() -> Self {
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

/// Reads a token. `subject` begins the message of the error, which does not contain the
/// text.
pub(crate) fn parse_token(text: &str, subject: &str) -> Result<Token, Error> {
    Token::parse(text).map_err(|error| {
        let hint = "create a token in the Hetzner console: project, Security, API tokens, Read & \
                    Write";
        Error::new(ErrorKind::Token, format!("{subject} is not a Hetzner API token"), hint)
            .caused_by(&error)
    })
}
