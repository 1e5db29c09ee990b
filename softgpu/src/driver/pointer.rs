//! What the driver knows about a pointer.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUresult, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST};

use super::abi::{bytes_out, guard, values};
use super::core::{current, driver, Allocation, Kind, Result};

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

/// `CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE`.
const READ_WRITE: u32 = 3;
/// Device of a pointer that belongs to none.
const NO_DEVICE: i32 = -2;
/// There are not more attributes than this, so a longer list repeats itself.
const ATTRIBUTES_MAX: usize = 64;

/// An attribute of a pointer into device memory or registered host memory. Other pointers are
/// `CUDA_ERROR_INVALID_VALUE`.
pub unsafe extern "C" fn cuPointerGetAttribute(data: *mut c_void, attribute: i32, ptr: u64) -> CUresult {
    guard(|| {
        let range = current()?.driver.range_of(ptr).ok_or(CUresult::INVALID_VALUE)?;
        let value = Value::of(&range, attribute, ptr)?;
        // SAFETY: null or a place of the attribute's type, by the driver API's contract.
        unsafe { bytes_out(data, value.bytes()) }
    })
}

/// Several attributes. Of a pointer that belongs to no range they are 0, which is no error; nor has
/// device memory a host pointer.
pub unsafe extern "C" fn cuPointerGetAttributes(
    numAttributes: u32,
    attributes: *const i32,
    data: *mut *mut c_void,
    ptr: u64,
) -> CUresult {
    guard(|| {
        let range = driver()?.range_of(ptr);
        let count = numAttributes as usize;
        if count > ATTRIBUTES_MAX || attributes.is_null() || data.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: null or arrays of that many elements, by the driver API's contract.
        let (attributes, data) = unsafe { (values(attributes, count)?, values(data.cast_const(), count)?) };
        for (attribute, place) in attributes.iter().zip(data) {
            let value = match &range {
                Some(range) if *attribute == HOST_POINTER && !range.is_for_host() => Value::Long([0; 8]),
                Some(range) => Value::of(range, *attribute, ptr)?,
                None => Value::unregistered(*attribute)?,
            };
            // SAFETY: null or a place of the attribute's type, by the driver API's contract.
            unsafe { bytes_out(*place, value.bytes()) }?;
        }
        Ok(())
    })
}

/// A value in the attribute's own width.
enum Value {
    Flag(bool),
    Word([u8; 4]),
    Long([u8; 8]),
}

impl Value {
    fn of(range: &Allocation, attribute: i32, pointer: u64) -> Result<Value> {
        let long = |value: u64| Value::Long(value.to_ne_bytes());
        let word = |value: u32| Value::Word(value.to_ne_bytes());
        Ok(match attribute {
            CONTEXT if matches!(range.kind, Kind::Pool(_)) => long(0),
            CONTEXT => long(range.context),
            MEMORY_TYPE => word(if range.is_host() { MEMORYTYPE_HOST } else { MEMORYTYPE_DEVICE }),
            HOST_POINTER if !range.is_for_host() => return Err(CUresult::INVALID_VALUE),
            DEVICE_POINTER | HOST_POINTER => long(pointer),
            BUFFER_ID => long(range.id),
            RANGE_START_ADDR => long(range.base),
            RANGE_SIZE => long(range.size),
            DEVICE_ORDINAL => word(0),
            MAPPED => Value::Flag(true),
            IS_MANAGED => Value::Flag(matches!(range.kind, Kind::Managed)),
            SYNC_MEMOPS | IS_LEGACY_IPC_CAPABLE | IS_GPU_DIRECT_RDMA_CAPABLE => Value::Flag(false),
            MEMPOOL_HANDLE => match &range.kind {
                Kind::Pool(pool) => long(pool.handle),
                _ => long(0),
            },
            ALLOWED_HANDLE_TYPES => long(0),
            ACCESS_FLAGS => word(READ_WRITE),
            _ => return Err(CUresult::NOT_SUPPORTED),
        })
    }

    fn unregistered(attribute: i32) -> Result<Value> {
        Ok(match attribute {
            CONTEXT | DEVICE_POINTER | HOST_POINTER | BUFFER_ID | RANGE_START_ADDR | RANGE_SIZE
            | ALLOWED_HANDLE_TYPES | MEMPOOL_HANDLE => Value::Long([0; 8]),
            MEMORY_TYPE | ACCESS_FLAGS => Value::Word([0; 4]),
            DEVICE_ORDINAL => Value::Word(NO_DEVICE.to_ne_bytes()),
            SYNC_MEMOPS | IS_MANAGED | IS_LEGACY_IPC_CAPABLE | MAPPED | IS_GPU_DIRECT_RDMA_CAPABLE => {
                Value::Flag(false)
            }
            _ => return Err(CUresult::INVALID_VALUE),
        })
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Value::Flag(false) => &[0],
            Value::Flag(true) => &[1],
            Value::Word(bytes) => bytes,
            Value::Long(bytes) => bytes,
        }
    }
}
