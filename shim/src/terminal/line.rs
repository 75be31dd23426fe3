//! Lines on standard error, and text that cannot steer a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{Write, stderr};

use super::raw_mode;

/// Writes one line; the newline is added.
pub(super) fn write(line: &str) {
    let mut stderr = stderr().lock();
    let written = match raw_mode::is_raw() {
        true => write!(stderr, "{}\r\n", line.replace('\n', "\r\n")),
        false => writeln!(stderr, "{line}"),
    };
    // Without standard error there is no place to report that.
    drop(written);
}

/// Text from a peer, a file or the environment, made safe: control characters but newline and tab
/// are shown escaped, and so are characters that change the direction of the text. The escapes are
/// JSON's, so that a document stays one.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_harmful(character) {
            // Writing to a string never fails.
            true => drop(write!(shown, "\\u{:04x}", u32::from(character))),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// The same on one line.
pub(crate) fn harmless_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

fn is_harmful(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // The embeddings, overrides and isolates of Unicode's bidirectional algorithm.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_escaped() {
        let sent = "a\u{1b}[31mb\u{1b}]0;title\u{7}\r\u{9b}2J\u{202e}c\td\ne";
        let shown = "a\\u001b[31mb\\u001b]0;title\\u0007\\u000d\\u009b2J\\u202ec\td\ne";
        assert_eq!(harmless(sent), shown);
        assert_eq!(harmless_line(sent), shown.replace(['\t', '\n'], " "));
        let plain = "naïve – 漢字 \u{301}";
        assert!(matches!(harmless(plain), Cow::Borrowed(text) if text == plain));
    }
}
