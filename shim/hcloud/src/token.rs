//! API tokens, which have no printable form.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

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

/// The tokens of one Hetzner project, the preferred one first. Clones share them.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<RwLock<Vec<Token>>>);

impl Tokens {
    pub(crate) fn new(token: &Token) -> Self {
        Self(Arc::new(RwLock::new(vec![token.clone()])))
    }

    /// All of them, in the order in which they are tried.
    pub(crate) fn all(&self) -> Vec<Token> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a token, which is tried after all others.
    pub(crate) fn add(&self, token: &Token) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !tokens.contains(token) {
            tokens.push(token.clone());
        }
    }

    /// Adds a token if it is new, and tries it before all others from now on.
    pub(crate) fn prefer(&self, token: &Token) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|known| known != token);
        tokens.insert(0, token.clone());
    }

    /// Removes tokens that the API rejects, while it accepts another one.
    pub(crate) fn remove(&self, rejected: &[Token]) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|known| !rejected.contains(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_tried_last_a_preferred_one_first_and_a_rejected_one_is_forgotten() {
        let [old, new] = ["old", "new"].map(|text| Token::parse(text).unwrap());
        let tokens = Tokens::new(&old);
        tokens.add(&new);
        tokens.clone().add(&old);
        assert_eq!(tokens.all(), [old.clone(), new.clone()]);
        tokens.prefer(&new);
        assert_eq!(tokens.all(), [new.clone(), old.clone()]);
        tokens.remove(&[old]);
        assert_eq!(tokens.all(), [new]);
    }

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
