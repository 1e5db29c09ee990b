//! What guest and host agree on: the CUDA driver API table and what follows from it, the wire
//! format of a session's virtqueue, the control queue, and the broker's socket.
//!
//! The crate knows no virtio and no libcuda. `api/cuda.api` is the one description of the driver
//! API; opcodes, command structs ([`cmd`]), the [`DriverApi`] and the support matrix come from it.

// What guests, clients and devices send must never end a process.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::indexing_slicing)
)]

pub mod broker;
pub mod control;
pub mod cuda;
pub mod exports;
mod info;
pub mod session;
pub mod wire;

use std::ffi::{c_char, c_void};

pub use info::{
    DeviceInfo, FunctionAttributes, ParamInfo, PeerInfo, PointerInfo, ATTRIBUTE_UNKNOWN, DEVICES_MAX,
    DEVICE_ATTRIBUTES, FUNCTION_ATTRIBUTES, P2P_ATTRIBUTES,
};
pub use wire::{padded, Command, Handle, HandleHasher, HandleMap, Reader, Reply, WireError, Writer};

/// Release of NVIDIA's driver whose interfaces the guest's libraries follow (the first with CUDA
/// 13.0). Programs compare it with the oldest release they accept.
pub const DRIVER_RELEASE: &str = "580.65.06";

/// Exported by the guest's `libcuda.so.1` only: a backend that finds it has loaded the wrong library.
pub const GUEST_LIBRARY_SYMBOL: &std::ffi::CStr = c"vgpu_guest_library";
/// Newest CUDA version whose functions the API table has, as 1000 * major + 10 * minor.
const NEWEST_CUDA_VERSION: i32 = 13050;
/// The CUDA version where no device says otherwise.
pub const DEFAULT_CUDA_VERSION: i32 = 13000;

/// The CUDA version that the guest's libraries report where the executor's driver reports `version`.
pub fn reported_cuda_version(version: i32) -> i32 {
    match version {
        1.. => version.min(NEWEST_CUDA_VERSION),
        _ => DEFAULT_CUDA_VERSION,
    }
}

/// How a function is served; see `api/cuda.api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Local,
    Custom,
    Async,
    Sync,
    Blocking,
    Refused,
}

/// One row of the API table.
#[derive(Clone, Copy, Debug)]
pub struct FunctionInfo {
    /// Exported symbol, or name of a command of ours.
    pub name: &'static str,
    /// Name without `_vN`.
    pub base: &'static str,
    /// First CUDA version of the symbol.
    pub since: u32,
    /// Suffix and first version of the per-thread twin.
    pub per_thread: Option<(&'static str, u32)>,
    /// How it is served.
    pub class: Class,
    /// Whether the software GPU implements it.
    pub soft: bool,
    /// Whether it is a command of ours.
    pub command: bool,
}

/// The name behind an opcode, for messages.
pub fn opcode_name(opcode: u16) -> &'static str {
    usize::from(opcode).checked_sub(1).and_then(|i| FUNCTIONS.get(i)).map_or("unknown opcode", |f| f.name)
}

include!(concat!(env!("OUT_DIR"), "/api.rs"));
