//! The generated functions, and the table by which `cuGetProcAddress` finds them.

#![allow(non_snake_case, non_upper_case_globals, unused_unsafe, clippy::all)]

use std::ffi::{c_char, c_void};

use vgpu_protocol::cuda::{self, CUresult};
use vgpu_protocol::exports::{Address, Export};
use vgpu_protocol::{cmd, Handle, HandleKind};

/// By this a backend tells this library from the driver of a GPU (`vgpu_protocol::GUEST_LIBRARY_SYMBOL`).
#[no_mangle]
pub static vgpu_guest_library: u8 = 1;

include!(concat!(env!("OUT_DIR"), "/exports.rs"));
