//! Devices: everything was fetched at `cuInit`.

use std::ffi::c_char;

use vgpu_client::location;
use vgpu_protocol::cuda::{attribute as attr, CUdevResource, CUdevprop, CUresult, CUuuid, HANDLE_TYPE_FILE_DESCRIPTOR};
use vgpu_protocol::{PeerInfo, ATTRIBUTE_UNKNOWN};

use super::Result;
use crate::driver::{driver, Driver};
use crate::stub::{bytes_mut, check_out, give, string};

/// Capabilities that executors may have and this library does not pass on.
const WITHHELD: &[i32] = &[
    attr::PAGEABLE_MEMORY_ACCESS,
    attr::CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
    attr::HOST_REGISTER_SUPPORTED,
    attr::PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
    attr::GPU_DIRECT_RDMA_SUPPORTED,
    attr::GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
    attr::SPARSE_CUDA_ARRAY_SUPPORTED,
    attr::READ_ONLY_HOST_REGISTER_SUPPORTED,
    attr::CAN_FLUSH_REMOTE_WRITES,
    attr::ATOMIC_REDUCTION_SUPPORTED,
    attr::COOPERATIVE_MULTI_DEVICE_LAUNCH,
    attr::DMA_BUF_SUPPORTED,
    attr::HANDLE_TYPE_FABRIC_SUPPORTED,
    attr::UNIFIED_FUNCTION_POINTERS,
    attr::MULTICAST_SUPPORTED,
];

fn value(driver: &Driver, attribute: i32, dev: i32) -> std::result::Result<i32, CUresult> {
    let value = driver.attribute(dev, attribute)?;
    Ok(match attribute {
        attr::MEMPOOL_SUPPORTED_HANDLE_TYPES => value & HANDLE_TYPE_FILE_DESCRIPTOR,
        _ if WITHHELD.contains(&attribute) => 0,
        _ => value,
    })
}

pub unsafe fn cuDeviceGetCount(count: *mut i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(count, driver()?.device_count()) }
}

pub unsafe fn cuDeviceGet(device: *mut i32, ordinal: i32) -> Result {
    driver()?.device(ordinal)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(device, ordinal) }
}

/// Copies `text` and a NUL into a buffer of `len` bytes, cut if it must be.
///
/// # Safety
/// `buffer` is null or valid for `len` bytes.
unsafe fn put_text(buffer: *mut c_char, len: i32, text: &[u8]) -> Result {
    let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: the caller vouches for the buffer.
    let buffer = unsafe { bytes_mut(buffer.cast(), len)? };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    buffer.fill(0);
    for (to, from) in buffer.iter_mut().take(len - 1).zip(text) {
        *to = *from;
    }
    Ok(())
}

pub unsafe fn cuDeviceGetName(name: *mut c_char, len: i32, dev: i32) -> Result {
    // SAFETY: the caller vouches for the buffer.
    unsafe { put_text(name, len, &driver()?.device(dev)?.name) }
}

pub unsafe fn cuDeviceGetUuid(uuid: *mut CUuuid, dev: i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(uuid, CUuuid { bytes: driver()?.device(dev)?.uuid }) }
}

pub unsafe fn cuDeviceGetUuid_v2(uuid: *mut CUuuid, dev: i32) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuDeviceGetUuid(uuid, dev) }
}

/// LUIDs exist on Windows only.
pub unsafe fn cuDeviceGetLuid(luid: *mut c_char, mask: *mut u32, dev: i32) -> Result {
    driver()?.device(dev)?;
    check_out(luid)?;
    check_out(mask)?;
    Err(CUresult::NOT_SUPPORTED)
}

pub unsafe fn cuDeviceTotalMem_v2(bytes: *mut usize, dev: i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(bytes, driver()?.device(dev)?.total_memory as usize) }
}

pub unsafe fn cuDeviceGetAttribute(pi: *mut i32, attribute: i32, dev: i32) -> Result {
    let value = value(driver()?, attribute, dev)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pi, value) }
}

pub unsafe fn cuDeviceComputeCapability(major: *mut i32, minor: *mut i32, dev: i32) -> Result {
    let driver = driver()?;
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        give(major, value(driver, attr::COMPUTE_CAPABILITY_MAJOR, dev)?)?;
        give(minor, value(driver, attr::COMPUTE_CAPABILITY_MINOR, dev)?)
    }
}

