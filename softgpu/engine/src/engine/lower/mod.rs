//! Decoding: from the IR of a kernel, and all functions it can reach, to
//! micro-operations.

mod arith;
mod calls;
mod check;
mod convert;
mod function;
mod layout;
mod matrix;
mod memory;
mod misc;
mod select;
mod texture;

use super::code::{Code, DeviceFunction, Row, Slot, LANES};
use super::program::Placed;
use crate::ir::{Function, FunctionId, ParamStorage};
use layout::Layout;
use std::collections::HashMap;

/// Something that a kernel can reach and this engine cannot execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotExecutable {
    pub(super) what: String,
    /// PTX line, 0 if unknown.
    pub(super) line: u32,
}

impl NotExecutable {
    fn new(what: impl Into<String>) -> NotExecutable {
        NotExecutable { what: what.into(), line: 0 }
    }
}

type Result<T> = std::result::Result<T, NotExecutable>;

/// Decodes a kernel; with checks or without.
pub(super) fn kernel(placed: &Placed, kernel: FunctionId, checked: bool) -> Result<Code> {
    let functions = &placed.module.functions;
    let reachable = reachable(functions, kernel)?;
    let layouts = functions.iter().zip(&reachable);
    let layouts = layouts.map(|(f, reached)| reached.then(|| Layout::new(f))).collect();
    let mut builder = Builder {
        placed,
        layouts,
        constants: HashMap::new(),
        checked,
        code: Code { has_calls: needs_stack(functions, &reachable), ..Code::default() },
    };
    builder.code.functions.resize_with(functions.len(), || None);
    // The kernel comes first, so that its operations lie together.
    let others = (0..functions.len() as u32).map(FunctionId).filter(|id| *id != kernel);
    for id in std::iter::once(kernel).chain(others) {
        if reachable[id.0 as usize] {
            builder.function(id)?;
        }
    }
    builder.code.kernel = builder.code.functions[kernel.0 as usize].as_ref().map(|f| f.code).unwrap_or_default();
    Ok(builder.code)
}

/// Whether a kernel needs stack besides its own frame: it calls functions, or allocates.
fn needs_stack(functions: &[Function], reachable: &[bool]) -> bool {
    let mut reached = functions.iter().zip(reachable).filter(|(_, reached)| **reached);
    reached.clone().count() > 1 || reached.any(|(function, _)| function.stack.is_some())
}

/// Which functions a kernel can call, itself included.
fn reachable(functions: &[Function], kernel: FunctionId) -> Result<Vec<bool>> {
    let mut reached = vec![false; functions.len()];
    let mut queue = vec![kernel];
    while let Some(id) = queue.pop() {
        let index = id.0 as usize;
        let Some(function) = functions.get(index) else { continue };
        if std::mem::replace(&mut reached[index], true) {
            continue;
        }
        if let Some(unsupported) = &function.unsupported {
            let (line, column) = (unsupported.at.line, unsupported.at.column);
            let what = format!("{} at line {line}, column {column}", unsupported.what);
            return Err(NotExecutable { what, line });
        }
        queue.extend(&function.callees);
        if function.has_indirect_calls {
            // A call of one that cannot be executed ends with a fault when it happens.
            let targets = functions.iter().zip(0..).filter(|(f, _)| !f.is_entry && f.unsupported.is_none());
            queue.extend(targets.map(|(_, id)| FunctionId(id)));
        }
    }
    Ok(reached)
}

/// What is common to the functions of a kernel.
struct Builder<'p> {
    placed: &'p Placed,
    /// Registers of each reachable function.
    layouts: Vec<Option<Layout>>,
    /// Constants that have a row already: value and whether it is 64 bits wide.
    constants: HashMap<(u64, bool), Slot>,
    /// Whether accesses are looked at before they are made.
    checked: bool,
    code: Code,
}

impl Builder<'_> {
    /// A constant row.
    fn constant32(&mut self, value: u32) -> Slot {
        let consts = &mut self.code.consts;
        *self.constants.entry((u64::from(value), false)).or_insert_with(|| {
            consts.push(Row([value; LANES]));
            Slot((consts.len() as u32 - 1) | Slot::CONST)
        })
    }

    /// A constant pair of rows.
    fn constant64(&mut self, value: u64) -> Slot {
        let consts = &mut self.code.consts;
        *self.constants.entry((value, true)).or_insert_with(|| {
            let (low, high) = (value as u32, (value >> 32) as u32);
            // Words are little-endian: even entries of the rows are low halves.
            let row = Row(std::array::from_fn(|i| if i % 2 == 0 { low } else { high }));
            consts.extend([row, row]);
            Slot((consts.len() as u32 - 2) | Slot::CONST)
        })
    }

    fn function(&mut self, id: FunctionId) -> Result<()> {
        let entry = self.code.ops.len() as u32;
        let mut code = function::lower(self, id)?;
        code.entry = entry;
        let function = &self.placed.module.functions[id.0 as usize];
        let layout = self.layouts[id.0 as usize].as_ref();
        let places = |params: &[crate::ir::Param]| {
            let place = |p: &crate::ir::Param| match p.storage {
                ParamStorage::Reg(reg) => layout.map(|l| l.place(function, reg)),
                ParamStorage::Frame { offset } => Some(super::ops::call::Place::Bytes { offset, size: p.size }),
                ParamStorage::Block { .. } => None,
            };
            params.iter().filter_map(place).collect()
        };
        let (params, results) = (places(&function.params), places(&function.results));
        self.code.functions[id.0 as usize] = Some(DeviceFunction { code, params, results });
        Ok(())
    }
}
