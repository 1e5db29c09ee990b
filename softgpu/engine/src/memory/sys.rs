//! The unsafe part of [`Memory`](super::Memory): reserving address space and
//! dereferencing addresses that have been checked.

use super::{AccessError, Memory, MemoryError, Pinned, Range, SharedFile, GRANULE, PAGE, READABLE, WRITABLE};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{fallocate, ftruncate, memfd_create, FallocateFlags, MemfdFlags};
use rustix::io::pwrite;
use rustix::mm::{madvise, mmap, mmap_anonymous, mprotect, munmap, Advice, MapFlags, MprotectFlags, ProtFlags};
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where device memory is looked for first, far from where pinned host memory is put.
const FIRST_BASE: u64 = 0x3000_0000_0000;
const BASE_STEP: u64 = 1 << 40;
const BASE_CANDIDATES: u64 = 32;
const MOVED_AT_ONCE: u64 = 1 << 20;

/// What can lie in device memory: plain bytes.
pub trait Plain: FromBytes + IntoBytes + Immutable + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + Copy> Plain for T {}

/// A private, lazily populated range of address space.
pub(super) struct Reservation {
    base: u64,
    len: u64,
}

impl Reservation {
    /// Inaccessible address space for device memory.
    pub(super) fn device(len: u64) -> Result<Reservation, MemoryError> {
        let candidates = (0..BASE_CANDIDATES).map(|i| FIRST_BASE + i * BASE_STEP);
        candidates
            .map(|base| Self::take(base, len, MapFlags::FIXED_NOREPLACE, ProtFlags::empty()))
            .find(Result::is_ok)
            .unwrap_or_else(|| Self::take(0, len, MapFlags::empty(), ProtFlags::empty()))
    }

    /// Zeroed, writable bytes that take host memory only where touched.
    pub(super) fn zeroed(len: u64) -> Result<Reservation, MemoryError> {
        Self::take(0, len, MapFlags::empty(), ProtFlags::READ | ProtFlags::WRITE)
    }

    fn take(hint: u64, len: u64, extra: MapFlags, prot: ProtFlags) -> Result<Reservation, MemoryError> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | extra;
        let hint = ptr::with_exposed_provenance_mut(hint as usize);
        // SAFETY: without MAP_FIXED the kernel never replaces an existing mapping.
        let start = unsafe { mmap_anonymous(hint, len as usize, prot, flags) };
        let base = start.map_err(|_| MemoryError::OutOfMemory)?.expose_provenance() as u64;
        Ok(Reservation { base, len })
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Makes `[offset, offset + len)` readable and writable; both are multiples of the page size.
    pub(super) fn commit(&self, offset: u64, len: u64) -> Result<(), MemoryError> {
        assert!(offset <= self.len && len <= self.len - offset);
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies in this reservation.
        unsafe { mprotect(pointer(self.base + offset).cast(), len as usize, flags) }
            .map_err(|_| MemoryError::OutOfMemory)
    }

    /// Gives the pages of `[offset, offset + len)` back to the OS; they read as zero afterwards.
    pub(super) fn discard(&self, offset: u64, len: u64) {
        assert!(offset <= self.len && len <= self.len - offset);
        // SAFETY: the range lies in this reservation, which is private and anonymous.
        let done = unsafe { madvise(pointer(self.base + offset).cast(), len as usize, Advice::LinuxDontNeed) };
        if done.is_err() {
            self.zero(offset, len);
        }
    }

    /// Writes zeros to `[offset, offset + len)`, which is committed.
    pub(super) fn zero(&self, offset: u64, len: u64) {
        assert!(offset <= self.len && len <= self.len - offset);
        // SAFETY: the range lies in the committed part of this reservation.
        unsafe { ptr::write_bytes(pointer(self.base + offset), 0, len as usize) }
    }

