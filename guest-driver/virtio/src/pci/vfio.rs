//! The device's interrupts through `vfio-pci`, where the VM has an IOMMU (the kernel's
//! Documentation/driver-api/vfio.rst).
//!
//! Interrupts are all that it is used for: QEMU's `iommu_platform=off` lets the device reach memory past the IOMMU, at
//! guest-physical addresses, and registers are mapped as ever.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{eventfd, EventfdFlags};
use vfio_ioctls::{VfioContainer, VfioDevice};
use vmm_sys_util::eventfd::EventFd;

use super::sysfs::Function;
use crate::sys;

/// The function, held for its interrupts. When this ends, the kernel resets the function.
pub struct Vfio {
    _device: VfioDevice,
    vector: EventFd,
}

impl Vfio {
    /// Opens a function that `vfio-pci` is bound to, which resets it, and enables its first MSI-X vector.
    pub fn open(function: &Function) -> io::Result<Vfio> {
        let vector = sys::into_eventfd(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let open = || {
            let device = VfioDevice::new(&function.folder(), Arc::new(VfioContainer::new(None)?), false)?;
            device.enable_msix(vec![&vector]).map(|()| device)
        };
        let device = open().map_err(io::Error::other)?;
        Ok(Vfio { _device: device, vector })
    }

    /// What becomes readable with each interrupt.
    pub fn vector(&self) -> io::Result<OwnedFd> {
        Ok(sys::from_eventfd(self.vector.try_clone()?))
    }
}
