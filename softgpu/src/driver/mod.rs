//! The CUDA driver API on top of the engine: libcuda's C ABI and semantics.
//!
//! One process has one session and its devices. The files beside this one hold the exported functions,
//! one file per area; each only checks its arguments ([`abi`]) and calls [`core`], where the objects
//! behind the handles live.
//!
//! Handles are numbers that select a registry entry, never addresses: nothing that a caller passes as
//! a handle is dereferenced.

#![allow(non_snake_case)]

mod abi;
mod array;
pub mod carrier;
mod context;
mod copy;
mod copy_batch;
mod copy_box;
mod core;
mod device;
mod event;
mod host;
mod init;
mod ipc;
mod jit;
mod kernel;
mod launch;
mod legacy_launch;
mod library;
mod link;
mod managed;
mod mem_op;
mod memory;
mod module;
mod occupancy;
mod params;
mod pointer;
mod pool;
mod shared;
mod stream;
mod texture;
mod texture_reference;
mod vmm;

pub use self::core::{configure, Config, ConfigError, Liveness};
pub use array::*;
pub use context::*;
pub use copy::*;
pub use copy_batch::*;
pub use copy_box::*;
pub use device::*;
pub use event::*;
pub use host::*;
pub use init::*;
pub use ipc::*;
pub use kernel::*;
pub use launch::*;
pub use legacy_launch::*;
pub use library::*;
pub use link::*;
pub use managed::*;
pub use mem_op::*;
pub use memory::*;
pub use module::*;
pub use occupancy::*;
pub use pointer::*;
pub use pool::*;
pub use shared::*;
pub use stream::*;
pub use texture::*;
pub use texture_reference::*;
pub use vgpu_engine::engine::Tier;
pub use vmm::*;

/// An error unless `cuInit` has succeeded in this process.
pub fn ready() -> Result<(), vgpu_protocol::cuda::CUresult> {
    self::core::driver().map(drop)
}