    /// The byte at `offset` of a reservation made by [`Reservation::zeroed`].
    #[inline(always)]
    pub(super) fn byte(&self, offset: u64) -> &AtomicU8 {
        assert!(offset < self.len);
        // SAFETY: in bounds, and this reservation is only accessed atomically.
        unsafe { AtomicU8::from_ptr(pointer(self.base + offset)) }
    }

    /// Sets `len` bytes from `offset` on of a reservation made by [`Reservation::zeroed`].
    pub(super) fn set_bytes(&self, offset: u64, len: u64, value: u8) {
        assert!(offset <= self.len && len <= self.len - offset);
        // SAFETY: in bounds of a writable mapping.
        unsafe { ptr::write_bytes(pointer(self.base + offset), value, len as usize) }
    }
}

/// A sparse file of memory: takes host memory only where touched.
pub(super) struct File(OwnedFd);

impl File {
    /// A file of `len` zeroed bytes.
    pub(super) fn create(len: u64) -> Result<File, MemoryError> {
        let file = memfd_create(c"device-memory", MemfdFlags::CLOEXEC).map_err(|_| MemoryError::OutOfMemory)?;
        ftruncate(&file, len).map_err(|_| MemoryError::OutOfMemory)?;
        Ok(File(file))
    }

    /// Gives the pages of a range back to the OS; they read as zero afterwards.
    pub(super) fn discard(&self, offset: u64, len: u64) {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Every kernel with memfd can do this for one; were it not so, the old bytes would stay.
        let _ = fallocate(&self.0, mode, offset, len);
    }
}

impl AsFd for File {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Reservation {
    /// Puts `len` bytes of a file at `offset`, readable and writable; all are multiples of the page size.
    pub(super) fn map(&self, offset: u64, len: u64, file: impl AsFd, at: u64) -> Result<(), MemoryError> {
        assert!(offset <= self.len && len <= self.len - offset);
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        let place = pointer(self.base + offset).cast();
        // SAFETY: the range lies in this reservation; no access to it is running, because it was not live.
        unsafe { mmap(place, len as usize, access, flags | MapFlags::NORESERVE, file, at) }
            .map(drop)
            .map_err(|_| MemoryError::OutOfMemory)
    }

    /// Puts a file's bytes at `offset`.
    pub(super) fn show(&self, offset: u64, file: &SharedFile) -> Result<(), MemoryError> {
        self.map(offset, file.size(), file, SharedFile::DATA)
    }

    /// Moves as many bytes from `offset` on as `file` has there, and puts the file in their place.
    pub(super) fn move_to(&self, offset: u64, file: &SharedFile) -> Result<(), MemoryError> {
        assert!(offset <= self.len && file.size() <= self.len - offset);
        let mut done = 0;
        while done < file.size() {
            let part = (file.size() - done).min(MOVED_AT_ONCE) as usize;
            // SAFETY: the range lies in the committed part of this reservation; the caller has seen to it
            // that no access to it is running.
            let bytes = unsafe { std::slice::from_raw_parts(pointer(self.base + offset + done).cast_const(), part) };
            // Zeros are there already, and take no memory.
            if bytes.iter().all(|byte| *byte == 0) {
                done += part as u64;
                continue;
            }
            match pwrite(file, bytes, SharedFile::DATA + done) {
                Ok(written) if written > 0 => done += written as u64,
                Err(rustix::io::Errno::INTR) => {}
                _ => return Err(MemoryError::OutOfMemory),
            }
        }
        self.show(offset, file)
    }

