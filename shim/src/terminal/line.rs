//! Lines on standard error.

use std::io::{Write, stderr};

/// Writes one line; the newline is added.
pub(super) fn write(line: &str) {
    // Without standard error there is no place to report that.
    drop(writeln!(stderr().lock(), "{line}"));
}

/// Text from a peer or a file, without characters that could steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}d"), "a [31mb c d");
    }
}
