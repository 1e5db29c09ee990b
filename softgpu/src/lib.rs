//! A software CUDA device: PTX is compiled to a typed IR and executed on the CPU.
//!
//! [`driver_api`] gives its entry points, which have libcuda's C ABI and semantics; [`configure`]
//! sets the device up beforehand. [`carrier`] is for whoever carries
//! handles of memory and events from one process to another.

pub mod driver;

use vgpu_protocol::DriverApi;

pub use driver::{carrier, configure, Config, ConfigError, Tier};

include!(concat!(env!("OUT_DIR"), "/driver_api.rs"));
