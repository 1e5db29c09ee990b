//! `libcuda.so.1` for guests: the CUDA driver API in front of a session with a worker on the host.
//!
//! The exported functions are generated from the API table (`exports`); those that the guest
//! answers itself, or that need more than one command, are written by hand in [`api`]. Nothing
//! happens before `cuInit`: loading the library runs none of its code.

mod api;
mod arrays;
mod context;
mod driver;
mod exports;
mod function;
mod graph;
mod hostfunc;
mod image;
mod integrity;
mod ipc;
mod jit;
mod library;
mod link;
mod log;
mod memory;
mod pool;
mod stream;
mod stub;
mod sys;
mod trace;
mod vmm;
