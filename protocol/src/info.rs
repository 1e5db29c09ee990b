//! Plain structs that travel in replies: what the guest fetches once and then answers from.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of device attributes that are fetched: the highest of CUDA 13 and some to come.
pub const DEVICE_ATTRIBUTES: usize = 192;

/// Marks an attribute that the executor does not know.
pub const ATTRIBUTE_UNKNOWN: i32 = i32::MIN;

/// Devices that a session may have.
pub const DEVICES_MAX: usize = 16;

/// Number of attributes of two devices (`CUdevice_P2PAttribute` 1 to 5).
pub const P2P_ATTRIBUTES: usize = 5;

/// What a device can do with the memory of another.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PeerInfo {
    /// `cuDeviceCanAccessPeer`.
    pub can_access: i32,
    /// `cuDeviceGetP2PAttribute` by number less one, [`ATTRIBUTE_UNKNOWN`] where the executor has none.
    pub attributes: [i32; P2P_ATTRIBUTES],
}

impl PeerInfo {
    /// Of a device that is not there, or the device itself.
    pub const NONE: PeerInfo = PeerInfo { can_access: 0, attributes: [ATTRIBUTE_UNKNOWN; P2P_ATTRIBUTES] };
}

/// A device as the guest needs to know it. Sizes in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DeviceInfo {
    /// NUL-terminated name.
    pub name: [u8; 256],
    /// `cuDeviceGetUuid_v2`.
    pub uuid: [u8; 16],
    /// `cuDeviceTotalMem`.
    pub total_memory: u64,
    /// Executor's driver version, e.g. 13000.
    pub driver_version: i32,
    /// Number of devices that the session may use.
    pub device_count: i32,
    /// 1 if a CPU stands in for the GPU: it reads what another core has just written from memory sooner than
    /// from that core's cache, which a GPU does not.
    pub is_cpu: u32,
    /// 0.
    pub reserved: u32,
    /// Attribute values by their number, [`ATTRIBUTE_UNKNOWN`] where the executor has none.
    pub attributes: [i32; DEVICE_ATTRIBUTES],
    /// What it can do with the memory of the other devices, by their number.
    pub peers: [PeerInfo; DEVICES_MAX],
}

/// Number of function attributes that are fetched (`CUfunction_attribute` 0 to 15).
pub const FUNCTION_ATTRIBUTES: usize = 16;

/// A kernel as the guest needs to know it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FunctionAttributes {
    /// `cuFuncGetAttribute` by number, [`ATTRIBUTE_UNKNOWN`] where the executor has none.
    pub attributes: [i32; FUNCTION_ATTRIBUTES],
    /// Number of kernel parameters.
    pub param_count: u32,
    /// Size of the parameter block.
    pub param_bytes: u32,
}

/// One parameter of a kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ParamInfo {
    /// Offset in the parameter block, bytes.
    pub offset: u32,
    /// Size, bytes.
    pub size: u32,
}

/// What `cuPointerGetAttribute` says about a device pointer.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PointerInfo {
    /// 1 if the driver knows the pointer.
    pub known: u32,
    /// `CU_POINTER_ATTRIBUTE_MEMORY_TYPE`.
    pub memory_type: u32,
    /// Start of the allocation.
    pub base: u64,
    /// Size of the allocation, bytes.
    pub size: u64,
    /// `CU_POINTER_ATTRIBUTE_BUFFER_ID`.
    pub buffer_id: u64,
}