    /// Puts fresh memory in place of what was at `offset`.
    pub(super) fn clear(&self, offset: u64, len: u64) -> Result<(), MemoryError> {
        self.put_anonymous(offset, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Puts inaccessible address space back in place of a mapping.
    pub(super) fn unmap(&self, offset: u64, len: u64) -> Result<(), MemoryError> {
        self.put_anonymous(offset, len, ProtFlags::empty())
    }

    fn put_anonymous(&self, offset: u64, len: u64, access: ProtFlags) -> Result<(), MemoryError> {
        assert!(offset <= self.len && len <= self.len - offset);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        let place = pointer(self.base + offset).cast();
        // SAFETY: the range lies in this reservation; the caller has seen to it that no access is running.
        unsafe { mmap_anonymous(place, len as usize, access, flags) }.map(drop).map_err(|_| MemoryError::OutOfMemory)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is this reservation's own and nothing refers to it any more.
        // Failure leaves it mapped, which is harmless.
        let _ = unsafe { munmap(pointer(self.base).cast(), self.len as usize) };
    }
}

/// A page of words that several processes use.
pub struct SharedPage {
    base: u64,
    /// Keeps the bytes for whoever opens the file next.
    file: Arc<SharedFile>,
}

impl SharedPage {
    /// Maps the one page of a file.
    pub fn map(file: Arc<SharedFile>) -> Result<SharedPage, MemoryError> {
        if file.size() != PAGE {
            return Err(MemoryError::InvalidValue);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: without MAP_FIXED the kernel never replaces an existing mapping.
        let start = unsafe { mmap(ptr::null_mut(), PAGE as usize, access, MapFlags::SHARED, &file, SharedFile::DATA) };
        let base = start.map_err(|_| MemoryError::OutOfMemory)?.expose_provenance() as u64;
        Ok(SharedPage { base, file })
    }

    /// The file.
    pub fn file(&self) -> &Arc<SharedFile> {
        &self.file
    }

    /// One of the page's 512 words; the number wraps around.
    pub fn word(&self, number: usize) -> &AtomicU64 {
        let at = (number % (PAGE as usize / size_of::<u64>()) * size_of::<u64>()) as u64;
        // SAFETY: inside of the page, aligned, mapped as long as `self` is, and only used atomically.
        unsafe { AtomicU64::from_ptr(pointer(self.base + at).cast()) }
    }

    /// The low half of a word, on which threads of all processes can sleep.
    pub fn futex(&self, number: usize) -> &AtomicU32 {
        let word = std::ptr::from_ref(self.word(number)).cast::<u32>().cast_mut();
        // SAFETY: the first half of an aligned word, and only used atomically.
        unsafe { AtomicU32::from_ptr(word) }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and nothing refers to it any more.
        let _ = unsafe { munmap(pointer(self.base).cast(), PAGE as usize) };
    }
}

fn pointer(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address as usize)
}

impl Memory {
    /// Lets the GPU touch `len` bytes of this process's memory from `base` on.
    ///
    /// # Safety
    /// The range stays mapped, readable and writable until [`Memory::remove_window`]
    /// has returned, and the process tolerates concurrent changes of its bytes.
    pub unsafe fn add_window(&self, base: u64, len: u64) -> Result<(), MemoryError> {
        self.insert_window(Range { base, size: len })
    }
}

impl Pinned<'_> {
    /// Copies out of the address space.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), AccessError> {
        self.check(address, bytes.len() as u64)?;
        // SAFETY: the range is live while `self` exists, and `bytes` is not part of it
        // or belongs to a window, whose owner tolerates concurrent changes.
        unsafe { ptr::copy(pointer(address), bytes.as_mut_ptr(), bytes.len()) }
        Ok(())
    }

    /// Copies into the address space.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        self.check_range(address, bytes.len() as u64, WRITABLE)?;
        // SAFETY: as in `read`.
        unsafe { ptr::copy(bytes.as_ptr(), pointer(address), bytes.len()) }
        Ok(())
    }

    /// Copies within the address space; the ranges may overlap.
    pub fn copy(&self, to: u64, from: u64, len: u64) -> Result<(), AccessError> {
        self.check_range(to, len, WRITABLE)?;
        self.check(from, len)?;
        // What goes into a window is for other cores.
        if !self.in_arena(to) && to.abs_diff(from) >= len {
            // SAFETY: both ranges are live while `self` exists, and they do not overlap.
            unsafe { vgpu_streaming::copy(pointer(from), pointer(to), len as usize) }
        } else {
            // SAFETY: both ranges are live while `self` exists; `copy` allows overlap.
            unsafe { ptr::copy(pointer(from), pointer(to), len as usize) }
        }
        Ok(())
    }

