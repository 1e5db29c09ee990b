//! The generated functions, and the table by which `cuGetProcAddress` finds them.

#![allow(non_snake_case, unused_unsafe, clippy::all)]

use std::ffi::{c_char, c_void};

use vgpu_protocol::cuda::{self, CUresult};
use vgpu_protocol::{cmd, Handle, HandleKind};

/// Address of an exported function.
#[derive(Clone, Copy)]
pub struct Address(pub *const c_void);

// SAFETY: addresses of functions are plain numbers.
unsafe impl Sync for Address {}
// SAFETY: as above.
unsafe impl Send for Address {}

/// One exported function.
pub struct Export {
    /// Name without `_vN`, as clients ask for it.
    pub base: &'static str,
    /// First CUDA version that has this variant.
    pub since: u32,
    /// Symbol.
    #[allow(dead_code)]
    pub name: &'static str,
    /// Whether stream 0 means the calling thread's stream.
    pub per_thread: bool,
    /// Whether it does more than refuse.
    #[allow(dead_code)]
    pub implemented: bool,
    /// Where it is.
    pub address: Address,
}

include!(concat!(env!("OUT_DIR"), "/exports.rs"));
