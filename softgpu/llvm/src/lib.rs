//! Tier 1 of the software GPU: kernels compiled by LLVM, with vectors over the lanes of a warp.
//!
//! IR → `flow` (order of blocks, who waits meanwhile), `shape` (what is the same in all lanes, what
//! follows from one lane's value and the bits of lanes' numbers; `bits` knows which those are added to) and `homes` (what
//! need not be stored at barriers) → `generate` (LLVM IR: scalars for uniform values, one or two bases for regular ones,
//! two vectors of 16 for the rest; masks where lanes diverge) → `sys` (LLVM).
//!
//! Whatever an instruction's vector form cannot do (an address outside of what was checked, a rare
//! operation) the interpreter's own code does, on the registers' rows, and machine code goes on.

mod bits;
mod exit;
mod flow;
mod generate;
mod homes;
mod shape;
mod sys;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use vgpu_engine::engine::{Compiler, Interface, Native, Run, Shape, Source};

/// Where listings of compiled kernels are written.
static LISTINGS: OnceLock<PathBuf> = OnceLock::new();

/// From now on writes LLVM IR and assembly of each compiled kernel to a folder; the first call counts.
pub fn write_listings(folder: &Path) {
    LISTINGS.get_or_init(|| folder.into());
}

/// Where to write a kernel's listings, without an extension.
pub(crate) fn listing(source: &Source<'_>) -> Option<PathBuf> {
    let Shape { rows, lines, full } = source.shape;
    let parts = [(rows, ".rows"), (lines, ".lines"), (full, ".full")];
    let shape: String = parts.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect();
    Some(LISTINGS.get()?.join(source.function.listing_name() + &shape))
}

/// Compiles kernels with LLVM for the CPU it runs on.
#[derive(Default)]
pub struct Llvm;

impl Compiler for Llvm {
    fn compile(&self, source: &Source<'_>) -> Result<Arc<dyn Native>, String> {
        generate::kernel(source).map(|kernel| Arc::new(kernel) as Arc<dyn Native>)
    }
}

/// A compiled kernel.
pub(crate) struct Kernel {
    code: sys::Code,
    interface: Interface,
}

// SAFETY: `generate` emits only accesses to the frame, to what it refers to within the sizes it says, and
// to addresses in ranges that the engine has found to be live.
unsafe impl Native for Kernel {
    fn function(&self) -> Run {
        self.code.function()
    }

    fn interface(&self) -> &Interface {
        &self.interface
    }
}
