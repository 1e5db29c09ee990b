//! The functions beside those of CUDA.

#![allow(non_snake_case)]

use std::os::fd::RawFd;

use vgpu_protocol::cuda::IPC_HANDLE_SIZE;
use vgpu_softgpu::carrier::{self, Liveness};

/// As documented in [`vgpu_softgpu::carrier`].
#[no_mangle]
unsafe extern "C" fn vgpuIpcDescriptor(handle: *const [u8; IPC_HANDLE_SIZE]) -> RawFd {
    // SAFETY: the contract is the same.
    unsafe { carrier::vgpuIpcDescriptor(handle) }
}

/// As documented in [`vgpu_softgpu::carrier`].
#[no_mangle]
unsafe extern "C" fn vgpuIpcRelocate(handle: *mut [u8; IPC_HANDLE_SIZE], descriptor: RawFd) {
    // SAFETY: the contract is the same.
    unsafe { carrier::vgpuIpcRelocate(handle, descriptor) }
}

/// As documented in [`vgpu_softgpu::carrier`].
#[no_mangle]
extern "C" fn vgpuIpcLiveness(lives: Liveness) {
    carrier::vgpuIpcLiveness(lives);
}
