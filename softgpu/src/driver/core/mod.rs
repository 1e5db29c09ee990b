//! The objects behind the handles: contexts, streams, events, modules, memory, and how work runs.

mod allocation;
mod array;
mod attributes;
mod boxes;
mod code;
mod config;
mod context;
mod current;
mod dump;
mod event;
mod fatbin;
mod fork;
mod function;
mod graph;
mod image;
mod ipc;
mod launch;
mod library;
mod link;
mod mem_op;
mod module;
mod occupancy;
mod pinned;
mod pool;
mod queue;
mod reference;
mod registry;
mod shared_event;
mod staging;
mod state;
mod stream;
mod texture;
mod transfer;
mod watchdog;

use vgpu_protocol::cuda::CUresult;

pub(super) use allocation::{Allocation, Kind, PITCH_ALIGNMENT};
pub(super) use array::{Array, MipmappedArray};
pub(super) use attributes::device_attribute;
pub(super) use boxes::End;
pub(super) use code::Code;
pub(super) use config::current as configured;
pub use config::{configure, Config, ConfigError};
pub(super) use context::{Context, Limit};
pub(super) use current::{attached, current, current_handle, pop_current, pop_top, push_current, set_current};
pub(super) use event::Event;
pub(super) use fatbin::{container_size, HEADER as FATBIN_HEADER, MAGIC as FATBIN_MAGIC};
pub(super) use function::{Function, LegacyLaunch};
pub(super) use graph::Soft;
pub(super) use image::{compile, JitLog};
pub use ipc::Liveness;
pub(super) use ipc::{descriptor, relocate, set_liveness};
pub(super) use launch::LaunchRequest;
pub(super) use library::{Kernel, Library};
pub(super) use link::Link;
pub(super) use module::Module;
pub(super) use occupancy::{blocks_per_multiprocessor, dynamic_shared_for};
pub(super) use pinned::Pinned;
pub(super) use pool::Pool;
pub(super) use reference::{SurfaceReference, TextureReference};
pub(super) use state::{driver, initialise, Driver};
pub(super) use stream::{Stream, StreamKind, Target};
pub(super) use transfer::Rows;

/// What an operation of the driver returns.
pub(super) type Result<T = ()> = std::result::Result<T, CUresult>;
