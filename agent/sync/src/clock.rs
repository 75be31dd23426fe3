//! File times, and the modification times that changed files get.
//!
//! The decisions are pure functions of moments; only [`Moment::now`] and
//! [`Moment::coarse_now`] read a clock.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A point in time: seconds since 1970 and nanoseconds within the second.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Moment {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Moment {
    /// A moment on a full second since 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// The time by the clock that the kernel uses for file times. It advances once per tick
    /// (1 to 10 ms), so two writes within a tick have the same time.
    pub fn coarse_now() -> Self {
        clock_gettime(ClockId::RealtimeCoarse).into()
    }

    /// The time by the precise clock, never earlier than [`coarse_now`](Self::coarse_now).
    pub fn now() -> Self {
        clock_gettime(ClockId::Realtime).into()
    }

    /// The moment one nanosecond later.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.nanoseconds < 999_999_999 {
            Self { seconds: self.seconds, nanoseconds: self.nanoseconds + 1 }
        } else {
            Self { seconds: self.seconds.saturating_add(1), nanoseconds: 0 }
        }
    }

    /// The moment one nanosecond earlier.
    #[must_use]
    pub const fn previous(self) -> Self {
        if self.nanoseconds > 0 {
            Self { seconds: self.seconds, nanoseconds: self.nanoseconds - 1 }
        } else {
            Self { seconds: self.seconds.saturating_sub(1), nanoseconds: 999_999_999 }
        }
    }

    /// The moment this many seconds later.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self { seconds: self.seconds.saturating_add(seconds), nanoseconds: self.nanoseconds }
    }
}

impl From<rustix::time::Timespec> for Moment {
    fn from(time: rustix::time::Timespec) -> Self {
        Self { seconds: time.tv_sec, nanoseconds: u32::try_from(time.tv_nsec).unwrap_or_default() }
    }
}

impl From<Moment> for rustix::time::Timespec {
    fn from(moment: Moment) -> Self {
        Self { tv_sec: moment.seconds, tv_nsec: i64::from(moment.nanoseconds) }
    }
}

/// The modification time for files that change in a sync: not before `now`, and later than
/// any file that an earlier run has written.
pub fn stamp(now: Moment, last_run_ended: Moment) -> Moment {
    now.max(last_run_ended.next())
}

/// The modification time for one file: the sync's stamp, or later if the file's previous
/// time was not earlier. cargo then sees a change even if the clock was set back.
pub fn stamp_after(stamp: Moment, previous: Option<Moment>) -> Moment {
    previous.map_or(stamp, |previous| stamp.max(previous.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_later_than_earlier_times() {
        let (early, late) = (Moment::from_seconds(10), Moment::from_seconds(20));
        assert_eq!(stamp(late, early), late);
        assert_eq!(stamp(early, late), late.next());
        assert_eq!(stamp_after(early, None), early);
        assert!(stamp_after(early, Some(late)) > late);
        let edge = Moment { seconds: 1, nanoseconds: 999_999_999 };
        assert_eq!(edge.next(), Moment::from_seconds(2));
    }

    #[test]
    fn the_coarse_clock_is_not_ahead() {
        let coarse = Moment::coarse_now();
        assert!(coarse <= Moment::now());
    }
}
