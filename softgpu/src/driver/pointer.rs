//! What the driver knows about a pointer.

use std::ffi::c_void;

use vgpu_engine::memory::Mapping;
use vgpu_protocol::cuda::{CUresult, ACCESS_READ_WRITE, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST};

use super::abi::{bytes, bytes_out, guard, values};
use super::core::{current, driver, Allocation, Driver, Kind, Result};
use super::vmm::access_flags;

/// Attributes of a pointer (`CUpointer_attribute`).
const CONTEXT: i32 = 1;
const MEMORY_TYPE: i32 = 2;
const DEVICE_POINTER: i32 = 3;
const HOST_POINTER: i32 = 4;
const SYNC_MEMOPS: i32 = 6;
const BUFFER_ID: i32 = 7;
const IS_MANAGED: i32 = 8;
const DEVICE_ORDINAL: i32 = 9;
const IS_LEGACY_IPC_CAPABLE: i32 = 10;
const RANGE_START_ADDR: i32 = 11;
const RANGE_SIZE: i32 = 12;
const MAPPED: i32 = 13;
const ALLOWED_HANDLE_TYPES: i32 = 14;
const IS_GPU_DIRECT_RDMA_CAPABLE: i32 = 15;
const ACCESS_FLAGS: i32 = 16;
const MEMPOOL_HANDLE: i32 = 17;
const MAPPING_SIZE: i32 = 18;
const MAPPING_BASE_ADDR: i32 = 19;
const MEMORY_BLOCK_ID: i32 = 20;
const IS_HW_DECOMPRESS_CAPABLE: i32 = 21;
const LOCALITY_DOMAIN_ORDINAL: i32 = 22;

/// Device ordinal of a pointer that belongs to no device.
const NO_DEVICE: i32 = -2;
const NO_DOMAIN: i32 = -1;
/// There are not more attributes than this, so a longer list repeats itself.
const ATTRIBUTES_MAX: usize = 64;

/// An attribute of a pointer into device memory, host memory of the driver or registered host memory.
/// Other pointers are `CUDA_ERROR_INVALID_VALUE`.
pub unsafe extern "C" fn cuPointerGetAttribute(data: *mut c_void, attribute: i32, ptr: u64) -> CUresult {
    guard(|| {
        let known = Known::at(current()?.driver, ptr).ok_or(CUresult::INVALID_VALUE)?;
        let value = known.value(attribute)?;
        // SAFETY: null or a place of the attribute's type, by the driver API's contract.
        unsafe { bytes_out(data, value.bytes()) }
    })
}

/// Several attributes. Pointers that the driver does not know have type 0 and no error.
pub unsafe extern "C" fn cuPointerGetAttributes(
    numAttributes: u32,
    attributes: *const i32,
    data: *mut *mut c_void,
    ptr: u64,
) -> CUresult {
    guard(|| {
        let count = numAttributes as usize;
        if count > ATTRIBUTES_MAX || attributes.is_null() || data.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: null or `numAttributes` readable values each, by the driver API's contract.
        let (attributes, data) = unsafe { (values(attributes, count)?, values(data.cast_const(), count)?) };
        let known = Known::at(driver()?, ptr);
        for (attribute, data) in attributes.iter().zip(data) {
            let value = match &known {
                // Device memory has no host pointer, which is no error here.
                Some(known) if *attribute == HOST_POINTER => known.value(HOST_POINTER).unwrap_or(Value::long(0)),
                Some(known) => known.value(*attribute)?,
                None => unknown(*attribute)?,
            };
            // SAFETY: null or a place of the attribute's type, by the driver API's contract.
            unsafe { bytes_out(*data, value.bytes()) }?;
        }
        Ok(())
    })
}

/// Sets the one attribute that can be set, a boolean: calls that concern the range wait for their work.
pub unsafe extern "C" fn cuPointerSetAttribute(value: *const c_void, attribute: i32, ptr: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or a boolean, whose low byte comes first.
        let value = unsafe { bytes(value, 1) }?;
        let driver = current()?.driver;
        let range = driver.range_of(ptr).ok_or(CUresult::INVALID_VALUE)?;
        if attribute != SYNC_MEMOPS {
            return Err(CUresult::INVALID_VALUE);
        }
        driver.allocations.set_synchronous(range.base, value != [0]);
        Ok(())
    })
}

/// What there is at a pointer.
struct Known {
    pointer: u64,
    range: Allocation,
    /// Physical memory, in a reserved range.
    mapping: Option<Mapping>,
    /// Number of the device to which it belongs.
    device: usize,
    synchronous: bool,
}

impl Known {
    fn at(driver: &Driver, pointer: u64) -> Option<Known> {
        let range = driver.range_of(pointer)?;
        let mapping = driver.memory.mapping_of(pointer);
        let synchronous = driver.allocations.is_synchronous(range.base);
        let of_context = || driver.contexts.get(range.context).map(|context| context.device.index());
        let device = match &mapping {
            Some(mapping) => mapping.physical.device(),
            None => driver.memory.device_of(range.base).or_else(of_context).unwrap_or(0),
        };
        Some(Known { pointer, range, mapping, device, synchronous })
    }

