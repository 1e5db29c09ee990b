//! Splitting of registers that hold one thing first and are then changed in loops.

use super::{
    for_each_successor, ArgList, CallArg, Function, Inst, Op, Operand, OperandList, ParamStorage, Reg, RegClass, RegList,
    Terminator, Visitor, Width,
};
use std::collections::HashMap;

/// Gives registers that are written once where a function begins, and later elsewhere, another register for all that
/// later writes can reach. What is only read before those then has one definition: an index of a thread that a loop
/// counts on from, for example, is what it was outside of the loop.
pub fn split_registers(function: &mut Function) {
    if function.blocks.len() < 2 {
        return;
    }
    let candidates = candidates(function);
    if candidates.is_empty() {
        return;
    }
    let mut copies = Vec::new();
    for reg in candidates {
        let Some(behind) = behind_later_writes(function, reg) else { continue };
        let width = if function.regs[reg.0 as usize] == RegClass::B64 { Width::W64 } else { Width::W32 };
        let dst = Reg(function.regs.len() as u32);
        function.regs.push(function.regs[reg.0 as usize]);
        rename(function, &behind, Rename { from: reg, to: dst });
        copies.push(Inst { guard: None, op: Op::Mov { width: Some(width), dst, src: Operand::Reg(reg) } });
    }
    append_to_first_block(function, copies);
}

/// Registers that one instruction of the first block writes, as an integer, and others elsewhere.
fn candidates(function: &Function) -> Vec<Reg> {
    let mut found = Writes::default();
    for (number, block) in function.blocks.iter().enumerate() {
        for inst in function.block_insts(block) {
            found.is_first = number == 0;
            found.is_plain = inst.guard.is_none()
                && matches!(
                    inst.op,
                    Op::Mov { width: Some(Width::W32 | Width::W64), .. }
                        | Op::IntBinary { .. }
                        | Op::IntTernary { .. }
                        | Op::Cvt { .. }
                        | Op::Cvta { .. }
                );
            inst.clone().visit(&mut found);
        }
    }
    // What is found by position is left as it is.
    let in_pools = function.reg_pool.iter().copied().chain(function.operand_pool.iter().filter_map(register_of));
    let arguments = function.arg_pool.iter().filter_map(|arg| match arg {
        CallArg::Reg { .. } | CallArg::Value { .. } => None,
        _ => None::<Reg>,
    });
    let params = function.params.iter().chain(&function.results).filter_map(|param| match param.storage {
        ParamStorage::Reg(reg) => Some(reg),
        _ => None,
    });
    for reg in in_pools.chain(arguments).chain(params).chain(function.stack) {
        found.counts.remove(&reg.0);
    }
    let is_integer = |reg: &u32| matches!(function.regs[*reg as usize], RegClass::B32 | RegClass::B64);
    let chosen = found.counts.iter().filter(|(_, count)| count.first == 1 && count.plain == 1 && count.later > 0);
    let mut regs: Vec<u32> = chosen.map(|(reg, _)| *reg).filter(is_integer).collect();
    regs.sort_unstable();
    regs.into_iter().map(Reg).collect()
}
