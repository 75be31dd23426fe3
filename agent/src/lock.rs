//! How this crate takes a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes it. A lock whose holder panicked still guards data that is whole: nothing here is
/// left half-way between two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
