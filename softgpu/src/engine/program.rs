//! A module placed in device memory.

use crate::ir;
use crate::memory::Memory;
use std::sync::Arc;

/// Why a module could not be placed.
#[derive(Debug)]
pub enum LoadError {
    /// Device memory for its variables is exhausted.
    OutOfMemory,
    /// It refers to a function or variable that nothing defines.
    UnresolvedSymbol(String),
    /// The module contradicts itself.
    Malformed(String),
}

/// A `.global` or `.const` variable in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// Device address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// A loaded module. Its device memory is freed when it and all of its kernels are dropped.
#[derive(Clone)]
pub struct Program {}

impl Program {
    /// Places the variables of `module` in `memory` and prepares its kernels.
    pub fn load(module: Arc<ir::Module>, memory: &Arc<Memory>) -> Result<Program, LoadError>;

    /// A variable by its PTX name.
    pub fn global(&self, name: &str) -> Option<Global>;

    /// An entry function by its PTX name.
    pub fn kernel(&self, name: &str) -> Option<Kernel>;

    /// Names of all entry functions, in source order.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str>;

    /// Names of all variables that [`Program::global`] finds.
    pub fn global_names(&self) -> impl Iterator<Item = &str>;
}

/// One entry function of a program.
#[derive(Clone)]
pub struct Kernel {}

/// One kernel parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Byte offset in the parameter block.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
}

/// What `cuFuncGetAttribute` tells about a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelAttributes {
    /// Most threads per block.
    pub max_threads: u32,
    /// Exact block shape demanded by `.reqntid`.
    pub required_block: Option<[u32; 3]>,
    /// Bytes of static shared memory.
    pub static_shared: u32,
    /// Bytes of local memory per thread.
    pub local: u32,
    /// Bytes of `.const` variables of the module.
    pub constant: u32,
    /// Registers per thread: an estimate, as this engine has no register limit.
    pub registers: u32,
    /// PTX version times ten, e.g. 84.
    pub ptx_version: u32,
    /// Target times ten as CUDA reports it, e.g. 75 for sm_75.
    pub target: u32,
}

impl Kernel {
    /// PTX name.
    pub fn name(&self) -> &str;

    /// Attributes for `cuFuncGetAttribute` and for launch checks.
    pub fn attributes(&self) -> &KernelAttributes;

    /// Parameters in order.
    pub fn params(&self) -> &[Param];

    /// Size of the parameter block in bytes.
    pub fn param_bytes(&self) -> usize;
}
