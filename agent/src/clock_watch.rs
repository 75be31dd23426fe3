//! Tells when the machine's clock is set.

use std::io;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A time that does not come.
const NEVER: Timespec = Timespec { tv_sec: i64::MAX / 2_000_000_000, tv_nsec: 0 };

/// Blocks, and calls `was_set` each time that the clock was set. Returns an error if the
/// kernel does not tell.
pub(crate) fn watch(mut was_set: impl FnMut()) -> io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
    let time = Itimerspec { it_interval: Timespec::default(), it_value: NEVER };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&timer, flags, &time)?;
    loop {
        match rustix::io::read(&timer, &mut [0; 8]) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CANCELED) => {
                // Armed again first, so that a change during the call is told, too.
                timerfd_settime(&timer, flags, &time)?;
                was_set();
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}
