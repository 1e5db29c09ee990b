//! The functions of the driver API that the guest answers itself or that need more than one command.
//! Names, arguments and errors are those of the CUDA driver API reference; every function is unsafe
//! because the caller's pointers are taken at their word.

#![allow(non_snake_case)]

mod array;
mod context;
mod copy;
mod copy_batch;
mod copy_box;
mod device;
mod entry_points;
mod event;
mod export_tables;
mod fetch;
mod init;
mod ipc;
mod kernel;
mod launch;
mod legacy_launch;
mod library;
mod link;
mod logs;
mod managed;
mod mem_op;
mod memory;
mod module;
mod occupancy;
mod pointer;
mod pool;
mod stream;
mod tensor_map;
mod texture;
mod texture_reference;
mod vmm;

pub use array::*;
pub use context::*;
pub use copy::*;
pub use copy_batch::*;
pub use copy_box::*;
pub use device::*;
pub use entry_points::*;
pub use event::*;
pub use export_tables::cuGetExportTable;
pub use init::*;
pub use ipc::*;
pub use kernel::*;
pub use launch::*;
pub use legacy_launch::*;
pub use library::*;
pub use link::*;
pub use logs::*;
pub use managed::*;
pub use mem_op::*;
pub use memory::*;
pub use module::*;
pub use occupancy::*;
pub use pointer::*;
pub use pool::*;
pub use stream::*;
pub use tensor_map::*;
pub use texture::*;
pub use texture_reference::*;
pub use vmm::*;

use vgpu_protocol::cuda::CUresult;

/// What every function of this module returns.
type Result = std::result::Result<(), CUresult>;
