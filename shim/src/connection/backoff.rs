//! When an agent whose connection has broken is dialled again. Decisions only: the time since
//! the break and a random number come in as arguments.

use std::time::Duration;

/// The pause before the second attempt; the first one is made at once. It doubles with each
/// attempt.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The shortest time that an attempt gets.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);

/// The longest time that an attempt gets.
const ATTEMPT_MAX: Duration = Duration::from_secs(15);

/// The next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// How long to wait before it.
    pub(super) pause: Duration,
    /// How long it may take.
    pub(super) deadline: Duration,
}

/// The attempt after so many others; none once the grace time is over. `random`, of 0 to 1,
/// spreads the attempts of many commands.
pub(super) fn next(
    attempts: u32,
    since_break: Duration,
    grace: Duration,
    random: f64,
) -> Option<Attempt> {
    let left = grace.checked_sub(since_break).filter(|left| !left.is_zero() || attempts == 0)?;
    let pause = match attempts.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => {
            let whole = PAUSE_MIN.saturating_mul(1 << doublings.min(16)).min(PAUSE_MAX);
            whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
        }
    };
    let pause = pause.min(left);
    Some(Attempt { pause, deadline: (left - pause).clamp(ATTEMPT_MIN, ATTEMPT_MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(120);

    #[test]
    fn pauses_grow_and_no_attempt_begins_after_the_grace_time() {
        let pause = |attempts, random| next(attempts, Duration::ZERO, GRACE, random).unwrap().pause;
        let millis = Duration::from_millis;
        assert_eq!([0, 1, 2, 3].map(|n| pause(n, 1.0)), [0, 50, 100, 200].map(millis));
        assert_eq!([1, 2, 3].map(|n| pause(n, 0.0)), [25, 50, 100].map(millis));
        assert_eq!([7, 100, u32::MAX].map(|n| pause(n, 1.0)), [millis(2000); 3]);
        let last = next(50, GRACE - millis(700), GRACE, 1.0).unwrap();
        assert_eq!(last, Attempt { pause: millis(700), deadline: ATTEMPT_MIN });
        assert_eq!(next(50, GRACE, GRACE, 1.0), None);
        assert_eq!(next(50, GRACE * 2, GRACE, 1.0), None);
    }

    #[test]
    fn without_a_grace_time_there_is_one_attempt() {
        assert!(next(0, Duration::ZERO, Duration::ZERO, 0.5).is_some());
        assert_eq!(next(1, Duration::ZERO, Duration::ZERO, 0.5), None);
    }
}
