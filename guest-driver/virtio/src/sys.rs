//! Mappings of memory that others write too, of device registers, and the system calls around them.
//! All `unsafe` of this crate is here.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::mm::{MapFlags, ProtFlags};
use rustix::pipe::PipeFlags;
use vmm_sys_util::eventfd::EventFd;

/// A shared, writable mapping of a file: memory shared with the device, or a BAR.
///
/// The accessors panic when the offset lies outside or is not aligned: callers have validated it.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and every access is volatile or
// atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above; no reference to the memory is ever given out.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of `fd` from `offset`, both multiples of the page size.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Self> {
        Self::with_flags(fd, offset, length, MapFlags::SHARED)
    }

    /// Like [`Mapping::new`], with every page present before it returns.
    pub fn populated(fd: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Self> {
        Self::with_flags(fd, offset, length, MapFlags::SHARED | MapFlags::POPULATE)
    }

    fn with_flags(fd: BorrowedFd<'_>, offset: u64, length: usize, flags: MapFlags) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            rustix::mm::mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, fd, offset)?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { base, length })
    }

    /// Size, bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Address in this process.
    pub fn address(&self) -> usize {
        self.base.as_ptr() as usize
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        let size = size_of::<T>();
        assert!(offset.is_multiple_of(size) && offset <= self.length && size <= self.length - offset);
        // SAFETY: the assertion keeps the element inside the mapping.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// Reads an integer once.
    pub fn read<T: Register>(&self, offset: usize) -> T {
        // SAFETY: `at` gives an aligned element of the mapping; any bit pattern is a valid integer.
        unsafe { ptr::read_volatile(self.at(offset)) }
    }

    /// Writes an integer once.
    pub fn write<T: Register>(&self, offset: usize, value: T) {
        // SAFETY: `at` gives an aligned element of the mapping, which is writable.
        unsafe { ptr::write_volatile(self.at(offset), value) }
    }

    /// Reads a ring index; what the other side wrote before it is visible afterwards.
    pub fn load_acquire(&self, offset: usize) -> u16 {
        // SAFETY: `at` gives an aligned element of the mapping that lives as long as `self`.
        unsafe { AtomicU16::from_ptr(self.at(offset)) }.load(Ordering::Acquire)
    }

    /// Writes a ring index after everything that was written before it.
    pub fn store_release(&self, offset: usize, value: u16) {
        // SAFETY: `at` gives an aligned element of the mapping that lives as long as `self`.
        unsafe { AtomicU16::from_ptr(self.at(offset)) }.store(value, Ordering::Release);
    }

    /// Copies bytes out, each read once.
    pub fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = self.read(offset + i);
        }
    }

    /// Copies bytes in.
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.write(offset + i, *byte);
        }
    }

    /// Copies bytes in, where a holder of the descriptor may have taken the page out of the file:
    /// an error then, not a SIGBUS.
    pub fn try_copy_in(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= self.length);
        end.ok_or(io::ErrorKind::InvalidInput)?;
        let local = libc::iovec { iov_base: bytes.as_ptr() as *mut libc::c_void, iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: self.base.as_ptr().wrapping_add(offset).cast(), iov_len: bytes.len() };
        // SAFETY: both vectors describe memory of this process, checked above; the kernel reports
        // pages that are gone.
        let written = unsafe { libc::process_vm_writev(libc::getpid(), &local, 1, &remote, 1, 0) };
        match usize::try_from(written) {
            Ok(n) if n == bytes.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// Integers that registers and rings are made of.
pub trait Register: Copy + private::Sealed {}
impl Register for u8 {}
impl Register for u16 {}
impl Register for u32 {}
impl Register for u64 {}

mod private {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// Page size of the machine (x86-64), bytes.
pub const SMALL_PAGE: usize = 4096;
/// Runs `child` in a copy of this process.
#[cfg(test)]
pub fn fork_for_test(child: impl FnOnce()) {
    // SAFETY: the test's other threads hold no lock that the child needs.
    if unsafe { libc::fork() } == 0 {
        child();
        // SAFETY: nothing of this copy has to be cleaned up.
        unsafe { libc::_exit(0) }
    }
}

/// Runs `child` in a copy of this process that has the same table of descriptors: what either opens or
/// closes, the other has opened or closed, and what is open stays open until both have ended. The copy
/// cannot be interrupted by signals and ends with `child`. This process must have one thread.
pub fn fork_with_descriptors(child: impl FnOnce()) -> io::Result<()> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: as fork: the child has a copy of all memory; with one thread no lock is held by another.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: the set is a local, and the process ends without running what was registered for its exit.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&mut all);
                libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
                child();
                libc::_exit(0)
            }
        }
        _ => Ok(()),
    }
}

/// Pages that one [`Pin`] can hold: an unprivileged pipe's largest size.
const PIN_PAGES: usize = 256;

/// References to pages that keep them allocated and in place, even after the file they belong to
/// was truncated or a hole was punched in it.
#[derive(Debug)]
pub struct Pin {
    /// A pipe whose buffers refer to the pages.
    _pipe: (OwnedFd, OwnedFd),
}

impl Pin {
    /// Pins every page of `mapping`, pages being `page_size` bytes.
    pub fn pages(mapping: &Mapping, page_size: usize) -> io::Result<Vec<Self>> {
        let pages: Vec<usize> = (0..mapping.length).step_by(page_size).collect();
        pages.chunks(PIN_PAGES).map(|offsets| Self::new(mapping, offsets)).collect()
    }

    fn new(mapping: &Mapping, offsets: &[usize]) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        rustix::pipe::fcntl_setpipe_size(&write, offsets.len().next_power_of_two() * SMALL_PAGE)?;
        for offset in offsets {
            // One byte a page: the pipe's buffer then holds a reference to the page.
            let byte = libc::iovec { iov_base: mapping.at::<u8>(*offset).cast(), iov_len: 1 };
            // SAFETY: the byte lies in the mapping, and its contents do not matter to the pipe.
            let spliced = unsafe { libc::vmsplice(write.as_raw_fd(), &byte, 1, libc::SPLICE_F_NONBLOCK) };
            match spliced {
                1 => {}
                0 => return Err(io::ErrorKind::WriteZero.into()),
                _ => return Err(io::Error::last_os_error()),
            }
        }
        Ok(Self { _pipe: (read, write) })
    }
}

/// Changes the type of an eventfd back.
pub fn from_eventfd(fd: EventFd) -> OwnedFd {
    // SAFETY: the descriptor is given up by what owned it.
    unsafe { OwnedFd::from_raw_fd(fd.into_raw_fd()) }
}

/// Changes the type of an eventfd.
pub fn into_eventfd(fd: OwnedFd) -> EventFd {
    // SAFETY: the descriptor is owned here and handed over.
    unsafe { EventFd::from_raw_fd(fd.into_raw_fd()) }
}
