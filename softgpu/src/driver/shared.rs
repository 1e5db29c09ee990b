//! Graphs and stream capture: the entry points that the guest's library has too.

use std::ffi::{c_char, c_void};

use vgpu_graphs::Graphs;
use vgpu_protocol::cuda::{self, CUresult};

use super::abi::guard;
use super::core::{driver, Result, Soft};

fn graphs(body: impl FnOnce(&'static Graphs<Soft>) -> Result) -> CUresult {
    guard(|| body(&driver()?.graphs))
}

include!(concat!(env!("OUT_DIR"), "/shared.rs"));