    /// Writes `count` copies of `value` from `address` on.
    pub fn fill<T: Plain>(&self, address: u64, value: T, count: u64) -> Result<(), AccessError> {
        let size = size_of::<T>() as u64;
        if !address.is_multiple_of(size) {
            return Err(AccessError::Misaligned(address));
        }
        let len = count.checked_mul(size).ok_or(AccessError::Illegal(address))?;
        self.check_range(address, len, WRITABLE)?;
        let first = pointer(address).cast::<T>();
        for i in 0..count as usize {
            // SAFETY: the range is live while `self` exists.
            unsafe { first.add(i).write_unaligned(value) }
        }
        Ok(())
    }

    /// Loads one naturally aligned value of at most [`GRANULE`] bytes.
    #[inline(always)]
    pub fn load<T: Plain>(&self, address: u64) -> Result<T, AccessError> {
        self.check_small::<READABLE>(address, size_of::<T>() as u64)?;
        // SAFETY: checked, and the range is live while `self` exists.
        Ok(unsafe { pointer(address).cast::<T>().read_unaligned() })
    }

    /// Stores one naturally aligned value of at most [`GRANULE`] bytes.
    #[inline(always)]
    pub fn store<T: Plain>(&self, address: u64, value: T) -> Result<(), AccessError> {
        self.check_small::<WRITABLE>(address, size_of::<T>() as u64)?;
        // SAFETY: checked, and the range is live while `self` exists.
        unsafe { pointer(address).cast::<T>().write_unaligned(value) }
        Ok(())
    }

    /// Loads consecutive values, at most [`GRANULE`] bytes; the first is naturally aligned.
    #[inline(always)]
    pub fn load_row<T: Plain, const N: usize>(&self, address: u64, values: &mut [T; N]) -> Result<(), AccessError> {
        self.check_row::<T, N, READABLE>(address)?;
        // SAFETY: checked, and the range is live while `self` exists.
        *values = unsafe { pointer(address).cast::<[T; N]>().read_unaligned() };
        Ok(())
    }

    /// Stores consecutive values, at most [`GRANULE`] bytes; the first is naturally aligned.
    #[inline(always)]
    pub fn store_row<T: Plain, const N: usize>(&self, address: u64, values: &[T; N]) -> Result<(), AccessError> {
        self.check_row::<T, N, WRITABLE>(address)?;
        // SAFETY: checked, and the range is live while `self` exists.
        unsafe { pointer(address).cast::<[T; N]>().write_unaligned(*values) }
        Ok(())
    }

    #[inline(always)]
    fn check_row<T, const N: usize, const NEED: u8>(&self, address: u64) -> Result<(), AccessError> {
        const { assert!(size_of::<[T; N]>() <= GRANULE as usize && N > 0) }
        let size = size_of::<T>() as u64;
        let last = address.wrapping_add((N as u64 - 1) * size);
        if self.in_arena(address) && self.in_arena(last) {
            // A row spans at most two granules, so its ends decide.
            self.check_small::<NEED>(address, size)?;
            return self.check_small::<NEED>(last, size);
        }
        self.check_window(address, size, N as u64 * size)
    }
}

/// Host atomics on checked addresses.
macro_rules! atomic {
    ($name:ident, $atomic:ty) => {
        impl Pinned<'_> {
            /// The naturally aligned word at `address` as a host atomic.
            #[inline(always)]
            pub fn $name(&self, address: u64) -> Result<&$atomic, AccessError> {
                self.check_small::<WRITABLE>(address, size_of::<$atomic>() as u64)?;
                // SAFETY: checked, aligned, and live while `self` exists.
                Ok(unsafe { <$atomic>::from_ptr(pointer(address).cast()) })
            }
        }
    };
}
atomic!(atomic_u16, AtomicU16);
atomic!(atomic_u32, AtomicU32);
atomic!(atomic_u64, AtomicU64);
