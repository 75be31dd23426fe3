//! How long the silence of a running server's agent is waited out. Pure.
//!
//! While the API says that a server boots, it is waited for. Once it runs, its agent answers
//! within seconds: longer silence means that the port does not get through.

use std::time::Duration;

/// The age at which every server has booted.
const BOOTED_AFTER: Duration = Duration::from_secs(300);

/// How long a server that runs may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// After so long the user is told.
    pub(super) told_after: Duration,
    /// After so much longer the command fails.
    pub(super) then_fails_after: Duration,
}

impl Patience {
    /// With a server that has been running for a moment, silence is waited out for `port_secs`;
    /// for a third of that with one that is so old that it has booted, or that `has_answered`.
    pub(super) fn with(age: Duration, has_answered: bool, port_secs: u64) -> Self {
        let all = Duration::from_secs(port_secs);
        let (told_after, all) = match has_answered || age >= BOOTED_AFTER {
            true => (all / 9, all / 3),
            false => (all * 2 / 3, all),
        };
        Self { told_after, then_fails_after: all - told_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_has_booted_is_given_up_earlier() {
        let [young, old] = [10, 300].map(Duration::from_secs);
        let secs = |patience: Patience| {
            (patience.told_after.as_secs(), patience.then_fails_after.as_secs())
        };
        assert_eq!(secs(Patience::with(young, false, 90)), (60, 30));
        assert_eq!(secs(Patience::with(young, true, 90)), (10, 20));
        assert_eq!(secs(Patience::with(old, false, 90)), (10, 20));
    }
}
