//! The retry policy: the same as that of the official Go and Python clients.
//!
//! They retry the error codes `conflict`, `rate_limit_exceeded`, `bad_gateway` and
//! `timeout`, the statuses 502 and 504 without an error of the API, and requests that timed
//! out. They retry at most five times, and before the nth retry they wait for a random time
//! between 1 s and 2^n s, at most 60 s. This applies to every method. All other errors are
//! returned to the caller.

use std::time::Duration;

use crate::error::{Code, Error};

/// The parameters of the retry policy.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// The number of retries.
    pub max: u32,
    /// The shortest wait before a retry.
    pub base: Duration,
    /// The longest wait before a retry.
    pub cap: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { max: 5, base: Duration::from_secs(1), cap: Duration::from_secs(60) }
    }
}

impl Retries {
    /// The wait before the next attempt; `None` if the error is final. `tried` is the number
    /// of attempts so far, `chance` a random number in 0..1.
    pub fn wait(self, error: &Error, tried: u32, chance: f64) -> Option<Duration> {
        if tried == 0 || tried > self.max || !is_transient(error) {
            return None;
        }
        let top = self.base.saturating_mul(2_u32.saturating_pow(tried)).min(self.cap);
        let base = self.base.min(top);
        Some(base + (top - base).mul_f64(chance.clamp(0.0, 1.0)))
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
            message: String::new(),
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
        let tried = |error: &Error| retries.wait(error, 1, 0.5).is_some();
        for code in ["conflict", "rate_limit_exceeded", "bad_gateway", "timeout"] {
            assert!(tried(&refused(code)), "{code}");
        }
        for code in ["locked", "resource_unavailable", "service_error", "server_error", "new"] {
            assert!(!tried(&refused(code)), "{code}");
        }
        assert!(tried(&status(502)) && tried(&status(504)));
        assert!(!tried(&status(500)) && !tried(&status(503)) && !tried(&status(404)));
        assert!(retries.wait(&refused("conflict"), 5, 0.5).is_some());
        assert!(retries.wait(&refused("conflict"), 6, 0.5).is_none());
    }

    proptest! {
        #[test]
        fn waits_lie_between_one_second_and_the_doubled_step(tried in 1..6_u32, chance in 0.0..1.0) {
            let wait = Retries::default().wait(&status(502), tried, chance).unwrap();
            prop_assert!(wait >= Duration::from_secs(1));
            prop_assert!(wait <= Duration::from_secs(60.min(1 << tried)));
        }
    }
}
