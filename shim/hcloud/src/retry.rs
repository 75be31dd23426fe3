//! The retry policy: that of the official Go and Python clients, within a time of its own.
//!
//! They retry the error codes `conflict`, `rate_limit_exceeded`, `bad_gateway` and
//! `timeout`, the statuses 502 and 504 without an error of the API, and requests that timed
//! out. They retry at most five times, and before the nth retry they wait for a random time
//! between 1 s and 2^n s, at most 60 s. This applies to every method. All other errors are
//! returned to the caller. A user waits for most calls, so an attempt ends after 15 s, and no
//! retry begins later than 20 s after the first one.

use std::time::Duration;

use crate::error::{Code, Error};

/// The parameters of the retry policy. By default a call ends after at most 35 s.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// The number of retries.
    pub max: u32,
    /// The shortest wait before a retry.
    pub base: Duration,
    /// The longest wait before a retry.
    pub cap: Duration,
    /// The deadline of one attempt.
    pub attempt: Duration,
    /// The time since the first attempt at which the last retry may begin.
    pub within: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        let [base, cap, attempt, within] = [1, 60, 15, 20].map(Duration::from_secs);
        Self { max: 5, base, cap, attempt, within }
    }
}

impl Retries {
    /// The wait before the next attempt; `None` if the error is final. `tried` is the number
    /// of attempts so far, `elapsed` the time since the first one, `chance` a random number in
    /// 0..1.
    pub fn wait(
        self,
        error: &Error,
        tried: u32,
        elapsed: Duration,
        chance: f64,
    ) -> Option<Duration> {
        let left = self.within.saturating_sub(elapsed);
        if tried == 0 || tried > self.max || left < self.base || !is_transient(error) {
            return None;
        }
        let top = self.base.saturating_mul(2_u32.saturating_pow(tried)).min(self.cap);
        let base = self.base.min(top);
        let wait = base + (top - base).mul_f64(chance.clamp(0.0, 1.0));
        Some(wait.min(left))
    }
}

fn is_transient(error: &Error) -> bool {
    match error {
        Error::Refused { code, .. } => matches!(
            code,
            Code::Conflict | Code::RateLimitExceeded | Code::BadGateway | Code::Timeout
        ),
        Error::Status { status, .. } => matches!(status, 502 | 504),
        Error::Unreachable { timed_out, .. } => *timed_out,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;
    use proptest::prelude::*;

    fn refused(code: &str) -> Error {
        Error::Refused {
            operation: Operation { method: "GET", path: "/servers".into() },
            status: 400,
            code: Code::from(code.to_owned()),
            message: Box::default(),
            limits: Box::default(),
            correlation: None,
        }
    }

    fn status(status: u16) -> Error {
        let operation = Operation { method: "GET", path: "/servers".into() };
        Error::Status { operation, status, correlation: None }
    }

    #[test]
    fn the_official_clients_retry_the_same_errors() {
        let retries = Retries::default();
        let tried = |error: &Error| retries.wait(error, 1, Duration::ZERO, 0.5).is_some();
        for code in ["conflict", "rate_limit_exceeded", "bad_gateway", "timeout"] {
            assert!(tried(&refused(code)), "{code}");
        }
        for code in ["locked", "resource_unavailable", "service_error", "server_error", "new"] {
            assert!(!tried(&refused(code)), "{code}");
        }
        assert!(tried(&status(502)) && tried(&status(504)));
        assert!(!tried(&status(500)) && !tried(&status(503)) && !tried(&status(404)));
        let waited = |tried, secs| {
            let elapsed = Duration::from_secs(secs);
            retries.wait(&refused("conflict"), tried, elapsed, 0.0).is_some()
        };
        assert!(waited(5, 0) && !waited(6, 0));
        assert!(waited(1, 19) && !waited(1, 20));
        let last = retries.wait(&refused("conflict"), 5, Duration::from_secs(17), 1.0);
        assert_eq!(last, Some(Duration::from_secs(3)));
    }

    fn unlimited() -> Retries {
        Retries { within: Duration::MAX, ..Retries::default() }
    }

    proptest! {
        #[test]
        fn waits_lie_between_one_second_and_the_doubled_step(tried in 1..6_u32, chance in 0.0..1.0) {
            let wait = unlimited().wait(&status(502), tried, Duration::ZERO, chance).unwrap();
            prop_assert!(wait >= Duration::from_secs(1));
            prop_assert!(wait <= Duration::from_secs(60.min(1 << tried)));
        }
    }
}
