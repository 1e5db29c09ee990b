//! A software CUDA device: PTX is compiled to a typed IR and executed on the CPU.

pub mod engine;
pub mod ir;
pub mod memory;
pub mod ptx;
