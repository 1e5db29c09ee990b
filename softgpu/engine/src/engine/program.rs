//! A module placed in device memory.

use super::code::Code;
use super::launch::MAX_THREADS;
use super::lower::{self, NotExecutable};
use super::pace::Pace;
use super::space::function_address;
use super::tier::{Compiled, Job};
use crate::ir::{self, FunctionId, OpaqueType, ParamStorage, SymbolId, SymbolTarget, VariableId};
use crate::memory::{Memory, MemoryError, Range};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Why a module could not be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Device memory for its variables is exhausted.
    #[error("not enough device memory for the module's variables")]
    OutOfMemory,
    /// An initialiser refers to a function or variable that nothing defines.
    #[error("unresolved symbol `{0}`")]
    UnresolvedSymbol(String),
    /// The module contradicts itself.
    #[error("malformed module: {0}")]
    Malformed(String),
}

impl From<MemoryError> for LoadError {
    fn from(_: MemoryError) -> LoadError {
        LoadError::OutOfMemory
    }
}

/// A `.global` or `.const` variable in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// Device address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// A module and the place of its variables.
pub(super) struct Placed {
    pub(super) module: Arc<ir::Module>,
    memory: Arc<Memory>,
    /// Address of each variable, by id.
    addresses: Vec<u64>,
    /// Allocations to free.
    allocations: Vec<u64>,
    by_name: HashMap<String, VariableId>,
}

impl Placed {
    /// The address of a symbol; `None` if nothing defines it.
    pub(super) fn address(&self, symbol: SymbolId) -> Option<u64> {
        match self.module.symbols.get(symbol.0 as usize)?.target {
            SymbolTarget::Function(id) => Some(function_address(id.0)),
            SymbolTarget::Variable(id) => self.addresses.get(id.0 as usize).copied(),
            SymbolTarget::Intrinsic(_) | SymbolTarget::Undefined => None,
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        for base in &self.allocations {
            // Only the driver could have freed it before; then there is nothing to do.
            let _ = self.memory.free(*base);
        }
    }
}

struct Shared {
    placed: Placed,
    kernels: Vec<KernelData>,
    by_name: HashMap<String, usize>,
}

struct KernelData {
    function: FunctionId,
    attributes: KernelAttributes,
    params: Vec<Param>,
    /// Without checks and with them.
    code: [OnceLock<Result<Arc<Code>, NotExecutable>>; 2],
    compiled: Arc<Compiled>,
    pace: Pace,
}

/// A loaded module. Its device memory is freed when it and all of its kernels are dropped.
#[derive(Clone)]
pub struct Program {
    shared: Arc<Shared>,
}

impl Program {
    /// Places the variables of `module` in `memory` and prepares its kernels.
    pub fn load(module: Arc<ir::Module>, memory: &Arc<Memory>) -> Result<Program, LoadError> {
        let placed = place(module, memory)?;
        let constant = placed.module.variables.iter().filter(|v| v.space == ir::Space::Const);
        let constant = constant.map(|v| v.size).sum::<u64>() as u32;
        let functions = placed.module.functions.iter().zip(0..);
        let kernels: Vec<KernelData> = functions
            .filter(|(f, _)| f.is_entry)
            .map(|(f, id)| KernelData {
                function: FunctionId(id),
                attributes: attributes(&placed.module, f, constant),
                params: params(f),
                code: Default::default(),
                compiled: Arc::default(),
                pace: Pace::default(),
            })
            .collect();
        let name = |k: &KernelData| placed.module.functions[k.function.0 as usize].name.clone();
        let by_name = kernels.iter().enumerate().map(|(i, k)| (name(k), i)).collect();
        Ok(Program { shared: Arc::new(Shared { placed, kernels, by_name }) })
    }

    /// A variable by its PTX name.
    pub fn global(&self, name: &str) -> Option<Global> {
        self.variable(name, None)
    }

    /// A texture, sampler or surface reference by its PTX name: where its object's handle is.
    pub fn reference(&self, name: &str, ty: OpaqueType) -> Option<Global> {
        self.variable(name, Some(ty))
    }

