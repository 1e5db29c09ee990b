//! The devices.

use std::ffi::c_char;

use vgpu_protocol::cuda::attribute as id;
use vgpu_protocol::cuda::{p2p_attribute, CUdevResource, CUdevprop, CUresult, CUuuid};

use super::abi::{guard, name as text_of, out, values_mut};
use super::core::{device_attribute, driver, Device, Result};

/// The device of an ordinal.
pub unsafe extern "C" fn cuDeviceGet(device: *mut i32, ordinal: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let device = unsafe { out(device) }?;
        driver()?.device(ordinal)?;
        device.write(ordinal);
        Ok(())
    })
}

/// Number of devices.
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let count = unsafe { out(count) }?;
        let count_of = driver()?.devices.len();
        count.write(i32::try_from(count_of).unwrap_or(i32::MAX));
        Ok(())
    })
}

/// The device's name, cut to `len` bytes with its NUL.
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: i32, dev: i32) -> CUresult {
    guard(|| {
        let driver = driver()?;
        driver.device(dev)?;
        // SAFETY: null or `len` writable bytes, by the driver API's contract.
        unsafe { put_text(name, len, &driver.name) }
    })
}

/// Fills a buffer of `len` bytes with a text, cut if it must be, and zeros.
///
/// # Safety
/// `buffer` is null or has `len` writable bytes.
unsafe fn put_text(buffer: *mut c_char, len: i32, text: &str) -> Result {
    let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: as the caller says.
    let buffer = unsafe { values_mut(buffer.cast::<u8>(), len) }?;
    buffer.fill(0);
    let text = text.bytes().take(len - 1);
    buffer.iter_mut().zip(text).for_each(|(to, from)| *to = from);
    Ok(())
}

/// The device's UUID.
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut CUuuid, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let uuid = unsafe { out(uuid) }?;
        uuid.write(CUuuid { bytes: driver()?.device(dev)?.uuid });
        Ok(())
    })
}

/// Device memory, bytes.
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let bytes = unsafe { out(bytes) }?;
        bytes.write(driver()?.device(dev)?.memory.info().total as usize);
        Ok(())
    })
}

/// An attribute (`CUdevice_attribute`); unknown numbers are `CUDA_ERROR_INVALID_VALUE`.
pub unsafe extern "C" fn cuDeviceGetAttribute(pi: *mut i32, attrib: i32, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pi = unsafe { out(pi) }?;
        let driver = driver()?;
        pi.write(device_attribute(driver, driver.device(dev)?, attrib).ok_or(CUresult::INVALID_VALUE)?);
        Ok(())
    })
}

/// As `cuDeviceGetUuid_v2`.
pub unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut CUuuid, dev: i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuDeviceGetUuid_v2(uuid, dev) }
}

/// LUIDs exist on Windows only.
pub unsafe extern "C" fn cuDeviceGetLuid(luid: *mut c_char, deviceNodeMask: *mut u32, dev: i32) -> CUresult {
    guard(|| {
        driver()?.device(dev)?;
        match luid.is_null() || deviceNodeMask.is_null() {
            true => Err(CUresult::INVALID_VALUE),
            false => Err(CUresult::NOT_SUPPORTED),
        }
    })
}

/// The compute capability.
pub unsafe extern "C" fn cuDeviceComputeCapability(major: *mut i32, minor: *mut i32, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (major, minor) = unsafe { (out(major)?, out(minor)?) };
        let driver = driver()?;
        driver.device(dev)?;
        major.write(driver.config.capability.0);
        minor.write(driver.config.capability.1);
        Ok(())
    })
}

/// The properties that CUDA 2 had.
pub unsafe extern "C" fn cuDeviceGetProperties(prop: *mut CUdevprop, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(prop) }?;
        let driver = driver()?;
        let device = driver.device(dev)?;
        let get = |attribute| device_attribute(driver, device, attribute).unwrap_or(0);
        place.write(CUdevprop {
            maxThreadsPerBlock: get(id::MAX_THREADS_PER_BLOCK),
            maxThreadsDim: [id::MAX_BLOCK_DIM_X, id::MAX_BLOCK_DIM_Y, id::MAX_BLOCK_DIM_Z].map(get),
            maxGridSize: [id::MAX_GRID_DIM_X, id::MAX_GRID_DIM_Y, id::MAX_GRID_DIM_Z].map(get),
            sharedMemPerBlock: get(id::MAX_SHARED_MEMORY_PER_BLOCK),
            totalConstantMemory: get(id::TOTAL_CONSTANT_MEMORY),
            SIMDWidth: get(id::WARP_SIZE),
            memPitch: get(id::MAX_PITCH),
            regsPerBlock: get(id::MAX_REGISTERS_PER_BLOCK),
            clockRate: get(id::CLOCK_RATE),
            textureAlign: get(id::TEXTURE_ALIGNMENT),
        });
        Ok(())
    })
}

fn bus_id(device: &Device) -> String {
    let (domain, bus, slot) = device.pci;
    format!("{domain:04x}:{bus:02x}:{slot:02x}.0")
}

