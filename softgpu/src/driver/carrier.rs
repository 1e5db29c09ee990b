//! Functions beside those of CUDA, for whoever carries handles of memory and events from one process to
//! another: the descriptor behind a handle goes with it. The library exports them by their names here.

use std::os::fd::{IntoRawFd, RawFd};

use vgpu_protocol::cuda::IPC_HANDLE_SIZE;

use super::core;
pub use super::core::Liveness;

/// `vgpuIpcDescriptor`.
pub type Descriptor = unsafe extern "C" fn(*const [u8; IPC_HANDLE_SIZE]) -> RawFd;
/// `vgpuIpcRelocate`.
pub type Relocate = unsafe extern "C" fn(*mut [u8; IPC_HANDLE_SIZE], RawFd);
/// `vgpuIpcLiveness`.
pub type SetLiveness = extern "C" fn(Liveness);

/// A new descriptor of what a handle that this process has made stands for, to be given to another process;
/// -1 if there is none.
///
/// # Safety
/// `handle` is readable.
pub unsafe extern "C" fn vgpuIpcDescriptor(handle: *const [u8; IPC_HANDLE_SIZE]) -> RawFd {
    // SAFETY: as the caller says.
    core::descriptor(&unsafe { handle.read() }).map_or(-1, IntoRawFd::into_raw_fd)
}

/// Changes a handle of another process to what it is where `descriptor`, which came with it, is open.
///
/// # Safety
/// `handle` is readable and writable.
pub unsafe extern "C" fn vgpuIpcRelocate(handle: *mut [u8; IPC_HANDLE_SIZE], descriptor: RawFd) {
    // SAFETY: as the caller says.
    unsafe { handle.write(core::relocate(&handle.read(), descriptor)) }
}

/// Sets how it is found out whether a process lives that this one shares events with; the first call counts.
/// Without one the kernel is asked.
pub extern "C" fn vgpuIpcLiveness(lives: Liveness) {
    core::set_liveness(lives);
}
