//! Tier-0 execution engine: a SIMT interpreter for the typed IR.
//!
//! A [`Program`] is a module placed in a [`Memory`](crate::memory::Memory); a
//! [`Kernel`] is one of its entry functions; an [`Engine`] is a set of worker
//! threads that run the blocks of a [`Launch`].
//!
//! A kernel is decoded once (`lower`) to micro-operations (`code`), each of which
//! works on all lanes of a warp (`ops`, compiled for several instruction sets by
//! `isa`). `control` keeps apart the lanes of a warp that have diverged, `block`
//! schedules the warps of a block, `launch` the blocks of a grid.

mod block;
mod check;
mod code;
mod compilation;
mod control;
mod cx;
mod fault;
mod heap;
mod interface;
mod isa;
mod launch;
mod local;
mod lower;
mod math;
pub mod matrix;
mod native;
mod ops;
mod pace;
mod pool;
mod printf;
mod printf_sys;
mod program;
mod regular;
mod runtime;
mod shared;
mod space;
pub mod texture;
mod tier;

pub use check::Extents;
pub use fault::{Fault, FaultKind};
pub use heap::DeviceHeap;
pub use interface::{
    status, Bank, Base, Check, Entry, Exit, Frame, Interface, Lanes, Lookup, Native, Needed, Reach, RegisterKind,
    Regular, Run, Site, Step, Steps, FOREIGN,
};
pub use launch::{Engine, Launch, MAX_SHARED, MAX_THREADS};
pub use math::approx;
pub use program::{Global, Kernel, KernelAttributes, LoadError, Param, Program};
pub use space::window;
pub use tier::{Compiler, Shape, Source, Tier};
