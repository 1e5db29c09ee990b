//! The device.

use std::ffi::c_char;

use vgpu_protocol::cuda::{CUresult, CUuuid};

use super::abi::{guard, out, values_mut};
use super::core::{device_attribute, driver};

/// The device of an ordinal; there is one, 0.
pub unsafe extern "C" fn cuDeviceGet(device: *mut i32, ordinal: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let device = unsafe { out(device) }?;
        driver()?.check_device(ordinal)?;
        device.write(ordinal);
        Ok(())
    })
}

/// Number of devices.
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let count = unsafe { out(count) }?;
        driver()?;
        count.write(1);
        Ok(())
    })
}

/// The device's name, cut to `len` bytes with its NUL.
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: i32, dev: i32) -> CUresult {
    guard(|| {
        let driver = driver()?;
        driver.check_device(dev)?;
        let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(CUresult::INVALID_VALUE)?;
        // SAFETY: null or `len` writable bytes, by the driver API's contract.
        let name = unsafe { values_mut(name.cast::<u8>(), len) }?;
        name.fill(0);
        let text = driver.name.bytes().take(len - 1);
        name.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        Ok(())
    })
}

/// The device's UUID.
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut CUuuid, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let uuid = unsafe { out(uuid) }?;
        let driver = driver()?;
        driver.check_device(dev)?;
        uuid.write(CUuuid { bytes: driver.uuid });
        Ok(())
    })
}

/// Device memory, bytes.
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let bytes = unsafe { out(bytes) }?;
        let driver = driver()?;
        driver.check_device(dev)?;
        bytes.write(driver.memory.info().total as usize);
        Ok(())
    })
}

/// An attribute (`CUdevice_attribute`); unknown numbers are `CUDA_ERROR_INVALID_VALUE`.
pub unsafe extern "C" fn cuDeviceGetAttribute(pi: *mut i32, attrib: i32, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pi = unsafe { out(pi) }?;
        let driver = driver()?;
        driver.check_device(dev)?;
        pi.write(device_attribute(driver, attrib).ok_or(CUresult::INVALID_VALUE)?);
        Ok(())
    })
}
