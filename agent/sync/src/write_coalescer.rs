//! When a stream's next small write may go out.
//!
//! Every write may become a packet, so a writer with a word at a time makes as many
//! packets as words: slow here, and at a late reader they lie in the receive buffer one
//! by one. quinn-proto 0.11.19 ends the connection when it finds too many of them there.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes from which on a write fills a packet.
const PACKET_BYTES: usize = 1200;

/// Small writes that go out at once.
pub const BURST: u32 = 64;

/// How soon one more small write may follow those. Over this time what is to be sent
/// is gathered.
pub const EARNED_EACH: Duration = Duration::from_millis(10);

/// When the next small write may go out.
///
/// The first [`BURST`] small writes go out at once, so what people wait for does. Those
/// that follow close behind have to earn it, one each [`EARNED_EACH`], and are gathered
/// meanwhile.
#[derive(Debug)]
pub struct WriteCoalescer {
    credit: u32,
    earned_at: Instant,
}

impl WriteCoalescer {
    /// With all that can be earned.
    pub fn new(now: Instant) -> Self {
        Self { credit: BURST, earned_at: now }
    }

    /// Until when to gather, if not enough is earned.
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

    /// So many bytes went out in one write.
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
    fn what_was_spent_is_earned_again() {
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
        // However long nobody writes, no more than a burst is saved up.
        let much_later = later + EARNED_EACH * 100_000;
        assert_eq!(coalescer.gather_until(much_later), None);
        assert_eq!(coalescer.credit, BURST);
    }
}
