//! What names stand for, in nested scopes.

use crate::ir::{FunctionId, PtxPos, Reg, RegClass, SignatureId};
use std::collections::HashMap;

/// Meaning of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    Reg(Reg),
    /// Register of a vector type: its elements are `len` registers from `first` on.
    VectorReg {
        first: Reg,
        len: u8,
    },
    /// Scalar `.param` variable of a call or device function, held in a register.
    ScalarParam(Reg),
    /// Bytes of the function's frame; `param` for `.param` variables.
    Frame {
        offset: u32,
        size: u32,
        /// Bytes of a scalar element; 0 if it is no array.
        element: u32,
        param: bool,
    },
    /// Parameter of the entry being compiled: offset in the launch block.
    EntryParam {
        offset: u32,
    },
    /// Global or const variable, by index of its declaration.
    Variable(u32),
    /// Static shared variable, by index.
    Shared(u32),
    DynamicShared,
    Function(FunctionId),
    Signature(SignatureId),
    /// Jump table, by index.
    BranchTargets(u32),
    /// Texture, sampler or surface reference: a variable that holds its object's handle.
    Opaque(u32),
}

/// What a `.reg` declares: a register, or one of a vector type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegKind {
    pub(super) class: RegClass,
    /// Elements; 1 for a scalar.
    pub(super) len: u8,
}

impl RegKind {
    /// Adds a register of this kind to `regs`.
    pub(super) fn create(self, regs: &mut Vec<RegClass>) -> Binding {
        let first = Reg(regs.len() as u32);
        regs.extend((0..self.len).map(|_| self.class));
        match self.len {
            1 => Binding::Reg(first),
            len => Binding::VectorReg { first, len },
        }
    }
}

/// A label; several ids may turn out to be the same label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelId(pub(super) u32);

/// Digits of the largest register number.
const NUMBER_DIGITS: usize = 10;

/// Names declared in one pair of braces.
#[derive(Default)]
pub(super) struct Scope<'a> {
    names: HashMap<&'a [u8], Binding>,
    /// `.reg .b32 %r<100>`: count and kind by prefix.
    ranges: HashMap<&'a [u8], (u64, RegKind)>,
    labels: HashMap<&'a [u8], Label>,
}

/// A label referred to or defined in a scope.
#[derive(Clone, Copy)]
struct Label {
    id: LabelId,
    defined: bool,
    /// Where it was seen first.
    at: PtxPos,
}

impl<'a> Scope<'a> {
    /// Declares `name`; false if it is declared here already.
    pub(super) fn declare(&mut self, name: &'a [u8], binding: Binding) -> bool {
        self.names.insert(name, binding).is_none()
    }

    /// Declares the registers `prefix0` to `prefix(count - 1)`.
    pub(super) fn declare_range(&mut self, prefix: &'a [u8], count: u64, kind: RegKind) -> bool {
        self.ranges.insert(prefix, (count, kind)).is_none()
    }

    /// The kind of `name` if a range declares it.
    fn range_kind(&self, name: &[u8]) -> Option<RegKind> {
        if self.ranges.is_empty() {
            return None;
        }
        let digits = name.iter().rev().take(NUMBER_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
        // A prefix may itself end in digits: try every split, longest number first.
        (name.len() - digits..name.len()).find_map(|split| {
            let (prefix, number) = name.split_at(split);
            if number.len() > 1 && number[0] == b'0' {
                return None;
            }
            let index: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
            let &(count, kind) = self.ranges.get(prefix)?;
            (index < count).then_some(kind)
        })
    }
}

/// The scopes around the current statement, innermost last.
pub(super) struct Scopes<'a> {
    stack: Vec<Scope<'a>>,
    /// Label that each label id is the same as; itself for a representative.
    same_as: Vec<LabelId>,
}

impl<'a> Scopes<'a> {
    pub(super) fn new() -> Self {
        Scopes { stack: vec![Scope::default()], same_as: Vec::new() }
    }

    pub(super) fn innermost(&mut self) -> &mut Scope<'a> {
        if self.stack.is_empty() {
            self.stack.push(Scope::default());
        }
        let last = self.stack.len() - 1;
        &mut self.stack[last]
    }

    pub(super) fn depth(&self) -> usize {
        self.stack.len()
    }

    pub(super) fn open(&mut self) {
        self.stack.push(Scope::default());
    }

    /// Closes the innermost scope. Labels it does not define belong to the next.
    pub(super) fn close(&mut self) {
        let Some(closed) = self.stack.pop() else { return };
        for (name, label) in closed.labels {
            if !label.defined {
                let outer = self.innermost().labels.entry(name).or_insert(label).id;
                self.same_as[label.id.0 as usize] = outer;
            }
        }
    }

    /// What `name` stands for; creates registers of a range at their first use.
    pub(super) fn lookup(&mut self, name: &'a [u8], regs: &mut Vec<RegClass>) -> Option<Binding> {
        for scope in self.stack.iter_mut().rev() {
            if let Some(&binding) = scope.names.get(name) {
                return Some(binding);
            }
            if let Some(kind) = scope.range_kind(name) {
                let binding = kind.create(regs);
                scope.names.insert(name, binding);
                return Some(binding);
            }
        }
        None
    }

    /// The label `name`, which the statement at `at` refers to.
    pub(super) fn label(&mut self, name: &'a [u8], at: PtxPos) -> LabelId {
        let defined = |scope: &Scope<'a>| scope.labels.get(name).filter(|label| label.defined).map(|label| label.id);
        if let Some(id) = self.stack.iter().rev().find_map(defined) {
            return id;
        }
        self.entry(name, at).id
    }

    /// Defines the label `name` here; `None` if it is defined already.
    pub(super) fn define_label(&mut self, name: &'a [u8], at: PtxPos) -> Option<LabelId> {
        let label = self.entry(name, at);
        let first = !std::mem::replace(&mut label.defined, true);
        first.then_some(label.id)
    }

    fn entry(&mut self, name: &'a [u8], at: PtxPos) -> &mut Label {
        let next = LabelId(self.same_as.len() as u32);
        let fresh = !self.innermost().labels.contains_key(name);
        if fresh {
            self.same_as.push(next);
        }
        self.innermost().labels.entry(name).or_insert(Label { id: next, defined: false, at })
    }

    /// The representative of a label id, valid once all inner scopes are closed.
    pub(super) fn resolve(&self, mut id: LabelId) -> LabelId {
        // A chain is as long as the scope nesting, which is bounded.
        while self.same_as[id.0 as usize] != id {
            id = self.same_as[id.0 as usize];
        }
        id
    }

    /// Number of label ids.
    pub(super) fn label_count(&self) -> usize {
        self.same_as.len()
    }

    /// First reference to a label that the outermost scope does not define.
    pub(super) fn undefined_label(&self) -> Option<(&'a [u8], PtxPos)> {
        let labels = self.stack.first()?.labels.iter();
        let undefined = labels.filter(|(_, label)| !label.defined).map(|(name, label)| (*name, label.at));
        undefined.min_by_key(|(_, at)| (at.line, at.column))
    }
}