pub unsafe fn cuDeviceGetProperties(prop: *mut CUdevprop, dev: i32) -> Result {
    let driver = driver()?;
    let get = |attribute| value(driver, attribute, dev);
    let properties = CUdevprop {
        maxThreadsPerBlock: get(attr::MAX_THREADS_PER_BLOCK)?,
        maxThreadsDim: [get(attr::MAX_BLOCK_DIM_X)?, get(attr::MAX_BLOCK_DIM_Y)?, get(attr::MAX_BLOCK_DIM_Z)?],
        maxGridSize: [get(attr::MAX_GRID_DIM_X)?, get(attr::MAX_GRID_DIM_Y)?, get(attr::MAX_GRID_DIM_Z)?],
        sharedMemPerBlock: get(attr::MAX_SHARED_MEMORY_PER_BLOCK)?,
        totalConstantMemory: get(attr::TOTAL_CONSTANT_MEMORY)?,
        SIMDWidth: get(attr::WARP_SIZE)?,
        memPitch: get(attr::MAX_PITCH)?,
        regsPerBlock: get(attr::MAX_REGISTERS_PER_BLOCK)?,
        clockRate: get(attr::CLOCK_RATE)?,
        textureAlign: get(attr::TEXTURE_ALIGNMENT)?,
    };
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(prop, properties) }
}

/// PCI domain, bus and device.
fn identity(driver: &Driver, dev: i32) -> std::result::Result<[i32; 3], CUresult> {
    let get = |attribute| driver.attribute(dev, attribute);
    Ok([get(attr::PCI_DOMAIN_ID)?, get(attr::PCI_BUS_ID)?, get(attr::PCI_DEVICE_ID)?])
}

pub unsafe fn cuDeviceGetPCIBusId(text: *mut c_char, len: i32, dev: i32) -> Result {
    let [domain, bus, device] = identity(driver()?, dev)?;
    // SAFETY: the caller vouches for the buffer.
    unsafe { put_text(text, len, format!("{domain:04x}:{bus:02x}:{device:02x}.0").as_bytes()) }
}

pub unsafe fn cuDeviceGetByPCIBusId(dev: *mut i32, text: *const c_char) -> Result {
    let driver = driver()?;
    // SAFETY: the caller vouches for the string.
    let wanted = location::parse(unsafe { string(text)? }).ok_or(CUresult::INVALID_VALUE)?;
    let wanted = wanted.map(|number| number as i32);
    let found = (0..driver.device_count()).find(|dev| identity(driver, *dev) == Ok(wanted));
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(dev, found.ok_or(CUresult::INVALID_DEVICE)?) }
}

/// What a device can do with the memory of another.
fn peer(dev: i32, peer: i32) -> std::result::Result<PeerInfo, CUresult> {
    let driver = driver()?;
    driver.device(peer)?;
    let index = usize::try_from(peer).map_err(|_| CUresult::INVALID_DEVICE)?;
    Ok(driver.device(dev)?.peers.get(index).copied().unwrap_or(PeerInfo::NONE))
}

pub unsafe fn cuDeviceCanAccessPeer(can: *mut i32, dev: i32, peer_dev: i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(can, peer(dev, peer_dev)?.can_access) }
}

pub unsafe fn cuDeviceGetP2PAttribute(value: *mut i32, attribute: i32, from: i32, to: i32) -> Result {
    let peer = peer(from, to)?;
    if from == to {
        return Err(CUresult::INVALID_DEVICE);
    }
    let index = usize::try_from(attribute).ok().and_then(|number| number.checked_sub(1));
    let told = index.and_then(|index| peer.attributes.get(index)).copied();
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(value, told.filter(|told| *told != ATTRIBUTE_UNKNOWN).ok_or(CUresult::INVALID_VALUE)?) }
}

/// `CU_EXEC_AFFINITY_TYPE_SM_COUNT`, the only one, needs MPS.
pub unsafe fn cuDeviceGetExecAffinitySupport(supported: *mut i32, kind: i32, dev: i32) -> Result {
    driver()?.device(dev)?;
    if kind != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(supported, 0) }
}

/// All of a device's multiprocessors: they are not partitioned.
pub unsafe fn cuDeviceGetDevResource(device: i32, resource: *mut CUdevResource, kind: i32) -> Result {
    let whole = CUdevResource::whole(kind, value(driver()?, attr::MULTIPROCESSOR_COUNT, device)?)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(resource, whole) }
}

/// The identity that the integrity check covers.
pub fn identities(driver: &Driver) -> impl Iterator<Item = crate::integrity::DeviceIdentity> + '_ {
    (0..driver.device_count()).filter_map(|dev| {
        let uuid = driver.device(dev).ok()?.uuid;
        Some(crate::integrity::DeviceIdentity { uuid, location: identity(driver, dev).ok()? })
    })
}
