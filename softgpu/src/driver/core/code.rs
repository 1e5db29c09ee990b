//! Compiled code, and which of its kernels cannot be executed.

use std::fmt;
use std::sync::Arc;

use vgpu_engine::ir;
use vgpu_engine::ptx::UNRESOLVED;

/// A compiled module image.
#[derive(Clone)]
pub(in crate::driver) struct Code {
    pub(super) module: Arc<ir::Module>,
    /// For each function, the index of one that it can reach by direct calls and that cannot be
    /// executed.
    obstacles: Arc<[Option<usize>]>,
}

/// Why a kernel cannot be launched.
pub(super) struct Refusal<'c> {
    function: &'c str,
    reason: &'c ir::Unsupported,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { function, reason: ir::Unsupported { what, at } } = self;
        let (line, column) = (at.line, at.column);
        write!(f, "the software GPU does not execute `{what}` (in `{function}`, line {line}, column {column})")
    }
}

impl Code {
    pub(super) fn new(module: ir::Module) -> Code {
        Code { obstacles: obstacles(&module.functions).into(), module: Arc::new(module) }
    }

    /// Whether there is an entry function of this name.
    pub(super) fn has_kernel(&self, name: &str) -> bool {
        self.module.entry(name).is_some()
    }

    /// Names of all entry functions, in the order of the image.
    pub(super) fn kernels(&self) -> impl Iterator<Item = &str> {
        self.module.functions.iter().filter(|function| function.is_entry).map(|function| function.name.as_str())
    }

    /// Why the kernel of this name cannot be launched.
    pub(super) fn refusal(&self, kernel: &str) -> Option<Refusal<'_>> {
        let (id, _) = self.module.entry(kernel)?;
        self.refusal_of(id.0 as usize)
    }

    /// All kernels that cannot be launched, by name.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&str, Refusal<'_>)> {
        let kernels = self.module.functions.iter().enumerate().filter(|(_, function)| function.is_entry);
        kernels.filter_map(|(index, kernel)| Some((kernel.name.as_str(), self.refusal_of(index)?)))
    }

    /// A kernel that calls a function which is defined nowhere.
    pub(super) fn unresolved(&self) -> Option<(&str, Refusal<'_>)> {
        self.refusals().find(|(_, refusal)| refusal.reason.what.starts_with(UNRESOLVED))
    }

    fn refusal_of(&self, index: usize) -> Option<Refusal<'_>> {
        let obstacle = self.module.functions.get((*self.obstacles.get(index)?)?)?;
        Some(Refusal { function: &obstacle.name, reason: obstacle.unsupported.as_ref()? })
    }
}

/// Walks from the functions that cannot be executed to their callers; linear in the calls.
fn obstacles(functions: &[ir::Function]) -> Vec<Option<usize>> {
    let mut callers = vec![Vec::new(); functions.len()];
    for (index, function) in functions.iter().enumerate() {
        for callee in &function.callees {
            if let Some(callers) = callers.get_mut(callee.0 as usize) {
                callers.push(index);
            }
        }
    }
    let own = functions.iter().enumerate().map(|(index, function)| function.unsupported.as_ref().map(|_| index));
    let mut found: Vec<Option<usize>> = own.collect();
    let mut open: Vec<usize> = found.iter().copied().flatten().collect();
    while let Some(index) = open.pop() {
        for &caller in &callers[index] {
            if found[caller].is_none() {
                found[caller] = found[index];
                open.push(caller);
            }
        }
    }
    found
}
