//! Rate limit for small writes to a stream.
//!
//! Every write may become a packet. Many small packets are slow, and a reader that falls
//! behind keeps each of them in its receive buffer; quinn-proto 0.11.19 closes a connection
//! with too many of them. Messages are therefore gathered into larger writes once small
//! writes become frequent.

use std::time::Duration;

use tokio::time::Instant;

/// Smallest write in bytes that fills a packet and is not limited.
const PACKET_BYTES: usize = 1200;

/// Number of small writes that are allowed at once.
pub const BURST: u32 = 64;

/// Interval at which one more small write is allowed after a burst. Messages are gathered
/// in the meantime.
pub const EARNED_EACH: Duration = Duration::from_millis(10);

/// A token bucket: the first [`BURST`] small writes are allowed at once, so that
/// interactive output is not delayed; then one every [`EARNED_EACH`].
#[derive(Debug)]
pub struct WriteCoalescer {
    credit: u32,
    earned_at: Instant,
}

impl WriteCoalescer {
    /// Creates a full bucket.
    pub fn new(now: Instant) -> Self {
        Self { credit: BURST, earned_at: now }
    }

    /// The time until which messages are to be gathered; `None` if a write is allowed now.
    pub fn gather_until(&mut self, now: Instant) -> Option<Instant> {
        let earned = (now - self.earned_at).as_nanos() / EARNED_EACH.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if self.credit.saturating_add(earned) >= BURST {
            *self = Self::new(now);
        } else {
            self.credit += earned;
            self.earned_at += EARNED_EACH * earned;
        }
        (self.credit == 0).then(|| self.earned_at + EARNED_EACH)
    }

    /// Counts a write of `bytes`.
    pub const fn written(&mut self, bytes: usize) {
        if bytes < PACKET_BYTES {
            self.credit = self.credit.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_burst_is_earned_again() {
        let began = Instant::now();
        let mut coalescer = WriteCoalescer::new(began);
        for _ in 0..BURST {
            assert_eq!(coalescer.gather_until(began), None);
            coalescer.written(10);
        }
        assert_eq!(coalescer.gather_until(began), Some(began + EARNED_EACH));
        // Large writes cost nothing and earn nothing.
        coalescer.written(PACKET_BYTES);
        assert_eq!(coalescer.gather_until(began), Some(began + EARNED_EACH));
        let later = began + EARNED_EACH * 2;
        assert_eq!(coalescer.gather_until(later), None);
        coalescer.written(10);
        assert_eq!(coalescer.gather_until(later), None);
        coalescer.written(10);
        assert_eq!(coalescer.gather_until(later), Some(later + EARNED_EACH));
        // A long pause does not save up more than one burst.
        let much_later = later + EARNED_EACH * 100_000;
        assert_eq!(coalescer.gather_until(much_later), None);
        assert_eq!(coalescer.credit, BURST);
    }
}