    fn variable(&self, name: &str, opaque: Option<OpaqueType>) -> Option<Global> {
        let placed = &self.shared.placed;
        let id = placed.by_name.get(name)?.0 as usize;
        let variable = &placed.module.variables[id];
        let global = Global { address: placed.addresses[id], size: variable.size };
        (variable.opaque == opaque).then_some(global)
    }

    /// An entry function by its PTX name.
    pub fn kernel(&self, name: &str) -> Option<Kernel> {
        let index = *self.shared.by_name.get(name)?;
        Some(Kernel { shared: Arc::clone(&self.shared), index })
    }

    /// Names of all entry functions, in source order.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        let functions = &self.shared.placed.module.functions;
        self.shared.kernels.iter().map(|k| functions[k.function.0 as usize].name.as_str())
    }

    /// Names of all variables that [`Program::global`] finds.
    pub fn global_names(&self) -> impl Iterator<Item = &str> {
        self.shared.placed.module.variables.iter().map(|v| v.name.as_str())
    }
}

/// One entry function of a program.
#[derive(Clone)]
pub struct Kernel {
    shared: Arc<Shared>,
    index: usize,
}

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
    pub fn name(&self) -> &str {
        &self.shared.placed.module.functions[self.data().function.0 as usize].name
    }

    /// Attributes for `cuFuncGetAttribute` and for launch checks.
    pub fn attributes(&self) -> &KernelAttributes {
        &self.data().attributes
    }

    /// Parameters in order.
    pub fn params(&self) -> &[Param] {
        &self.data().params
    }

    /// Size of the parameter block in bytes.
    pub fn param_bytes(&self) -> usize {
        let function = self.data().function.0 as usize;
        self.shared.placed.module.functions[function].param_block_size as usize
    }

    fn data(&self) -> &KernelData {
        &self.shared.kernels[self.index]
    }

    /// The code to run, decoded at the first call; with checks or without.
    pub(super) fn code(&self, checked: bool) -> Result<Arc<Code>, NotExecutable> {
        let decode = || lower::kernel(&self.shared.placed, self.data().function, checked).map(Arc::new);
        self.data().code[usize::from(checked)].get_or_init(decode).clone()
    }

    /// File and line from which a line of PTX was made, if `.loc` tells.
    pub(super) fn source_line(&self, line: u32) -> Option<(&str, u32)> {
        let module = &self.shared.placed.module;
        let at = |function: &ir::Function| {
            let inst = function.positions.iter().position(|at| at.line == line)? as u32;
            let next = function.line_table.partition_point(|(first, _)| *first <= inst);
            Some(function.line_table.get(next.checked_sub(1)?)?.1)
        };
        let source = module.functions.iter().find_map(at)?;
        let (_, file) = module.files.iter().find(|(index, _)| *index == source.file)?;
        Some((file, source.line))
    }

    /// Where the module's variables are.
    pub(super) fn variables(&self) -> Vec<Range> {
        let Placed { module, addresses, .. } = &self.shared.placed;
        let places = module.variables.iter().zip(addresses);
        places.map(|(variable, base)| Range { base: *base, size: variable.size }).collect()
    }

    /// Its machine code.
    pub(super) fn compiled(&self) -> &Compiled {
        &self.data().compiled
    }

    /// How long its blocks take.
    pub(super) fn pace(&self) -> &Pace {
        &self.data().pace
    }

    /// What compiling it takes.
    pub(super) fn job(&self) -> Result<Job, NotExecutable> {
        let placed = &self.shared.placed;
        let symbols = 0..placed.module.symbols.len() as u32;
        Ok(Job {
            module: Arc::clone(&placed.module),
            function: self.data().function,
            code: self.code(false)?,
            addresses: symbols.map(|id| placed.address(SymbolId(id))).collect(),
            compiled: Arc::clone(&self.data().compiled),
        })
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.shared.placed.memory
    }
}

