//! The tokens of a Rust source, as far as they tell which files it names. Pure.
//!
//! Any text has tokens: the compiler reports what is none. Literals of characters, lifetimes and
//! comments are left out; numbers are words.

use std::str::Chars;

/// A token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier without `r#`, a keyword or a number.
    Word(&'a str),
    /// The value of a string, of any kind.
    Text(String),
    /// Any other character.
    Mark(char),
}

/// The tokens of a source.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let behind = &rest[first.len_utf8()..];
        rest = match first {
            _ if first.is_whitespace() => behind,
            '/' if behind.starts_with('/') => rest.split_once('\n').map_or("", |(_, rest)| rest),
            '/' if behind.starts_with('*') => behind_comment(rest),
            '\'' => behind_character(behind),
            '"' => {
                let (text, rest) = escaped(behind);
                found.push(Token::Text(text));
                rest
            }
            _ if is_in_word(first) => {
                let (token, rest) = word(rest);
                found.push(token);
                rest
            }
            _ => {
                found.push(Token::Mark(first));
                behind
            }
        };
    }
    found
}

fn is_in_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// The text behind a comment, which may contain others.
fn behind_comment(mut text: &str) -> &str {
    let mut depth = 0_usize;
    while let Some(first) = text.chars().next() {
        let length = match text.get(..2) {
            Some("/*") => {
                depth += 1;
                2
            }
            Some("*/") => {
                depth = depth.saturating_sub(1);
                2
            }
            _ => first.len_utf8(),
        };
        text = &text[length..];
        if depth == 0 {
            break;
        }
    }
    text
}

/// The text behind the character or lifetime whose quote has been read.
fn behind_character(text: &str) -> &str {
    let mut characters = text.chars();
    match characters.next() {
        Some('\\') => {
            characters.next();
            characters.as_str().split_once('\'').map_or("", |(_, rest)| rest)
        }
        Some(_) => characters.as_str().strip_prefix('\'').unwrap_or(text),
        None => "",
    }
}

/// The word, or the string with a prefix, that a text begins with, and the text behind it.
fn word(text: &str) -> (Token<'_>, &str) {
    let end = text.find(|character| !is_in_word(character)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let unhashed = rest.trim_start_matches('#');
    let hashes = &rest[..rest.len() - unhashed.len()];
    match (word, unhashed.strip_prefix('"')) {
        ("r" | "br" | "cr", Some(behind)) => {
            let (value, rest) = behind.split_once(&format!("\"{hashes}")).unwrap_or((behind, ""));
            (Token::Text(value.to_owned()), rest)
        }
        ("b" | "c", Some(behind)) if hashes.is_empty() => {
            let (value, rest) = escaped(behind);
            (Token::Text(value), rest)
        }
        ("r", None) if hashes == "#" && unhashed.starts_with(is_in_word) => {
            let end = unhashed.find(|character| !is_in_word(character)).unwrap_or(unhashed.len());
            let (word, rest) = unhashed.split_at(end);
            (Token::Word(word), rest)
        }
        _ => (Token::Word(word), rest),
    }
}

/// The value of the string whose open quote has been read, and the text behind it.
fn escaped(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(escape(&mut characters)),
            character => value.push(character),
        }
    }
    (value, characters.as_str())
}

/// The character of an escape whose backslash has been read; none for an end of a line, and for
/// what is no escape.
fn escape(characters: &mut Chars<'_>) -> Option<char> {
    match characters.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '0' => Some('\0'),
        'x' => {
            let digits = characters.as_str().get(..2)?;
            let code = u8::from_str_radix(digits, 16).ok()?;
            characters.nth(1);
            Some(char::from(code))
        }
        'u' => {
            let (digits, rest) = characters.as_str().strip_prefix('{')?.split_once('}')?;
            *characters = rest.chars();
            char::from_u32(u32::from_str_radix(&digits.replace('_', ""), 16).ok()?)
        }
        '\n' => {
            *characters = characters.as_str().trim_start().chars();
            None
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_their_value() {
        for (source, expected) in [
            ("\"a\\\"b\"c", "a\"b"),
            ("\"\\x41\\u{4_2}\\n\\\n   c\"", "AB\nc"),
            ("r#\"a\"\\\"#", "a\"\\"),
            ("br\"a\\\" x", "a\\"),
            ("b\"\\\\\"", "\\"),
            ("\"open", "open"),
        ] {
            assert_eq!(tokens(source).first(), Some(&Token::Text(expected.into())), "{source}");
        }
    }

    #[test]
    fn characters_lifetimes_and_comments_are_left_out() {
        let words = |source| {
            let words = tokens(source).into_iter().filter_map(|token| match token {
                Token::Word(word) => Some(word),
                _ => None,
            });
            words.collect::<Vec<_>>()
        };
        assert_eq!(words("a '\"' b '\\'' c 'd e 'f'g"), ["a", "b", "c", "d", "e", "g"]);
        assert_eq!(words("a /* b /* c */ d */ e // f\ng r#mod ä1"), ["a", "e", "g", "mod", "ä1"]);
        assert_eq!(words("/* a"), Vec::<&str>::new());
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_tokens(text in "[a-z\"'\\\\#/*!{}ä\n ru]{0,40}") {
            tokens(&text);
        }
    }
}
