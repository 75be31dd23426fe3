//! Errors of settings.

use crate::error::{Error, ErrorKind};

/// The error for a value or a name that is not valid.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    let hint = "`cargo burst config --defaults` shows every setting with its type and default";
    Error::new(ErrorKind::Settings, message, hint)
}

/// The candidate that is most similar to a wrong name, if any is similar: each is the name
/// to compare with and the one to suggest.
pub(super) fn nearest<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<&'a str> {
    const SIMILAR: f64 = 0.8;
    let scored = candidates
        .into_iter()
        .map(|(name, suggested)| (strsim::jaro_winkler(wrong, name), suggested))
        .filter(|(score, _)| *score >= SIMILAR);
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, suggested)| suggested)
}