fn attributes(module: &ir::Module, function: &ir::Function, constant: u32) -> KernelAttributes {
    let threads = |shape: [u32; 3]| shape.iter().fold(1u32, |n, d| n.saturating_mul((*d).max(1)));
    let declared = function.req_ntid.or(function.max_ntid).map_or(MAX_THREADS, threads);
    let words: u32 = function.regs.iter().map(|class| class.bits().div_ceil(32)).sum();
    let digits = module.target.bytes().filter(u8::is_ascii_digit);
    KernelAttributes {
        max_threads: declared.min(MAX_THREADS),
        required_block: function.req_ntid,
        static_shared: function.shared_size,
        local: function.frame_size,
        constant,
        registers: registers(words, declared.min(MAX_THREADS)),
        ptx_version: module.version.0 * 10 + module.version.1,
        target: digits.fold(0u32, |n, d| n.saturating_mul(10).saturating_add(u32::from(d - b'0'))),
    }
}

/// PTX registers are written once; of those some quarter is alive at a time. As with a compiler's
/// choice, a block of the largest size fits a multiprocessor.
fn registers(words: u32, max_threads: u32) -> u32 {
    const PER_MULTIPROCESSOR: u32 = 65_536;
    // A warp gets multiples of 256, eight for each thread.
    let most = PER_MULTIPROCESSOR / max_threads.next_multiple_of(32).max(32) / 8 * 8;
    (words / 4).clamp(16, most.min(255))
}

fn params(function: &ir::Function) -> Vec<Param> {
    let place = |p: &ir::Param| match p.storage {
        ParamStorage::Block { offset } => Some(Param { offset, size: p.size, align: p.align }),
        ParamStorage::Reg(_) | ParamStorage::Frame { .. } => None,
    };
    function.params.iter().filter_map(place).collect()
}

/// Allocates and fills the variables.
fn place(module: Arc<ir::Module>, memory: &Arc<Memory>) -> Result<Placed, LoadError> {
    let names = module.variables.iter().zip(0..);
    let by_name = names.map(|(v, id)| (v.name.clone(), VariableId(id))).collect();
    let mut placed = Placed {
        module: Arc::clone(&module),
        memory: Arc::clone(memory),
        addresses: Vec::new(),
        allocations: Vec::new(),
        by_name,
    };
    for variable in &module.variables {
        let address = placed.allocate(variable)?;
        placed.addresses.push(address);
    }
    for (variable, address) in module.variables.iter().zip(placed.addresses.clone()) {
        let bytes = placed.initial_bytes(variable)?;
        let written = memory.write(address, &bytes);
        written.map_err(|e| LoadError::Malformed(format!("variable `{}`: {e}", variable.name)))?;
    }
    Ok(placed)
}

impl Placed {
    fn allocate(&mut self, variable: &ir::Variable) -> Result<u64, LoadError> {
        let align = u64::from(variable.align.max(1));
        // Allocations are aligned to a granule; more takes some slack.
        let slack = if align > crate::memory::GRANULE { align } else { 0 };
        let size = variable.size.max(1).checked_add(slack).ok_or(LoadError::OutOfMemory)?;
        let base = self.memory.allocate(size)?;
        self.allocations.push(base);
        Ok(base.next_multiple_of(align))
    }

    fn initial_bytes(&self, variable: &ir::Variable) -> Result<Vec<u8>, LoadError> {
        let malformed = |what: &str| LoadError::Malformed(format!("variable `{}`: {what}", variable.name));
        if variable.init.len() as u64 > variable.size {
            return Err(malformed("its initialiser is longer than it"));
        }
        let mut bytes = variable.init.clone();
        for r in &variable.relocations {
            let name = || self.module.symbols.get(r.symbol.0 as usize).map_or(String::new(), |s| s.name.clone());
            let address = self.address(r.symbol).ok_or_else(|| LoadError::UnresolvedSymbol(name()))?;
            let value = address.wrapping_add_signed(r.addend).checked_shr(r.shift).unwrap_or(0);
            let (start, len) = (r.offset as usize, r.size.min(8) as usize);
            let end = start.checked_add(len).filter(|end| *end as u64 <= variable.size);
            let end = end.ok_or_else(|| malformed("an address lies outside of it"))?;
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_the_largest_size_fits_a_multiprocessor() {
        for threads in 1..=MAX_THREADS {
            let per_warp = (registers(u32::MAX, threads) * 32).next_multiple_of(256);
            assert!(per_warp * threads.div_ceil(32) <= 65_536, "{threads} threads");
        }
    }
}
