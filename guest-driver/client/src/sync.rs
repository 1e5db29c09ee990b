//! What threads wait for each other with. `tests/loom` puts a model checker's in its place.

pub use std::sync::{Condvar, Mutex, MutexGuard};
