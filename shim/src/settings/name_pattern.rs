//! Patterns of names of environment variables: `*` stands for any characters. Pure.

/// Whether a text is a pattern and not a name.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// Whether a name fits a pattern.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut rest = rest;
    // The first place of each part leaves the most for those behind it.
    while let Some((part, more)) = rest.split_once('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
        rest = more;
    }
    name.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, fitting, others) in [
            ("CC", ["CC"].as_slice(), ["CCX", "XCC", ""].as_slice()),
            ("RUST_TEST_*", &["RUST_TEST_THREADS", "RUST_TEST_"], &["RUST_TEST", "RUST_LOG"]),
            ("*_URL", &["DATABASE_URL", "_URL"], &["URL", "DATABASE_URLS"]),
            ("A*B*C", &["ABC", "AxByBC", "AxBzC"], &["AB", "AC", "ABCD", "ACB"]),
            ("A*A", &["AA", "AAA"], &["A"]),
            ("*", &["", "X"], &[]),
        ] {
            assert!(fitting.iter().all(|name| matches(pattern, name)), "{pattern}");
            assert!(!others.iter().any(|name| matches(pattern, name)), "{pattern}");
        }
    }
}
