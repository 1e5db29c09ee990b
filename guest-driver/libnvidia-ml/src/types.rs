//! NVML's structures (`nvml.h`).

#![allow(non_camel_case_types, missing_docs)]

use std::ffi::{c_char, c_void};

/// An opaque device.
pub type nvmlDevice_t = *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Memory {
    pub total: u64,
    pub free: u64,
    pub used: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct MemoryV2 {
    pub version: u32,
    pub total: u64,
    pub reserved: u64,
    pub free: u64,
    pub used: u64,
}

impl MemoryV2 {
    /// Version 2 and the structure's size.
    pub const VERSION: u32 = 2 << 24 | size_of::<MemoryV2>() as u32;
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Utilization {
    pub gpu: u32,
    pub memory: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ProcessV1 {
    pub pid: u32,
    pub used_memory: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ProcessV2 {
    pub pid: u32,
    pub used_memory: u64,
    pub gpu_instance: u32,
    pub compute_instance: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PciInfoV2 {
    pub bus_id: [c_char; 16],
    pub domain: u32,
    pub bus: u32,
    pub device: u32,
    pub device_id: u32,
    pub subsystem_id: u32,
    pub reserved: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PciInfoV3 {
    pub bus_id_legacy: [c_char; 16],
    pub domain: u32,
    pub bus: u32,
    pub device: u32,
    pub device_id: u32,
    pub subsystem_id: u32,
    pub bus_id: [c_char; 32],
}
