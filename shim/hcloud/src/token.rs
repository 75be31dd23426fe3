//! The API token, which has no printable form.

use std::fmt;

use reqwest::header::HeaderValue;

/// An API token. Its `Debug` output does not contain the secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

/// The error for a text that is not a token. It does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has 1 to 256 letters, digits and punctuation characters, without spaces")]
pub struct NotAToken;

impl Token {
    /// Most characters of a token. Hetzner's have 64 today.
    const CHARACTERS_MAX: usize = 256;

    /// Validates a token. White space around it, such as from a pasted line, is removed.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        let fits = (1..=Self::CHARACTERS_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(NotAToken)
    }

    /// The secret. It may be sent to the API, stored in a file with mode 0600, and passed to
    /// the keeper over a socket that only the user can open.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The `Authorization` header, marked as sensitive so that it is not logged.
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
