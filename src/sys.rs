//! Process-level calls that need `unsafe`.

use std::ffi::{c_void, CStr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use vgpu_protocol::cuda::attribute::PAGEABLE_MEMORY_ACCESS;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{DriverApi, GUEST_LIBRARY_SYMBOL};

use crate::exit;

/// Loads a CUDA driver library for the rest of the process's life. `None`: it is the library for guests.
pub fn load_driver(path: &Path) -> Result<Option<DriverApi>, libloading::Error> {
    // SAFETY: loading a library runs its constructors; the person who started us named it.
    let library = Box::leak(Box::new(unsafe { libloading::Library::new(path) }?));
    // SAFETY: the address is not used.
    if unsafe { library.get::<*const c_void>(GUEST_LIBRARY_SYMBOL.to_bytes_with_nul()) }.is_ok() {
        return Ok(None);
    }
    let find = |name: &'static CStr| {
        // SAFETY: the address is only stored; `DriverApi` gives it the function's type.
        match unsafe { library.get::<*const c_void>(name.to_bytes_with_nul()) } {
            Ok(symbol) => *symbol,
            Err(_) => std::ptr::null(),
        }
    };
    // SAFETY: a library that exports names of the CUDA driver API has its functions behind them.
    Ok(Some(unsafe { DriverApi::load(find) }))
}

/// CUDA version of the driver; 0 if it does not tell.
pub fn driver_version(api: &DriverApi) -> i32 {
    let mut version = 0;
    if let Some(get) = api.cuDriverGetVersion {
        // SAFETY: the output is a local.
        unsafe { get(&mut version) };
    }
    version
}

/// Whether kernels of any device can read memory that was never given to the driver.
pub fn reaches_pageable_memory(api: &DriverApi) -> bool {
    let (Some(count), Some(attribute)) = (api.cuDeviceGetCount, api.cuDeviceGetAttribute) else { return false };
    let mut devices = 0;
    // SAFETY: the output is a local.
    unsafe { count(&mut devices) };
    (0..devices).any(|device| {
        let mut reaches = 0;
        // SAFETY: the output is a local; a device's number is its handle.
        unsafe { attribute(&mut reaches, PAGEABLE_MEMORY_ACCESS, device) };
        reaches != 0
    })
}

/// Calls `cuInit`.
pub fn initialize(api: &DriverApi) -> CUresult {
    match api.cuInit {
        // SAFETY: the function takes a number.
        Some(init) => unsafe { init(0) },
        None => CUresult::SHARED_OBJECT_SYMBOL_NOT_FOUND,
    }
}

/// A frontend can shrink memory that it has shared: reading a lost page raises SIGBUS. There is no
/// way back from the middle of an access, so the process says so and ends with a code of its own.
pub fn end_on_sigbus() {
    if let Err(error) = vmm_sys_util::signal::register_signal_handler(libc::SIGBUS, on_sigbus) {
        log::warn!("cannot install a SIGBUS handler: {error}");
    }
}

extern "C" fn on_sigbus(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    const MESSAGE: &[u8] = b"vhost-user-vgpu: SIGBUS: memory of the VM vanished under the backend \
        (its file was truncated); use memory-backend-memfd, which is sealed against it\n";
    // SAFETY: write and _exit may be called from a signal handler; the buffer is static.
    unsafe {
        libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
        libc::_exit(i32::from(exit::SIGBUS))
    }
}

/// Allows as many open files as the administrator lets us have: memory regions and sessions take some each.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        log::debug!("cannot raise the limit of open files: {error}");
    }
}

/// Has the child's mappings grow from the bottom of the address space, where other processes have none:
/// a driver gives GPU memory addresses of this kind, and in the client, where they are addresses of the
/// GPU too, they must not be those of its own memory.
pub fn map_from_bottom(command: &mut Command) {
    let hook = || {
        // SAFETY: the call only changes flags of this process; the second one adds to what the first says.
        unsafe {
            let flags = libc::personality(0xffff_ffff);
            libc::personality(flags as libc::c_ulong | libc::ADDR_COMPAT_LAYOUT as libc::c_ulong);
        }
        Ok(())
    };
    // SAFETY: the hook makes system calls and allocates nothing, as it must between fork and exec.
    unsafe { command.pre_exec(hook) };
}

/// Takes over a descriptor number that nothing else in this process owns.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass numbers inherited from the parent process or given up by their owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes over an inherited listening socket.
pub fn inherited_listener(fd: RawFd) -> UnixListener {
    UnixListener::from(own(fd))
}
