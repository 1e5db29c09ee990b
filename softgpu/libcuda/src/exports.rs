//! The generated functions, and the table by which `cuGetProcAddress` finds them.

#![allow(non_snake_case, clippy::all)]

use std::ffi::{c_char, c_void};

use vgpu_protocol::cuda::{self, CUresult};
use vgpu_protocol::exports::{Address, Export};

include!(concat!(env!("OUT_DIR"), "/exports.rs"));
