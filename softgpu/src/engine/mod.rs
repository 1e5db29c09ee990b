//! Tier-0 execution engine: a SIMT interpreter for the typed IR.
//!
//! A [`Program`] is a module placed in a [`Memory`](crate::memory::Memory); a
//! [`Kernel`] is one of its entry functions; an [`Engine`] is a set of worker
//! threads that run the blocks of a [`Launch`].

mod fault;
mod heap;
mod launch;
mod program;

pub use fault::{Fault, FaultKind};
pub use heap::DeviceHeap;
pub use launch::{Engine, Launch};
pub use program::{Global, Kernel, KernelAttributes, LoadError, Param, Program};
