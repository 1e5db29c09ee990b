//! Running a kernel over a grid of blocks.

use super::{DeviceHeap, Fault, Kernel};
use std::sync::atomic::AtomicBool;

/// One kernel launch.
pub struct Launch<'a> {
    /// What to run.
    pub kernel: &'a Kernel,
    /// `gridDim`, each at least 1.
    pub grid: [u32; 3],
    /// `blockDim`, each at least 1, product at most the kernel's `max_threads`.
    pub block: [u32; 3],
    /// Bytes of `extern __shared__` memory.
    pub dynamic_shared: u32,
    /// Parameter block, laid out as [`Kernel::params`] says; exactly [`Kernel::param_bytes`] long.
    pub params: &'a [u8],
    /// All blocks resident at once, so that they may wait for each other.
    pub cooperative: bool,
    /// Bytes of call stack and local memory a thread may use (`cudaLimitStackSize`, default 1024);
    /// the kernel's own frame does not count.
    pub stack_limit: u32,
    /// Bytes of `printf` output kept until the end of the launch (`cudaLimitPrintfFifoSize`,
    /// default 1 MiB); what exceeds it is dropped.
    pub printf_limit: usize,
    /// Gets the output of `printf` and `assert`, in order. Called from worker threads, one at a time.
    pub output: &'a (dyn Fn(&[u8]) + Sync),
    /// Set to true from any thread to stop the launch with `Cancelled`.
    pub cancel: &'a AtomicBool,
    /// Heap of the context for device-side `malloc`.
    pub heap: &'a DeviceHeap,
}

/// Worker threads that execute blocks; launches from several threads share them.
pub struct Engine {}

impl Engine {
    /// An engine that runs a launch on up to `threads` threads, of which the caller of
    /// [`Engine::launch`] is one; 0 means one per core.
    pub fn new(threads: usize) -> Engine;

    /// How many threads a launch may use.
    pub fn threads(&self) -> usize;

    /// Runs a launch to its end, or to the first fault.
    pub fn launch(&self, launch: &Launch<'_>) -> Result<(), Fault>;
}
