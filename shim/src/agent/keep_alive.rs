//! How long an agent stays when no command uses it.

/// How long an idle agent, and the server it is on, stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// So many seconds after the last command.
    Seconds(u64),
    /// Until `cargo burst down`.
    UntilDown,
}

impl KeepAlive {
    /// In seconds, for an agent, which knows no other end: longer than any machine lives.
    pub(crate) const fn as_secs(self) -> u64 {
        const FOREVER_SECS: u64 = u64::MAX >> 1;
        match self {
            Self::Seconds(secs) => secs,
            Self::UntilDown => FOREVER_SECS,
        }
    }

    /// In seconds, for a lease; `None` where it has no end.
    pub(crate) fn lease_secs(self) -> Option<i64> {
        match self {
            Self::Seconds(secs) => Some(i64::try_from(secs).unwrap_or(i64::MAX / 4)),
            Self::UntilDown => None,
        }
    }
}
