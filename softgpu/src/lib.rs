//! A software CUDA device: PTX is compiled to a typed IR and executed on the CPU.
//!
//! [`driver_api`] gives its entry points, which have libcuda's C ABI and semantics; [`configure`]
//! sets the device up beforehand.

pub mod driver;

use vgpu_protocol::DriverApi;

pub use driver::{configure, Config, ConfigError};

include!(concat!(env!("OUT_DIR"), "/driver_api.rs"));
