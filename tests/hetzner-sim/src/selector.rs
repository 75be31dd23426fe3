//! The grammar of labels and label selectors.

use std::collections::BTreeMap;

use crate::refusal::Refusal;

/// The labels of a resource.
pub type Labels = BTreeMap<String, String>;

/// Validates labels as the API does.
pub fn check(labels: &Labels) -> Result<(), Refusal> {
    for (key, value) in labels {
        let (prefix, name) = match key.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key.as_str()),
        };
        let prefix_fits = prefix.is_none_or(|prefix| {
            prefix.len() <= 253 && prefix != "hetzner.cloud" && prefix.split('.').all(is_name)
        });
        if !is_name(name) || !prefix_fits || !(value.is_empty() || is_name(value)) {
            return Err(Refusal::invalid("labels", "is not a valid label"));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    (1..=63).contains(&text.len())
        && end(text.bytes().next())
        && end(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether a selector matches these labels.
pub fn selects(selector: &str, labels: &Labels) -> Result<bool, Refusal> {
    for term in terms(selector) {
        if !holds(term.trim(), labels)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Splits a selector at the commas outside of parentheses.
fn terms(selector: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut depth, mut begin) = (0, 0);
    for (index, byte) in selector.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                terms.push(&selector[begin..index]);
                begin = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[begin..]);
    terms.retain(|term| !term.trim().is_empty());
    terms
}

fn holds(term: &str, labels: &Labels) -> Result<bool, Refusal> {
    let value = |key: &str| labels.get(key.trim()).map(String::as_str);
    for (word, wanted) in [(" notin ", false), (" in ", true)] {
        if let Some((key, list)) = term.split_once(word) {
            let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
            let list = list.ok_or_else(bad)?;
            let is_in =
                value(key).is_some_and(|value| list.split(',').any(|one| one.trim() == value));
            return Ok(is_in == wanted);
        }
    }
    // As in Kubernetes, `!=` also matches resources without the label.
    if let Some((key, other)) = term.split_once("!=") {
        return Ok(value(key) != Some(other.trim()));
    }
    if let Some((key, other)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(value(key) == Some(other.trim()));
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(value(key).is_none()),
        None if term.contains(['(', ')', ' ']) => Err(bad()),
        None => Ok(value(term).is_some()),
    }
}

fn bad() -> Refusal {
    Refusal::invalid("label_selector", "is not a valid label selector")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_selectors() {
        let labels: Labels =
            [("a", "1"), ("x/b", "two"), ("c", "")].map(|(k, v)| (k.into(), v.into())).into();
        for (selector, expected) in [
            ("", true),
            ("a==1", true),
            ("a=1,x/b==two", true),
            ("a!=1", false),
            ("nothing!=1", true),
            ("c", true),
            ("!c", false),
            ("!d", true),
            ("a in (0, 1)", true),
            ("a notin (0,1),c", false),
            ("x/b in (two),!d", true),
        ] {
            assert_eq!(selects(selector, &labels), Ok(expected), "{selector}");
        }
        assert!(selects("a in 1", &labels).is_err());
        assert!(check(&labels).is_ok());
        for (key, value) in [("-a", ""), ("a", "b:c"), ("hetzner.cloud/a", "b"), ("a/b/c", "")] {
            assert!(check(&[(key.into(), value.into())].into()).is_err(), "{key}={value}");
        }
    }
}
