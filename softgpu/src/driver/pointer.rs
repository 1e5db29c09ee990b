//! What the driver knows about a pointer.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUresult, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST};

use super::abi::{bytes_out, guard};
use super::core::{current, Allocation, Kind, Result};

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
            HOST_POINTER if !range.is_host() => return Err(CUresult::INVALID_VALUE),
            DEVICE_POINTER | HOST_POINTER => long(pointer),
            BUFFER_ID => long(range.id),
            RANGE_START_ADDR => long(range.base),
            RANGE_SIZE => long(range.size),
            DEVICE_ORDINAL => word(0),
            MAPPED => Value::Flag(true),
            SYNC_MEMOPS | IS_MANAGED | IS_LEGACY_IPC_CAPABLE | IS_GPU_DIRECT_RDMA_CAPABLE => Value::Flag(false),
            MEMPOOL_HANDLE => match &range.kind {
                Kind::Pool(pool) => long(pool.handle),
                _ => long(0),
            },
            ALLOWED_HANDLE_TYPES => long(0),
            ACCESS_FLAGS => word(READ_WRITE),
            _ => return Err(CUresult::NOT_SUPPORTED),
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
