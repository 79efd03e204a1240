//! Locks whose holder cannot leave anything half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. That a holder panicked before is no reason to panic as well.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
