//! The unsafe ground of the client: address space, memory shared with the device, fork.
//!
//! Memory that the device can write is only ever read through atomics or copied out; nothing here
//! hands out a reference to it.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::{fence, AtomicU16, AtomicU32, Ordering};
use std::sync::Arc;

use rustix::io::{Errno, Result};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// Reserved address space: no access and no memory until something is mapped into it.
pub struct AddressSpace {
    base: u64,
    length: usize,
}

impl AddressSpace {
    /// Reserves `[base, base + length)`. An error means that the process uses some of it already.
    pub fn reserve(base: u64, length: usize) -> Result<Arc<Self>> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE | MapFlags::NORESERVE;
        // SAFETY: FIXED_NOREPLACE never touches an existing mapping.
        let at = unsafe { mm::mmap_anonymous(base as *mut c_void, length, ProtFlags::empty(), flags)? } as u64;
        let space = Arc::new(AddressSpace { base: at, length });
        // Kernels before 4.17 take the address for a hint.
        if at == base {
            Ok(space)
        } else {
            Err(Errno::EXIST)
        }
    }

    /// Its first address.
    pub fn base(&self) -> u64 {
        self.base
    }

    fn check(&self, address: u64, length: usize) -> Result<()> {
        let offset = address.wrapping_sub(self.base);
        let fits = offset <= self.length as u64 && length as u64 <= self.length as u64 - offset;
        if fits {
            Ok(())
        } else {
            Err(Errno::INVAL)
        }
    }

    /// Maps `length` bytes of `memory` at `address`, shared, in place of what is there.
    pub fn map(&self, memory: BorrowedFd<'_>, offset: u64, address: u64, length: usize) -> Result<()> {
        self.check(address, length)?;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the range is ours, and all access to it is by atomics or copies of raw bytes.
        unsafe { mm::mmap(address as *mut c_void, length, access, flags, memory, offset)? };
        Ok(())
    }

    /// Turns a mapped range back into mere reservation.
    pub fn unmap(&self, address: u64, length: usize) -> Result<()> {
        self.check(address, length)?;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: as for `map`.
        unsafe { mm::mmap_anonymous(address as *mut c_void, length, ProtFlags::empty(), flags)? };
        Ok(())
    }

    /// Copies bytes to `address`, where something is mapped.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<()> {
        self.check(address, from.len())?;
        // SAFETY: the destination is in our range; were nothing mapped there, the process would fault.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), address as *mut u8, from.len()) };
        Ok(())
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // SAFETY: whatever uses the range holds the `Arc`.
        let _ = unsafe { mm::munmap(self.base as *mut c_void, self.length) };
    }
}

/// A mapped home: memory that both sides write. Offsets are checked; wrong ones are bugs of ours.
pub struct Shared {
    base: *mut u8,
    length: usize,
    _space: Arc<AddressSpace>,
}

