//! A forked child has the driver's memory but none of its threads: nothing may be waited for there.

use std::sync::atomic::{AtomicBool, Ordering};

static IN_CHILD: AtomicBool = AtomicBool::new(false);

extern "C" fn note() {
    IN_CHILD.store(true, Ordering::Relaxed);
}

/// From now on children of this process are told from it.
pub(super) fn watch() {
    // SAFETY: the function only stores to an atomic, which is allowed in a child.
    unsafe { libc::pthread_atfork(None, None, Some(note)) };
}

/// Whether this process was forked from one that had called [`watch`].
pub(super) fn in_child() -> bool {
    IN_CHILD.load(Ordering::Relaxed)
}
