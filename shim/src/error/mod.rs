//! The error that ends a command: what failed, why, and what to do next.
//!
//! The code that fails makes the [`Error`] and attaches kind, causes and hint on the spot:
//! only that code knows them. The kind decides the exit code ([`exit_code`], nowhere
//! else). The keeper passes errors to commands as they are, so the type is serialisable.
//!
//! Invariants: every error has a hint, and no text holds a secret. This module does not
//! print.

pub(crate) mod exit_code;
mod kind;

use serde::{Deserialize, Serialize};

pub(crate) use self::kind::ErrorKind;

/// An error that ends a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    kind: ErrorKind,
    message: String,
    causes: Vec<String>,
    hint: String,
    /// The exit code of a cargo call that has reported the error itself.
    code: Option<u8>,
    /// Whether it is part of a JSON document that was printed.
    #[serde(skip)]
    is_reported: bool,
}

impl Error {
    /// An error with what to do about it. `message` completes "error: ", `hint`
    /// completes "hint: "; neither ends with a period.
    pub(crate) fn new(
        kind: ErrorKind,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { kind, message, causes: Vec::new(), hint, code: None, is_reported: false }
    }

    /// An error that cargo reports in its own words, which are `message`, with its own
    /// exit code.
    pub(crate) fn cargo(message: impl Into<String>, code: u8) -> Self {
        Self { code: Some(code), ..Self::new(ErrorKind::Cargo, message, "") }
    }

    /// Adds an error and everything below it as causes. A text that repeats the one
    /// before it is left out.
    #[must_use]
    pub(crate) fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self = self.cause(error.to_string());
            next = error.source();
        }
        self
    }

    /// Adds one cause, unless it repeats the text before it.
    #[must_use]
    pub(crate) fn cause(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if self.causes.last().unwrap_or(&self.message) != &text {
            self.causes.push(text);
        }
        self
    }

    /// Replaces the hint, where a caller knows a better next step.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Message and causes in one line, for logs and lists.
    pub(crate) fn one_line(&self) -> String {
        let causes = self.causes.iter().map(String::as_str);
        std::iter::once(self.message.as_str()).chain(causes).collect::<Vec<_>>().join(": ")
    }

    /// Marks the error as part of a JSON document that was printed.
    #[must_use]
    pub(crate) const fn reported(mut self) -> Self {
        self.is_reported = true;
        self
    }

    /// Whether it is part of a JSON document that was printed.
    pub(crate) const fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// What failed.
    pub(crate) const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Why, outermost cause first.
    pub(crate) fn causes(&self) -> &[String] {
        &self.causes
    }

    /// What to do next; empty only where cargo has said it.
    pub(crate) fn hint(&self) -> &str {
        &self.hint
    }

    /// How the program exits.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self.code {
            Some(code) => code,
            None => exit_code::of(self.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_in_order_and_not_repeated() {
        let inner = std::io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::State, "cannot write `x`", "replace the disk")
            .cause("cannot write `x`")
            .caused_by(&inner)
            .caused_by(&inner);
        assert_eq!(error.causes(), ["disk on fire"]);
        assert_eq!(error.to_string(), "cannot write `x`");
        assert_eq!(error.exit_code(), exit_code::STATE);
        assert_eq!(Error::cargo("error: no", 101).exit_code(), 101);
    }

    #[test]
    fn errors_survive_json() {
        let error = Error::new(ErrorKind::NoImage, "there is no image", "build one").cause("why");
        let text = serde_json::to_string(&error).unwrap();
        assert!(text.contains("\"no_image\""), "{text}");
        assert_eq!(serde_json::from_str::<Error>(&text).unwrap(), error);
    }
}
