//! The heap behind device-side `malloc` and `free`.

use crate::memory::Memory;
use std::sync::Arc;

/// Heap of one CUDA context: memory obtained in one kernel may be freed in a later one.
/// Takes its device memory at the first `malloc`.
pub struct DeviceHeap {}

impl DeviceHeap {
    /// A heap of at most `limit` bytes (`cudaLimitMallocHeapSize`, CUDA's default is 8 MiB).
    pub fn new(memory: &Arc<Memory>, limit: u64) -> DeviceHeap;

    /// Changes the limit; false once the heap is in use, as in CUDA.
    pub fn set_limit(&self, limit: u64) -> bool;

    /// The limit in bytes.
    pub fn limit(&self) -> u64;
}