// SAFETY: all access is by atomics or by copies of raw bytes, and the range lives as long as this.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The mapping of `length` bytes at `address`.
    pub fn new(space: &Arc<AddressSpace>, address: u64, length: usize) -> Result<Self> {
        space.check(address, length)?;
        Ok(Shared { base: address as *mut u8, length, _space: Arc::clone(space) })
    }

    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset <= self.length && size <= self.length - offset, "offset {offset} + {size} is outside the home");
        self.base.wrapping_add(offset)
    }

    fn atomic_u16(&self, offset: usize) -> &AtomicU16 {
        assert!(offset.is_multiple_of(2));
        // SAFETY: in bounds, aligned, and only ever accessed by atomics of this size or raw copies.
        unsafe { AtomicU16::from_ptr(self.at(offset, 2).cast()) }
    }

    fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        // SAFETY: as for `atomic_u16`.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// Loads a `u16` with acquire order.
    pub fn load_u16(&self, offset: usize) -> u16 {
        self.atomic_u16(offset).load(Ordering::Acquire)
    }

    /// Stores a `u16` with release order.
    pub fn store_u16(&self, offset: usize, value: u16) {
        self.atomic_u16(offset).store(value, Ordering::Release);
    }

    /// Stores a `u16` before any later load, as the virtqueue's event index needs.
    pub fn store_u16_before_loads(&self, offset: usize, value: u16) {
        // On x86 an exchange costs less than a store and a fence, and orders as much.
        if cfg!(target_arch = "x86_64") {
            self.atomic_u16(offset).swap(value, Ordering::SeqCst);
        } else {
            self.store_u16(offset, value);
            full_fence();
        }
    }

    /// Loads a `u32` with acquire order.
    pub fn load_u32(&self, offset: usize) -> u32 {
        self.atomic_u32(offset).load(Ordering::Acquire)
    }

    /// Stores a `u32` with release order.
    pub fn store_u32(&self, offset: usize, value: u32) {
        self.atomic_u32(offset).store(value, Ordering::Release);
    }

    /// Copies bytes out; what the other side writes meanwhile may be torn, never dangling.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: both ranges are valid for the length and cannot overlap (`to` is private).
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    }

    /// As [`Shared::read`], for bytes that are not looked at soon.
    pub fn read_streaming(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: as for `read`.
        unsafe { vgpu_streaming::copy(from, to.as_mut_ptr(), to.len()) };
    }

    /// Copies in bytes that another core will read and this one will not.
    pub fn write_streaming(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        // SAFETY: as for `write`.
        unsafe { vgpu_streaming::copy(from.as_ptr(), to, from.len()) };
    }

    /// Copies bytes in.
    pub fn write(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        // SAFETY: both ranges are valid for the length and cannot overlap (`from` is private).
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }
}

/// Orders earlier stores before later loads, as the virtqueue's event index needs.
pub fn full_fence() {
    fence(Ordering::SeqCst);
}

/// A page that reads 1 in the process that made it and 0 in a forked child.
pub struct ForkPage(*const AtomicU32);

// SAFETY: the page is only read after it was set up, through an atomic.
unsafe impl Send for ForkPage {}
// SAFETY: as above.
unsafe impl Sync for ForkPage {}

impl ForkPage {
    /// Maps and marks the page; it stays for the life of the process.
    pub fn new() -> Result<Self> {
        let length = 4096;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let page = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
        };
        // SAFETY: the page is ours, and wiping it in children is what we want.
        unsafe { mm::madvise(page, length, Advice::LinuxWipeOnFork)? };
        let word = page.cast::<u32>();
        // SAFETY: the page is mapped, aligned and never unmapped.
        unsafe { AtomicU32::from_ptr(word) }.store(1, Ordering::Release);
        Ok(ForkPage(word.cast()))
    }

    /// Whether this is the process that made the page.
    pub fn is_parent(&self) -> bool {
        // SAFETY: the page is mapped, aligned and never unmapped.
        unsafe { &*self.0 }.load(Ordering::Relaxed) == 1
    }
}

/// Has `handler` called in every forked child.
pub fn on_fork_child(handler: extern "C" fn()) {
    // SAFETY: the handler is a plain function; libcuda.so.1 is never unloaded (`-z nodelete`).
    unsafe { libc::pthread_atfork(None, None, Some(child_entry(handler))) };
}

fn child_entry(handler: extern "C" fn()) -> unsafe extern "C" fn() {
    handler
}

/// Keeps signals of the application off a thread of ours.
pub fn block_signals() {
    // SAFETY: the set is initialised by `sigfillset` before it is used.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, ptr::null_mut());
    }
}

/// Closes descriptors by number, in a forked child that must not use their owners.
pub fn close_in_child(descriptors: impl Iterator<Item = i32>) {
    for fd in descriptors {
        // SAFETY: `close` is async-signal-safe; the child's copy of the owner is never used again.
        unsafe { libc::close(fd) };
    }
}
