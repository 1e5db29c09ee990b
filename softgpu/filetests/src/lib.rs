//! Tests of PTX instructions as files, for any way of executing the engine's IR.
//!
//! `cases/*.ptx` hold instructions with inputs and expected results beside them ([`cases`]). `isa.txt` lists
//! the forms of the PTX ISA up to sm_80; [`support`] says which of them execute, and writes
//! `docs/ptx-support.md`. [`approximate`] holds the approximate functions to their bounds. What runs a launch is an [`Executor`], so that each tier takes the same tests.

pub mod approximate;
pub mod cases;
pub mod device;
pub mod support;

use vgpu_engine::engine::{Engine, Fault, Launch};

/// Runs launches to their end.
pub trait Executor {
    /// As [`Engine::launch`].
    fn launch(&self, launch: &Launch<'_>) -> Result<(), Fault>;
}

impl Executor for Engine {
    fn launch(&self, launch: &Launch<'_>) -> Result<(), Fault> {
        Engine::launch(self, launch)
    }
}