    fn value(&self, attribute: i32) -> Result<Value> {
        let (range, mapping) = (&self.range, self.mapping.as_ref());
        let reserved = matches!(range.kind, Kind::Reserved);
        Ok(match attribute {
            CONTEXT => match range.kind {
                // This memory is the device's, not a context's.
                Kind::Pool(_) | Kind::Reserved | Kind::Imported(Some(_)) => Value::long(0),
                _ => Value::long(range.context),
            },
            MEMORY_TYPE if range.is_host() => Value::word(MEMORYTYPE_HOST as i32),
            MEMORY_TYPE => Value::word(MEMORYTYPE_DEVICE as i32),
            DEVICE_POINTER => Value::long(self.pointer),
            HOST_POINTER if range.is_for_host() => Value::long(self.pointer),
            HOST_POINTER => return Err(CUresult::INVALID_VALUE),
            SYNC_MEMOPS => Value::flag(self.synchronous),
            BUFFER_ID => Value::long(range.id),
            IS_MANAGED => Value::flag(range.is_managed()),
            DEVICE_ORDINAL => Value::word(self.device as i32),
            IS_LEGACY_IPC_CAPABLE => Value::flag(matches!(range.kind, Kind::Device)),
            IS_GPU_DIRECT_RDMA_CAPABLE | IS_HW_DECOMPRESS_CAPABLE => Value::flag(false),
            RANGE_START_ADDR => Value::long(range.base),
            RANGE_SIZE => Value::long(range.size),
            MAPPED if reserved && mapping.is_none() => return Err(CUresult::INVALID_VALUE),
            MAPPED => Value::flag(true),
            ALLOWED_HANDLE_TYPES => match &range.kind {
                Kind::Pool(pool) => Value::long(pool.file().is_some().into()),
                Kind::Reserved => Value::long(mapping.is_some_and(|m| m.physical.file().is_some()).into()),
                _ => Value::long(0),
            },
            ACCESS_FLAGS if reserved => {
                Value::word(mapping.map_or(0, |m| access_flags(m.access(current_device())) as i32))
            }
            ACCESS_FLAGS => Value::word(ACCESS_READ_WRITE as i32),
            MEMPOOL_HANDLE => match &range.kind {
                Kind::Pool(pool) | Kind::Imported(Some(pool)) => Value::long(pool.handle),
                _ => Value::long(0),
            },
            MAPPING_SIZE if reserved => Value::long(mapping.map_or(0, |m| m.range.size)),
            MAPPING_SIZE => Value::long(range.size),
            MAPPING_BASE_ADDR if reserved => Value::long(mapping.map_or(0, |m| m.range.base)),
            MAPPING_BASE_ADDR => Value::long(range.base),
            MEMORY_BLOCK_ID => Value::long(mapping.map_or(range.id, |m| m.physical.id())),
            LOCALITY_DOMAIN_ORDINAL => Value::word(NO_DOMAIN),
            _ => return Err(CUresult::INVALID_VALUE),
        })
    }
}

/// Number of the current context's device.
fn current_device() -> usize {
    current().map_or(0, |context| context.device.index())
}

/// Attributes of a pointer that the driver does not know.
fn unknown(attribute: i32) -> Result<Value> {
    Ok(match attribute {
        DEVICE_ORDINAL => Value::word(NO_DEVICE),
        LOCALITY_DOMAIN_ORDINAL => Value::word(NO_DOMAIN),
        MEMORY_TYPE
        | SYNC_MEMOPS
        | IS_MANAGED
        | IS_LEGACY_IPC_CAPABLE
        | MAPPED
        | IS_GPU_DIRECT_RDMA_CAPABLE
        | ACCESS_FLAGS
        | IS_HW_DECOMPRESS_CAPABLE => Value::word(0),
        CONTEXT | DEVICE_POINTER | HOST_POINTER | BUFFER_ID | RANGE_START_ADDR | RANGE_SIZE | ALLOWED_HANDLE_TYPES
        | MEMPOOL_HANDLE | MAPPING_SIZE | MAPPING_BASE_ADDR | MEMORY_BLOCK_ID => Value::long(0),
        _ => return Err(CUresult::INVALID_VALUE),
    })
}

/// A value in the attribute's own width; booleans are as wide as `int`.
enum Value {
    Word([u8; 4]),
    Long([u8; 8]),
}

impl Value {
    fn word(value: i32) -> Value {
        Value::Word(value.to_ne_bytes())
    }

    fn flag(value: bool) -> Value {
        Value::word(i32::from(value))
    }

    fn long(value: u64) -> Value {
        Value::Long(value.to_ne_bytes())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Value::Word(bytes) => bytes,
            Value::Long(bytes) => bytes,
        }
    }
}
