//! Layout of static shared memory.
//!
//! A device function has one body for all entries that call it, so the variables
//! it uses have the same address in every entry. Variables that only entries use
//! directly are placed per entry, above those.

use super::error::{invalid, text, Result};
use super::tables::{SharedVar, Tables, SHARED_SYMBOL};
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
    for index in 0..tables.functions.len() {
        if !tables.functions[index].is_entry {
            patch(&mut tables.module.functions[index], &common.offsets);
            continue;
        }
        if tables.module.functions[index].unsupported.is_some() {
            continue;
        }
        let reach = Reach::of(tables, index);
        let mut region = Region { end: reach.common_end(tables, &common), offsets: HashMap::new() };
        for &var in &tables.functions[index].shared {
            match common.offsets.get(&var) {
                Some(&offset) => {
                    region.offsets.insert(var, offset);
                    region.end = region.end.max(offset + tables.shared[var as usize].size);
                }
                None => region.place(var, tables.shared[var as usize]),
            }
        }
        let uses_dynamic = reach.dynamic_shared || tables.module.functions[index].uses_dynamic_shared;
        if uses_dynamic {
            region.end = region.end.next_multiple_of(dynamic_align.into());
        }
        if region.end > SHARED_LIMIT {
            let name = text(tables.functions[index].name);
            return invalid(format!("`{name}` uses {} bytes of shared memory, at most {SHARED_LIMIT} are possible", region.end));
        }
        let function = &mut tables.module.functions[index];
        function.shared_size = region.end as u32;
        function.uses_dynamic_shared = uses_dynamic;
        patch(function, &region.offsets);
    }
    Ok(())
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

    fn place(&mut self, var: u32, variable: SharedVar) {
        if self.offsets.contains_key(&var) {
            return;
        }
        let offset = self.end.next_multiple_of(variable.align.into());
        self.offsets.insert(var, offset);
        self.end = offset.saturating_add(variable.size);
    }
}

/// Functions that an entry can reach.
struct Reach {
    device_functions: Vec<usize>,
    dynamic_shared: bool,
}

impl Reach {
    fn of(tables: &Tables, entry: usize) -> Reach {
        let functions = &tables.module.functions;
        let mut reach = Reach { device_functions: Vec::new(), dynamic_shared: false };
        let mut seen = vec![false; functions.len()];
        let mut stack = vec![entry];
        let mut any_callee = false;
        while let Some(index) = stack.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let function = &functions[index];
            if index != entry {
                reach.device_functions.push(index);
            }
            reach.dynamic_shared |= function.uses_dynamic_shared;
            stack.extend(function.callees.iter().map(|callee| callee.0 as usize));
            if function.has_indirect_calls && !std::mem::replace(&mut any_callee, true) {
                // The target is not known: it may be any device function.
                stack.extend((0..functions.len()).filter(|&index| !functions[index].is_entry));
            }
        }
        reach
    }

    /// End of the common region as far as this entry can reach it.
    fn common_end(&self, tables: &Tables, common: &Region) -> u64 {
        let vars = self.device_functions.iter().flat_map(|&index| &tables.functions[index].shared);
        let ends = vars.map(|var| common.offsets.get(var).map_or(0, |offset| offset + tables.shared[*var as usize].size));
        ends.max().unwrap_or(0)
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
