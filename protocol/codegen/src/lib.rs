//! Reads the table of the CUDA driver API and writes the Rust that follows from it.
//!
//! `protocol/api/cuda.api` is the only place where a driver function is described. Build scripts
//! call [`Table::load`] and one of the writers: [`protocol`] (opcodes, command structs, the
//! `DriverApi`), [`guest`] (the functions `libcuda.so.1` exports), [`worker`] (decoding and
//! calling) and [`soft`] (the software GPU's `DriverApi`). [`matrix`] writes the support matrix.

#![forbid(unsafe_code)]

pub mod guest;
pub mod matrix;
pub mod protocol;
pub mod soft;
mod table;
mod tested;
pub mod worker;

pub use table::{Arg, Class, Function, Kind, ParseError, Table};
