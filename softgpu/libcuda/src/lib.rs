//! The software GPU as a `libcuda.so.1`: for programs that call it without a guest or a queue, and for
//! a backend that loads its driver by path (`--gpu`).
//!
//! All entry points of the API table are exported: those of the software GPU, and for the others
//! functions that return `CUDA_ERROR_NOT_SUPPORTED` and say their name.

mod exports;
mod lookup;

use std::sync::{Mutex, PoisonError};

use vgpu_protocol::cuda::CUresult;

/// A function that the software GPU does not have; says so once on stderr.
fn refuse(name: &'static str) -> CUresult {
    static SAID: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.contains(&name) {
        said.push(name);
        eprintln!("softgpu: {name} is not implemented: CUDA_ERROR_NOT_SUPPORTED");
    }
    CUresult::NOT_SUPPORTED
}
