//! Structs and constants of memory pools, virtual memory management and memory hints.

use std::ffi::c_void;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `CU_MEM_LOCATION_TYPE_DEVICE`: the location's id is a device.
pub const LOCATION_DEVICE: i32 = 1;
/// `CU_MEM_LOCATION_TYPE_HOST`.
pub const LOCATION_HOST: i32 = 2;
/// `CU_MEM_LOCATION_TYPE_HOST_NUMA`: the location's id is a NUMA node of the host.
pub const LOCATION_HOST_NUMA: i32 = 3;
/// `CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT`.
pub const LOCATION_HOST_NUMA_CURRENT: i32 = 4;
/// `CU_MEM_ALLOCATION_TYPE_PINNED`: memory that does not move.
pub const ALLOCATION_PINNED: i32 = 1;
/// `CU_MEM_ALLOCATION_TYPE_MANAGED`.
pub const ALLOCATION_MANAGED: i32 = 2;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
pub const ACCESS_READ_WRITE: u32 = 3;

/// A memory location.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUmemLocation {
    /// `CUmemLocationType`.
    pub kind: i32,
    pub id: i32,
}

/// Who may access memory at which location.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUmemAccessDesc {
    pub location: CUmemLocation,
    /// `CUmemAccess_flags`.
    pub flags: u32,
}

/// Properties of a memory pool.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, non_snake_case)]
pub struct CUmemPoolProps {
    pub allocType: i32,
    pub handleTypes: i32,
    pub location: CUmemLocation,
    pub win32SecurityAttributes: *mut c_void,
    pub maxSize: usize,
    pub usage: u16,
    pub gpuDirectRDMACapable: u8,
    pub reserved: [u8; 53],
}

/// What one device can do with the memory of another (`CUdevice_P2PAttribute`).
#[allow(missing_docs)]
pub mod p2p_attribute {
    pub const PERFORMANCE_RANK: i32 = 1;
    pub const ACCESS: i32 = 2;
    pub const NATIVE_ATOMIC: i32 = 3;
    pub const CUDA_ARRAY_ACCESS: i32 = 4;
    pub const ONLY_PARTIAL_NATIVE_ATOMIC: i32 = 5;
}

/// Attributes of a memory pool (`CUmemPool_attribute`).
#[allow(missing_docs)]
pub mod pool_attribute {
    pub const REUSE_FOLLOW_EVENT_DEPENDENCIES: i32 = 1;
    pub const REUSE_ALLOW_OPPORTUNISTIC: i32 = 2;
    pub const REUSE_ALLOW_INTERNAL_DEPENDENCIES: i32 = 3;
    pub const RELEASE_THRESHOLD: i32 = 4;
    pub const RESERVED_MEM_CURRENT: i32 = 5;
    pub const RESERVED_MEM_HIGH: i32 = 6;
    pub const USED_MEM_CURRENT: i32 = 7;
    pub const USED_MEM_HIGH: i32 = 8;
    pub const ALLOCATION_TYPE: i32 = 9;
    pub const EXPORT_HANDLE_TYPES: i32 = 10;
    pub const LOCATION_ID: i32 = 11;
    pub const LOCATION_TYPE: i32 = 12;
    pub const MAX_POOL_SIZE: i32 = 13;
    pub const HW_DECOMPRESS_ENABLED: i32 = 14;

    /// Whether a value is a `cuuint64_t` rather than an `int`.
    pub fn is_wide(attribute: i32) -> bool {
        matches!(attribute, RELEASE_THRESHOLD..=USED_MEM_HIGH | MAX_POOL_SIZE)
    }
}

/// Properties of physical memory (`cuMemCreate`).
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, non_snake_case)]
pub struct CUmemAllocationProp {
    /// `CUmemAllocationType`.
    pub kind: i32,
    pub requestedHandleTypes: i32,
    pub location: CUmemLocation,
    pub win32HandleMetaData: *mut c_void,
    pub compressionType: u8,
    pub gpuDirectRDMACapable: u8,
    pub usage: u16,
    pub reserved: [u8; 4],
}

impl CUmemAllocationProp {
    /// Memory of a device, that cannot be exported and has no special use.
    pub fn on_device(dev: i32) -> Self {
        CUmemAllocationProp {
            kind: ALLOCATION_PINNED,
            requestedHandleTypes: 0,
            location: CUmemLocation { kind: LOCATION_DEVICE, id: dev },
            win32HandleMetaData: std::ptr::null_mut(),
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        }
    }
}
