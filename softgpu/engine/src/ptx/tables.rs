//! What is known of the module while its text is read.

use super::error::{full_name, invalid, text, Result};
use super::scope::Binding;
use crate::ir::*;
use std::collections::HashMap;

/// Marks a [`SymbolId`] that stands for a static shared variable until shared
/// memory is laid out.
pub(super) const SHARED_SYMBOL: u32 = 1 << 31;

/// Bytes of shared memory reserved for system software (cooperative groups keep
/// barriers there), for entries that refer to it.
pub(super) const RESERVED_SHARED: u32 = 1024;

/// A declared global or const variable.
pub(super) struct VariableDecl<'a> {
    pub(super) name: &'a [u8],
    pub(super) space: Space,
    /// Bytes of a scalar element; 0 if it is no array.
    pub(super) element: u32,
    pub(super) definition: Option<VariableId>,
    pub(super) symbol: Option<SymbolId>,
    pub(super) sharing: Sharing,
}

/// How a name relates to the same name elsewhere in joined texts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sharing {
    /// Other texts mean the same thing by the name.
    pub(super) exported: bool,
    /// The definition gives way to another one.
    pub(super) weak: bool,
    /// The text that declared it last.
    pub(super) unit: u32,
}

impl Sharing {
    /// Of a declaration with this linkage, `None` for `.extern`, in text number `unit`.
    pub(super) fn new(linkage: Option<Linkage>, unit: u32) -> Sharing {
        let exported = linkage != Some(Linkage::Internal);
        Sharing { exported, weak: matches!(linkage, Some(Linkage::Weak | Linkage::Common)), unit }
    }

    /// Whether a declaration with this linkage in text number `unit` is of something else.
    pub(super) fn is_foreign(&self, linkage: Option<Linkage>, unit: u32) -> bool {
        self.unit != unit && linkage == Some(Linkage::Internal)
    }

    /// Takes note of another declaration of the same thing.
    pub(super) fn declared_again(&mut self, linkage: Option<Linkage>, unit: u32) {
        self.exported |= linkage != Some(Linkage::Internal);
        self.unit = unit;
    }
}

/// A declared function; its index is its [`FunctionId`].
pub(super) struct FunctionDecl<'a> {
    pub(super) name: &'a [u8],
    pub(super) is_entry: bool,
    pub(super) defined: bool,
    /// Where it was declared last.
    pub(super) at: PtxPos,
    pub(super) signature: Signature,
    pub(super) symbol: Option<SymbolId>,
    pub(super) sharing: Sharing,
    /// Shared variables the body refers to.
    pub(super) shared: Vec<u32>,
}

/// A static shared variable.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedVar {
    pub(super) size: u64,
    /// Bytes of a scalar element; 0 if it is no array.
    pub(super) element: u32,
    pub(super) align: u32,
    pub(super) sharing: Sharing,
}

/// Module-level declarations.
#[derive(Default)]
pub(super) struct Tables<'a> {
    pub(super) module: Module,
    pub(super) names: HashMap<&'a [u8], Binding>,
    pub(super) variables: Vec<VariableDecl<'a>>,
    pub(super) functions: Vec<FunctionDecl<'a>>,
    pub(super) shared: Vec<SharedVar>,
    /// Largest alignment of a dynamic shared array.
    pub(super) dynamic_shared_align: u32,
    reserved_shared: Option<u32>,
    /// Bytes left out by initialisers so far.
    pub(super) initialiser_gaps: u64,
    /// Number of the text being read, of several that are joined.
    pub(super) unit: u32,
    /// Names that this text was the first to declare.
    unit_names: Vec<&'a [u8]>,
    /// What names that are private to this text mean in the others.
    hidden: Vec<(&'a [u8], Binding)>,
    signature_ids: HashMap<Signature, SignatureId>,
}

impl<'a> Tables<'a> {
    /// Binds a module-level name.
    pub(super) fn declare(&mut self, name: &'a [u8], binding: Binding) -> Result<()> {
        if self.names.insert(name, binding).is_some() {
            return invalid(format!("`{}` is declared twice", text(name)));
        }
        self.unit_names.push(name);
        Ok(())
    }

