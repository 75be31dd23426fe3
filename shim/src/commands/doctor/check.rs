//! The result of a check.

use crate::error::ErrorKind;

/// The result of a check. Pure data; its name is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// What was checked, one word.
    pub(super) name: &'static str,
    /// Whether it is as it should be.
    pub(super) state: State,
    /// What was found, without a period.
    pub(super) finding: String,
    /// What to do about a warning or an error.
    pub(super) next_step: Option<String>,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is.
    Ok,
    /// Commands work, but not as well as they could.
    Warning,
    /// Commands fail, or money or a secret is at risk. The kind is that of their error.
    Error(ErrorKind),
    /// It was not looked at.
    Skipped,
}

impl State {
    /// The name in text and JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error(_) => "error",
            Self::Skipped => "skipped",
        }
    }
}

impl Check {
    /// It is as it should be.
    pub(super) fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, state: State::Ok, finding: finding.into(), next_step: None }
    }

    /// It could be better.
    pub(super) fn warning(
        name: &'static str,
        finding: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        let next_step = Some(next_step.into());
        Self { name, state: State::Warning, finding: finding.into(), next_step }
    }

    /// It is wrong.
    pub(super) fn error(
        name: &'static str,
        kind: ErrorKind,
        finding: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        let next_step = Some(next_step.into());
        Self { name, state: State::Error(kind), finding: finding.into(), next_step }
    }

    /// It is wrong, as an error says that a command would show.
    pub(super) fn failed(name: &'static str, error: &crate::error::Error) -> Self {
        Self::error(name, error.kind(), error.one_line(), error.hint())
    }

    /// It was not looked at, for this reason.
    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, state: State::Skipped, finding: why.into(), next_step: None }
    }
}
