//! Labels and label selectors.
//!
//! A key is `[prefix/]name`. The name has 1 to 63 letters, digits and `-_.`, and begins and
//! ends with a letter or digit; the prefix is a DNS name of at most 253 characters. A value
//! is empty or follows the rules for names, so times are written as Unix seconds. `PUT`
//! replaces all labels of a resource.

use std::collections::BTreeMap;
use std::fmt;

/// The labels of a resource: keys and values.
pub type Labels = BTreeMap<String, String>;

/// Most characters of a name or value.
const CHARACTERS_MAX: usize = 63;

/// Whether a text is a valid value.
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Converts a text to a valid value: replaces invalid characters by `-`, truncates it, and
/// removes leading and trailing punctuation.
pub fn to_value(text: &str) -> String {
    let allowed = |character: char| {
        if character.is_ascii_alphanumeric() || "-_.".contains(character) { character } else { '-' }
    };
    let value: String = text.chars().map(allowed).take(CHARACTERS_MAX).collect();
    value.trim_matches(|character: char| !character.is_ascii_alphanumeric()).to_owned()
}

fn is_name(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= CHARACTERS_MAX
        && ends(text.bytes().next())
        && ends(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A label selector. A resource matches if it has all of the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<(String, String)>);

impl Selector {
    /// Selects resources that have a label with this value.
    pub fn equals(key: &str, value: &str) -> Self {
        Self::default().and(key, value)
    }

    /// Adds another label that resources must have.
    #[must_use]
    pub fn and(mut self, key: &str, value: &str) -> Self {
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{key}=={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn selectors_have_the_syntax_of_the_api() {
        let selector = Selector::equals("a/b", "c").and("d", "");
        assert_eq!(selector.to_string(), "a/b==c,d==");
        assert!(is_value("") && is_value("a.b-c_1") && !is_value("-a") && !is_value("a:b"));
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_value(text in ".{0,80}") {
            prop_assert!(is_value(&to_value(&text)));
        }
    }
}