    /// Binds a name of this text, which may mean something else in the others.
    pub(super) fn declare_private(&mut self, name: &'a [u8], binding: Binding) {
        if let Some(other) = self.names.insert(name, binding) {
            self.hidden.push((name, other));
        }
        self.unit_names.push(name);
    }

    /// Begins another text: names that were private to the last one are forgotten.
    pub(super) fn begin_unit(&mut self) {
        for name in std::mem::take(&mut self.unit_names) {
            let exported = match self.names.get(name) {
                Some(&Binding::Function(id)) => self.functions[id.0 as usize].sharing.exported,
                Some(&(Binding::Variable(index) | Binding::Opaque(index))) => {
                    self.variables[index as usize].sharing.exported
                }
                Some(&Binding::Shared(index)) => self.shared[index as usize].sharing.exported,
                _ => true,
            };
            if !exported {
                self.names.remove(name);
            }
        }
        self.names.extend(self.hidden.drain(..));
        self.unit += 1;
    }

    /// Symbol of a variable, created at its first use.
    pub(super) fn variable_symbol(&mut self, index: u32) -> SymbolId {
        let decl = &mut self.variables[index as usize];
        *decl.symbol.get_or_insert_with(|| new_symbol(&mut self.module, decl.name))
    }

    /// Symbol of a function, created at its first use.
    pub(super) fn function_symbol(&mut self, id: FunctionId) -> SymbolId {
        let decl = &mut self.functions[id.0 as usize];
        *decl.symbol.get_or_insert_with(|| new_symbol(&mut self.module, decl.name))
    }

    /// The shared variable that stands for the reserved memory.
    pub(super) fn reserved_shared(&mut self) -> u32 {
        *self.reserved_shared.get_or_insert_with(|| {
            let sharing = Sharing::default();
            self.shared.push(SharedVar { size: RESERVED_SHARED.into(), element: 0, align: 128, sharing });
            self.shared.len() as u32 - 1
        })
    }

    /// Id of a call prototype.
    pub(super) fn signature(&mut self, signature: Signature) -> SignatureId {
        let signatures = &mut self.module.signatures;
        *self.signature_ids.entry(signature).or_insert_with_key(|signature| {
            signatures.push(signature.clone());
            SignatureId(signatures.len() as u32 - 1)
        })
    }

    /// The engine's function that `id` stands for, if the module does not define it.
    pub(super) fn intrinsic(&self, id: FunctionId) -> Option<Intrinsic> {
        let decl = &self.functions[id.0 as usize];
        if decl.defined {
            return None;
        }
        Some(match decl.name {
            b"vprintf" => Intrinsic::Vprintf,
            b"malloc" => Intrinsic::Malloc,
            b"free" => Intrinsic::Free,
            b"__assertfail" => Intrinsic::AssertFail,
            b"cudaGraphSetConditional" => Intrinsic::SetConditional,
            _ => return None,
        })
    }

    /// Gives every symbol its target, once all of the text is read.
    pub(super) fn resolve_symbols(&mut self) {
        for decl in &self.variables {
            if let (Some(symbol), Some(variable)) = (decl.symbol, decl.definition) {
                self.module.symbols[symbol.0 as usize].target = SymbolTarget::Variable(variable);
            }
        }
        for index in 0..self.functions.len() {
            let id = FunctionId(index as u32);
            let target = match self.intrinsic(id) {
                Some(intrinsic) => SymbolTarget::Intrinsic(intrinsic),
                None if self.functions[index].defined => SymbolTarget::Function(id),
                None => SymbolTarget::Undefined,
            };
            if let Some(symbol) = self.functions[index].symbol {
                self.module.symbols[symbol.0 as usize].target = target;
            }
        }
    }
}

fn new_symbol(module: &mut Module, name: &[u8]) -> SymbolId {
    module.symbols.push(Symbol { name: full_name(name), target: SymbolTarget::Undefined });
    SymbolId(module.symbols.len() as u32 - 1)
}
