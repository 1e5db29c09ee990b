//! Layout of static shared memory.
//!
//! A device function has one body for all entries that call it, so the variables
//! it uses have the same address in every entry. Variables that only entries use
//! directly are placed per entry, above those.

use super::error::{text, Fail, Result};
use super::tables::{FunctionDecl, SharedVar, Tables, SHARED_SYMBOL};
use crate::ir::*;
use std::collections::HashMap;

/// Dynamic shared memory starts at least this aligned.
const DYNAMIC_ALIGN: u32 = 16;
/// Largest static shared memory of an entry in bytes.
const SHARED_LIMIT: u64 = 227 << 10;

/// Gives every shared variable its address.
pub(super) fn lay_out(tables: &mut Tables) -> Result<()> {
    let common = Region::of_device_functions(tables);
    let dynamic_align = tables.dynamic_shared_align.max(DYNAMIC_ALIGN);
    let callers = Callers::of(&tables.module.functions);
    let common_ends = callers.largest_reachable(tables.functions.iter().map(|decl| common.own_end(tables, decl)));
    let functions = tables.module.functions.iter();
    let dynamic = callers.largest_reachable(functions.map(|function| function.uses_dynamic_shared.into()));
    for index in 0..tables.functions.len() {
        let function = &mut tables.module.functions[index];
        if !function.is_entry {
            patch(function, &common.offsets);
            continue;
        }
        let mut region = Region { end: common_ends[index], offsets: HashMap::new() };
        for &var in &tables.functions[index].shared {
            match common.offsets.get(&var) {
                Some(&offset) => drop(region.offsets.insert(var, offset)),
                None => region.place(var, tables.shared[var as usize]),
            }
        }
        function.uses_dynamic_shared = dynamic[index] != 0;
        if function.uses_dynamic_shared {
            region.end = align(region.end, dynamic_align);
        }
        if region.end > SHARED_LIMIT {
            let FunctionDecl { name, at, .. } = tables.functions[index];
            let (name, bytes) = (text(name), region.end);
            let message = format!("`{name}` uses {bytes} bytes of shared memory, at most {SHARED_LIMIT} are possible");
            return Err(Fail::Invalid { at: Some(at), message });
        }
        function.shared_size = region.end as u32;
        patch(function, &region.offsets);
    }
    Ok(())
}

/// The next multiple of `align`; what is too large for a number is too large for everything.
fn align(end: u64, align: u32) -> u64 {
    end.checked_next_multiple_of(align.into()).unwrap_or(u64::MAX)
}

/// Variables with their offsets.
#[derive(Default)]
struct Region {
    offsets: HashMap<u32, u64>,
    end: u64,
}

impl Region {
    fn of_device_functions(tables: &Tables) -> Region {
        let mut region = Region::default();
        for function in tables.functions.iter().filter(|function| !function.is_entry) {
            for &var in &function.shared {
                region.place(var, tables.shared[var as usize]);
            }
        }
        region
    }

    /// End of the part that the function itself uses.
    fn own_end(&self, tables: &Tables, decl: &FunctionDecl) -> u64 {
        let end = |var: &u32| Some(self.offsets.get(var)?.saturating_add(tables.shared[*var as usize].size));
        decl.shared.iter().filter_map(end).max().unwrap_or(0)
    }

    fn place(&mut self, var: u32, variable: SharedVar) {
        if self.offsets.contains_key(&var) {
            return;
        }
        let offset = align(self.end, variable.align);
        self.offsets.insert(var, offset);
        self.end = offset.saturating_add(variable.size);
    }
}

/// Who calls whom, against the direction of the calls.
struct Callers {
    /// Direct callers by callee.
    direct: Vec<Vec<usize>>,
    /// Functions with calls whose target is not known: it may be any device function.
    indirect: Vec<usize>,
    is_entry: Vec<bool>,
}

impl Callers {
    fn of(functions: &[Function]) -> Callers {
        let mut callers = Callers {
            direct: vec![Vec::new(); functions.len()],
            indirect: Vec::new(),
            is_entry: functions.iter().map(|function| function.is_entry).collect(),
        };
        for (caller, function) in functions.iter().enumerate() {
            for callee in &function.callees {
                callers.direct[callee.0 as usize].push(caller);
            }
            if function.has_indirect_calls {
                callers.indirect.push(caller);
            }
        }
        callers
    }

    /// For each function the largest value among those of the device functions it
    /// can reach, and its own; 0 where there is none.
    fn largest_reachable(&self, values: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut sources: Vec<(usize, u64)> = values.enumerate().filter(|&(_, value)| value > 0).collect();
        // In descending order, the first value that comes to a function is its largest.
        sources.sort_by_key(|&(_, value)| std::cmp::Reverse(value));
        let mut largest = vec![0; self.direct.len()];
        let mut indirect = self.indirect.as_slice();
        for (source, value) in sources {
            let mut stack = vec![source];
            while let Some(function) = stack.pop() {
                if largest[function] != 0 {
                    continue;
                }
                largest[function] = value;
                stack.extend(&self.direct[function]);
                if !self.is_entry[function] {
                    stack.extend(std::mem::take(&mut indirect));
                }
            }
        }
        largest
    }
}

/// Replaces the marked symbols of shared variables by their addresses.
fn patch(function: &mut Function, offsets: &HashMap<u32, u64>) {
    if offsets.is_empty() {
        return;
    }
    function.for_each_operand_mut(|operand| {
        if let Operand::Symbol { id, offset } = *operand {
            if id.0 & SHARED_SYMBOL != 0 {
                let base = offsets.get(&(id.0 & !SHARED_SYMBOL)).copied().unwrap_or(0);
                *operand = Operand::Imm(base.wrapping_add(offset as i64 as u64) & 0xffff_ffff);
            }
        }
    });
}
