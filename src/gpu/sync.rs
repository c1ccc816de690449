//! Locking.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever a panicking thread left behind: each guarded value is valid after every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
