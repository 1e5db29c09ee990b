//! The software GPU as a `libcuda.so.1`: for programs that call it without a guest or a queue, and for
//! a backend that loads its driver by path (`--gpu`).
//!
//! All entry points of the API table are exported: those of the software GPU, and for the others
//! functions that return `CUDA_ERROR_NOT_SUPPORTED` and say their name.

mod carrier;
mod exports;
mod lookup;

use std::sync::{Mutex, PoisonError};

use vgpu_protocol::cuda::CUresult;

/// A function that the software GPU does not have; says so once on stderr, with the reason if there is one.
fn refuse(name: &'static str, reason: &str) -> CUresult {
    static SAID: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.contains(&name) {
        said.push(name);
        let reason = if reason.is_empty() { "it is not implemented" } else { reason };
        eprintln!("softgpu: {name}: CUDA_ERROR_NOT_SUPPORTED: {reason}");
    }
    CUresult::NOT_SUPPORTED
}
