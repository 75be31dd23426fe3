//! The API token, which is never printed.

use std::fmt;

use reqwest::header::HeaderValue;

/// A token. It can be sent, and compared, and nothing else.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

/// Why a text is no token. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is 1 to 256 letters, digits and signs, without spaces")]
pub struct NotAToken;

impl Token {
    /// Characters of a token. Hetzner's have 64; others may come.
    const CHARACTERS_MAX: usize = 256;

    /// Checks a text. White space around it, as from a pasted line, is dropped.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        let fits = (1..=Self::CHARACTERS_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(NotAToken)
    }

    /// The secret itself: for requests, for the user's own file with mode 0600, and
    /// for our own processes over a socket that only the user can open.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// As a header, marked so that no log shows it.
    pub(crate) fn header(&self) -> HeaderValue {
        let text = format!("Bearer {}", self.0);
        let mut value = HeaderValue::from_str(&text)
            .unwrap_or_else(|_| HeaderValue::from_static("Bearer invalid"));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token([private])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_checked_and_never_shown() {
        let token = Token::parse(" abcDEF123 \n").unwrap();
        assert_eq!(token.reveal(), "abcDEF123");
        for shown in [format!("{token:?}"), format!("{:?}", token.header())] {
            assert!(!shown.contains("abc"), "{shown}");
        }
        for wrong in ["", " ", "a b", "ü", "a\nb", &"x".repeat(257)] {
            assert_eq!(Token::parse(wrong), Err(NotAToken));
        }
    }
}
