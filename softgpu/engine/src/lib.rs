//! Executes PTX on the CPU: text → [`ptx`] (parser) → [`ir`] (typed, flat) → [`engine`] (interpreter),
//! over [`memory`] (the device's address space). It knows nothing of the CUDA driver API.

pub mod engine;
pub mod ir;
pub mod memory;
pub mod ptx;