/// Where the device claims to be.
pub unsafe extern "C" fn cuDeviceGetPCIBusId(pciBusId: *mut c_char, len: i32, dev: i32) -> CUresult {
    guard(|| {
        let device = driver()?.device(dev)?;
        // SAFETY: null or `len` writable bytes, by the driver API's contract.
        unsafe { put_text(pciBusId, len, &bus_id(device)) }
    })
}

/// The device at a place, written as `[domain:]bus:device[.function]`, in hexadecimal digits.
pub unsafe extern "C" fn cuDeviceGetByPCIBusId(dev: *mut i32, pciBusId: *const c_char) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (dev, text) = unsafe { (out(dev)?, text_of(pciBusId)?) };
        let devices = &driver()?.devices;
        let place = text.split_once('.').map_or(text, |(place, _)| place);
        let numbers = place.split(':').map(|part| i32::from_str_radix(part, 16).map_err(|_| CUresult::INVALID_VALUE));
        let found = match numbers.collect::<Result<Vec<_>>>()?[..] {
            [bus, slot] => (0, bus, slot),
            [domain, bus, slot] => (domain, bus, slot),
            _ => return Err(CUresult::INVALID_VALUE),
        };
        let device = devices.iter().find(|device| device.pci == found).ok_or(CUresult::INVALID_DEVICE)?;
        dev.write(device.ordinal);
        Ok(())
    })
}

/// All other devices are peers of a device; it is not one to itself.
pub unsafe extern "C" fn cuDeviceCanAccessPeer(canAccessPeer: *mut i32, dev: i32, peerDev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let can = unsafe { out(canAccessPeer) }?;
        let driver = driver()?;
        can.write(i32::from(driver.device(dev)?.ordinal != driver.device(peerDev)?.ordinal));
        Ok(())
    })
}

/// All devices reach each other's memory and arrays alike, with atomic operations.
pub unsafe extern "C" fn cuDeviceGetP2PAttribute(
    value: *mut i32,
    attrib: i32,
    srcDevice: i32,
    dstDevice: i32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let value = unsafe { out(value) }?;
        let driver = driver()?;
        if driver.device(srcDevice)?.ordinal == driver.device(dstDevice)?.ordinal {
            return Err(CUresult::INVALID_DEVICE);
        }
        value.write(match attrib {
            p2p_attribute::PERFORMANCE_RANK | p2p_attribute::ONLY_PARTIAL_NATIVE_ATOMIC => 0,
            p2p_attribute::ACCESS | p2p_attribute::NATIVE_ATOMIC | p2p_attribute::CUDA_ARRAY_ACCESS => 1,
            _ => return Err(CUresult::INVALID_VALUE),
        });
        Ok(())
    })
}

/// `CU_EXEC_AFFINITY_TYPE_SM_COUNT`, the only one, is not supported.
pub unsafe extern "C" fn cuDeviceGetExecAffinitySupport(pi: *mut i32, exec_type: i32, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let supported = unsafe { out(pi) }?;
        driver()?.device(dev)?;
        if exec_type != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        supported.write(0);
        Ok(())
    })
}

/// All multiprocessors: they are not partitioned.
pub unsafe extern "C" fn cuDeviceGetDevResource(device: i32, resource: *mut CUdevResource, kind: i32) -> CUresult {
    guard(|| {
        driver()?.device(device)?;
        // SAFETY: null or writable, by the driver API's contract.
        unsafe { put_resource(resource, kind) }
    })
}

/// Tells of all that a device has, which is the same for each.
///
/// # Safety
/// `resource` is null or writable.
pub(super) unsafe fn put_resource(resource: *mut CUdevResource, kind: i32) -> Result {
    // SAFETY: as the caller says.
    let resource = unsafe { out(resource) }?;
    let driver = driver()?;
    let multiprocessors = device_attribute(driver, driver.device(0)?, id::MULTIPROCESSOR_COUNT);
    let multiprocessors = multiprocessors.ok_or(CUresult::UNKNOWN)?;
    resource.write(CUdevResource::whole(kind, multiprocessors)?);
    Ok(())
}

/// Widest linear memory that a one-dimensional texture of this format can cover, in elements.
pub unsafe extern "C" fn cuDeviceGetTexture1DLinearMaxWidth(
    maxWidthInElements: *mut usize,
    format: i32,
    numChannels: u32,
    dev: i32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let width = unsafe { out(maxWidthInElements) }?;
        let driver = driver()?;
        let device = driver.device(dev)?;
        // Integers of 8, 16 and 32 bits with and without sign, half and single floats.
        if !matches!((format, numChannels), (0x01..=0x03 | 0x08..=0x0a | 0x10 | 0x20, 1 | 2 | 4)) {
            return Err(CUresult::INVALID_VALUE);
        }
        let most = device_attribute(driver, device, id::MAXIMUM_TEXTURE1D_LINEAR_WIDTH).unwrap_or(0);
        width.write(usize::try_from(most).unwrap_or(0));
        Ok(())
    })
}
