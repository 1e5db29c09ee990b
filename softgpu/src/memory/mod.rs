//! The address space that one GPU session sees.
//!
//! Device memory is one reserved range of this process's address space: a device
//! pointer is the host address of its byte. Besides it, *windows* (ranges of host
//! memory that the GPU may touch at equal addresses) can be registered. Every
//! access names an address that may be any 64-bit number, and is checked.

mod sys;

/// Alignment and accounting unit of device allocations, in bytes.
pub const GRANULE: u64 = 512;

/// A live device allocation or window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Bytes, as requested at allocation.
    pub size: u64,
}

/// Free and total device memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Bytes that can still be allocated.
    pub free: u64,
    /// The quota.
    pub total: u64,
}

/// Why memory could not be had or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The quota or the host's memory is exhausted.
    OutOfMemory,
    /// Not the base of a live allocation or window, a zero size, or overlapping ranges.
    InvalidValue,
}

/// An access that the GPU's MMU would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// A byte outside of live allocations and windows; the first address at fault.
    Illegal(u64),
    /// An address that is not a multiple of the access size.
    Misaligned(u64),
}

/// Device memory and windows of one session. Thread-safe.
pub struct Memory {}

impl Memory {
    /// Reserves the address range of a device with `quota` bytes of memory.
    pub fn new(quota: u64) -> Result<Arc<Memory>, MemoryError>;

    /// Allocates `size` > 0 zeroed bytes, aligned to [`GRANULE`].
    pub fn allocate(&self, size: u64) -> Result<u64, MemoryError>;

    /// Frees an allocation by its base; waits for running accesses, returns the pages to the OS.
    pub fn free(&self, base: u64) -> Result<(), MemoryError>;

    /// The allocation (not window) that contains `address`.
    pub fn range_of(&self, address: u64) -> Option<Range>;

    /// The window that contains `address`.
    pub fn window_of(&self, address: u64) -> Option<Range>;

    /// Whether `address` lies in the reserved device range, live or not.
    pub fn is_device_address(&self, address: u64) -> bool;

    /// Free and total device memory.
    pub fn info(&self) -> Info;

    /// Lets the GPU touch `len` bytes of this process's memory from `base` on.
    ///
    /// # Safety
    /// The range stays mapped, readable and writable until [`Memory::remove_window`]
    /// has returned, and the process tolerates concurrent changes of its bytes.
    pub unsafe fn add_window(&self, base: u64, len: u64) -> Result<(), MemoryError>;

    /// Takes a window away by its base; when this returns no access to it is running.
    pub fn remove_window(&self, base: u64) -> Result<(), MemoryError>;

    /// Copies from device memory or a window.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), AccessError>;

    /// Copies to device memory or a window.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), AccessError>;

    /// Copies within the address space; the ranges may overlap.
    pub fn copy(&self, to: u64, from: u64, len: u64) -> Result<(), AccessError>;

    /// Repeats a pattern of 1, 2 or 4 bytes `count` times from `address`, which is a
    /// multiple of the pattern's length.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), AccessError>;

    /// Whether all bytes of the range may be accessed.
    pub fn check(&self, address: u64, len: u64) -> Result<(), AccessError>;
}
