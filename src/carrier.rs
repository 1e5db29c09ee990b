//! What has to go with handles of memory and events when another process is to open them. NVIDIA's need
//! nothing; with those of the software GPU, built in or loaded by path, goes a descriptor.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use vgpu_protocol::cuda::IPC_HANDLE_SIZE;
use vgpu_softgpu::carrier::{self, Descriptor, Liveness, Relocate, SetLiveness};

/// The executor's functions for it.
pub struct Carrier {
    /// `vgpuIpcDescriptor`.
    pub descriptor: Descriptor,
    /// `vgpuIpcRelocate`.
    pub relocate: Relocate,
    /// `vgpuIpcLiveness`.
    pub set_liveness: SetLiveness,
}

static CARRIER: OnceLock<Carrier> = OnceLock::new();

/// The executor has these functions.
pub fn set(carrier: Carrier) {
    let _ = CARRIER.set(carrier);
}

/// The executor is the software GPU that is built in.
pub fn set_built_in() {
    set(Carrier {
        descriptor: carrier::vgpuIpcDescriptor,
        relocate: carrier::vgpuIpcRelocate,
        set_liveness: carrier::vgpuIpcLiveness,
    });
}

/// The descriptor that goes with a handle, if one does.
pub fn descriptor(handle: &[u8; IPC_HANDLE_SIZE]) -> Option<OwnedFd> {
    let carrier = CARRIER.get()?;
    // SAFETY: the handle is readable.
    let fd = unsafe { (carrier.descriptor)(handle) };
    (fd >= 0).then(|| crate::sys::own(fd))
}

/// A handle of another process as it is where the descriptor that came with it is open.
pub fn relocate(mut handle: [u8; IPC_HANDLE_SIZE], descriptor: &OwnedFd) -> [u8; IPC_HANDLE_SIZE] {
    if let Some(carrier) = CARRIER.get() {
        // SAFETY: the handle is a local.
        unsafe { (carrier.relocate)(&mut handle, descriptor.as_raw_fd()) };
    }
    handle
}

/// Sets how the executor finds out whether another process lives: it may not look itself.
pub fn set_liveness(lives: Liveness) {
    if let Some(carrier) = CARRIER.get() {
        (carrier.set_liveness)(lives);
    }
}
