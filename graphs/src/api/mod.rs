//! The driver API's functions, with its names, arguments and errors. They are unsafe because the
//! caller's pointers are taken at their word.

#![allow(non_snake_case, clippy::missing_safety_doc, clippy::too_many_arguments)]

mod captures;
mod conditionals;
mod edges;
mod executables;
mod generic;
mod graphs;
mod kernels;
mod mem_ops;
mod memory;
mod nodes;
mod objects;
mod raw;
