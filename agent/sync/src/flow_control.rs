//! Credit-based flow control for the input and output of a run.
//!
//! The sender waits for room in its window before it reads more; the receiver returns
//! credit for messages that it has processed. A program whose output is not read is
//! therefore slowed down, as by a full pipe, and neither end buffers more than a window.
//!
//! A message costs its bytes, but at least [`MESSAGE_COST_BYTES`]. The transport's flow
//! control counts bytes only, while many small pieces in a receive buffer make it close
//! the connection (see [`crate::write_coalescer`]).
//!
//! Both sides block; they are for threads, not for tasks.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The least cost of a message in bytes of a window.
pub const MESSAGE_COST_BYTES: usize = 1 << 10;

/// The cost of a message in bytes of a window.
pub fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes.max(MESSAGE_COST_BYTES)).unwrap_or(u32::MAX)
}

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    closed: bool,
}

impl State {
    fn has_room(&self, bytes: usize, size: usize) -> bool {
        self.closed || self.in_flight == 0 || self.in_flight + cost(bytes) as usize <= size
    }
}

/// The sender's count of bytes in flight.
#[derive(Debug)]
pub struct SendWindow {
    size: usize,
    state: Mutex<State>,
    moved: Condvar,
}

impl SendWindow {
    /// Creates an empty window of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { size, state: Mutex::default(), moved: Condvar::new() }
    }

    /// Blocks until a message of `bytes` fits into the window, the window is empty, or it is
    /// closed.
    pub fn wait_for_room(&self, bytes: usize) {
        drop(self.moved.wait_while(self.state(), |state| !state.has_room(bytes, self.size)));
    }

    /// Whether [`wait_for_room`](Self::wait_for_room) would return at once.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.state().has_room(bytes, self.size)
    }

    /// Blocks until the receiver has returned credit for all that was sent, or the window is
    /// closed.
    pub fn wait_until_empty(&self) {
        drop(self.moved.wait_while(self.state(), |state| !state.closed && state.in_flight > 0));
    }

    /// Whether the receiver has returned credit for all that was sent.
    pub fn is_empty(&self) -> bool {
        self.state().in_flight == 0
    }

    /// Counts a message of `bytes` as in flight.
    pub fn sent(&self, bytes: usize) {
        self.state().in_flight += cost(bytes) as usize;
    }

    /// Takes credit that the receiver returned.
    pub fn credit(&self, cost: u32) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(cost as usize);
        self.moved.notify_all();
    }

    /// Ends the counting and wakes all waiting threads; their next send then fails.
    pub fn close(&self) {
        self.state().closed = true;
        self.moved.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiver's credit that was not returned yet.
#[derive(Debug)]
pub struct ReceivedCredit {
    return_from: usize,
    unreturned: u32,
}

impl ReceivedCredit {
    /// Creates the counter for a window of `size` bytes. Credit is returned for a quarter of
    /// the window at a time.
    pub const fn of(size: usize) -> Self {
        Self { return_from: size / 4, unreturned: 0 }
    }

    /// Counts a processed message of `bytes`. Returns the credit to send now, if any.
    pub fn add(&mut self, bytes: usize) -> Option<u32> {
        self.unreturned += cost(bytes);
        let due = self.unreturned as usize >= self.return_from;
        due.then(|| std::mem::take(&mut self.unreturned))
    }

    /// Returns the credit that is left, once no further message comes.
    pub fn rest(&mut self) -> u32 {
        std::mem::take(&mut self.unreturned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of messages that fit before the sender has to wait.
    fn fitting(window: &SendWindow, bytes: usize) -> usize {
        let mut messages = 0;
        while window.state().in_flight + cost(bytes) as usize <= window.size {
            assert!(window.has_room(bytes));
            window.wait_for_room(bytes);
            window.sent(bytes);
            messages += 1;
        }
        assert!(!window.has_room(bytes));
        messages
    }

    #[test]
    fn small_messages_are_counted_and_large_ones_measured() {
        assert_eq!(fitting(&SendWindow::new(1 << 20), 1), 1024);
        assert_eq!(fitting(&SendWindow::new(1 << 20), 64 << 10), 16);
    }

    #[test]
    fn returned_credit_makes_room() {
        let window = SendWindow::new(1 << 20);
        let mut received = ReceivedCredit::of(1 << 20);
        fitting(&window, 10);
        let credits: Vec<u32> = (0..256).filter_map(|_| received.add(10)).collect();
        assert_eq!(credits, [256 << 10]);
        window.credit(credits[0]);
        assert_eq!(fitting(&window, 10), 256);
        // More credit than was used empties the window.
        window.credit(u32::MAX);
        assert_eq!(fitting(&window, 10), 1024);
    }

    #[test]
    fn a_closed_window_does_not_block() {
        let window = SendWindow::new(1 << 10);
        window.sent(10);
        std::thread::scope(|scope| {
            scope.spawn(|| window.wait_for_room(10));
            scope.spawn(|| window.wait_until_empty());
            window.close();
        });
    }

    #[test]
    fn a_window_is_empty_once_the_rest_of_the_credit_is_back() {
        let window = SendWindow::new(1 << 20);
        let mut received = ReceivedCredit::of(1 << 20);
        assert!(window.is_empty());
        for bytes in [10, 2_000] {
            window.sent(bytes);
            assert_eq!(received.add(bytes), None);
        }
        assert!(!window.is_empty());
        let rest = received.rest();
        assert_eq!((rest, received.rest()), (3_024, 0));
        std::thread::scope(|scope| {
            scope.spawn(|| window.wait_until_empty());
            window.credit(rest);
        });
        assert!(window.is_empty());
    }
}
