//! Labels and label selectors.
//!
//! A key is `[prefix/]name`: the name has 1 to 63 letters, digits and `-_.`, begins and
//! ends with a letter or digit; the prefix is a DNS name of at most 253 characters. A
//! value is 0 to 63 characters of the same alphabet, so a time is written as unix
//! seconds. `PUT` replaces the whole map.

use std::collections::BTreeMap;
use std::fmt;

/// Labels of one resource.
pub type Labels = BTreeMap<String, String>;

/// Characters of a name or value.
const CHARACTERS_MAX: usize = 63;

/// Whether this is a valid value.
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Makes a valid value of any text: what may not stand there becomes `-`.
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

/// Which resources: those on which all of this holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<(String, String)>);

impl Selector {
    /// Resources whose label has this value.
    pub fn equals(key: &str, value: &str) -> Self {
        Self::default().and(key, value)
    }

    /// And this one has that value.
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
    fn selectors_as_the_api_reads_them() {
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
