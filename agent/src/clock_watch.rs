//! Tells when the machine's clock is set.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// The time of the timer: in the year 2116.
const FAR: Itimerspec = Itimerspec {
    it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
    it_value: Timespec { tv_sec: 4_611_686_018, tv_nsec: 0 },
};

/// A timer that the kernel cancels when the clock is set, not when it is only slowed down or
/// sped up.
#[derive(Debug)]
pub(crate) struct ClockWatch(OwnedFd);

impl ClockWatch {
    /// Watches from now on. Fails if the kernel cannot tell.
    pub(crate) fn new() -> io::Result<Self> {
        let watch = Self(timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?);
        watch.arm()?;
        Ok(watch)
    }

    /// Blocks until the clock is set. A change that comes before the next call ends that call
    /// at once.
    pub(crate) fn wait(&self) -> io::Result<()> {
        loop {
            match rustix::io::read(&self.0, &mut [0; 8]) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::CANCELED) => return self.arm(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn arm(&self) -> io::Result<()> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.0, flags, &FAR)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_timer_and_the_time_is_to_come() {
        let watch = ClockWatch::new().unwrap();
        let armed = rustix::time::timerfd_gettime(&watch.0).unwrap();
        assert!(armed.it_value.tv_sec > 0);
    }
}
