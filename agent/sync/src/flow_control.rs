//! How much may be on its way to an end that has not taken it yet.
//!
//! The input and the output of a run are written when programs like, and read when
//! people like. Both directions therefore count: the writer waits for room before it
//! reads more, the reader says what it has taken. So a program that nobody reads from
//! is slowed down, as by a pipe, and costs neither end memory.
//!
//! A message costs its bytes, and [`MESSAGE_COST_BYTES`] at least: what lies in a
//! stream's receive buffer in many small pieces is a burden that the transport's own
//! flow control, which counts bytes, does not see, and ends the connection for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a message costs at least, in bytes.
pub const MESSAGE_COST_BYTES: usize = 1 << 10;

/// What a message of so many bytes costs, in bytes of a window.
pub fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes.max(MESSAGE_COST_BYTES)).unwrap_or(u32::MAX)
}

#[derive(Debug, Default)]
struct State {
    on_the_way: usize,
    closed: bool,
}

/// What is on its way, at the writer's end.
#[derive(Debug)]
pub struct SendWindow {
    size: usize,
    state: Mutex<State>,
    moved: Condvar,
}

impl SendWindow {
    /// An empty window of so many bytes.
    pub fn new(size: usize) -> Self {
        Self { size, state: Mutex::default(), moved: Condvar::new() }
    }

    /// Waits until a message of at most `bytes` has room, or nobody counts any more.
    pub fn wait_for_room(&self, bytes: usize) {
        let full = |state: &mut State| {
            !state.closed
                && state.on_the_way > 0
                && state.on_the_way + cost(bytes) as usize > self.size
        };
        drop(self.moved.wait_while(self.state(), full));
    }

    /// A message of so many bytes is on its way.
    pub fn sent(&self, bytes: usize) {
        self.state().on_the_way += cost(bytes) as usize;
    }

    /// The other end has taken messages of this cost.
    pub fn credit(&self, cost: u32) {
        let mut state = self.state();
        state.on_the_way = state.on_the_way.saturating_sub(cost as usize);
        self.moved.notify_all();
    }

    /// The other end will take nothing more: whoever waits goes on, and finds out.
    pub fn close(&self) {
        self.state().closed = true;
        self.moved.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was taken and not yet said, at the reader's end.
#[derive(Debug)]
pub struct ReceivedCredit {
    told_from: usize,
    untold: u32,
}

impl ReceivedCredit {
    /// For a window of so many bytes: its quarters are told.
    pub const fn of(size: usize) -> Self {
        Self { told_from: size / 4, untold: 0 }
    }

    /// One more message was taken; gives what is to be told now, if anything.
    pub fn add(&mut self, bytes: usize) -> Option<u32> {
        self.untold += cost(bytes);
        (self.untold as usize >= self.told_from).then(|| std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages fit before a writer would have to wait.
    fn fitting(window: &SendWindow, bytes: usize) -> usize {
        let mut messages = 0;
        while window.state().on_the_way + cost(bytes) as usize <= window.size {
            window.wait_for_room(bytes);
            window.sent(bytes);
            messages += 1;
        }
        messages
    }

    #[test]
    fn small_messages_are_counted_and_large_ones_measured() {
        assert_eq!(fitting(&SendWindow::new(1 << 20), 1), 1024);
        assert_eq!(fitting(&SendWindow::new(1 << 20), 64 << 10), 16);
    }

    #[test]
    fn what_was_taken_makes_room() {
        let window = SendWindow::new(1 << 20);
        let mut taken = ReceivedCredit::of(1 << 20);
        fitting(&window, 10);
        let told: Vec<u32> = (0..256).filter_map(|_| taken.add(10)).collect();
        assert_eq!(told, [256 << 10]);
        window.credit(told[0]);
        assert_eq!(fitting(&window, 10), 256);
        // More than was sent is no harm.
        window.credit(u32::MAX);
        assert_eq!(fitting(&window, 10), 1024);
    }

    #[test]
    fn nobody_waits_for_an_end_that_is_gone() {
        let window = SendWindow::new(1 << 10);
        window.sent(10);
        std::thread::scope(|scope| {
            scope.spawn(|| window.wait_for_room(10));
            window.close();
        });
    }
}
