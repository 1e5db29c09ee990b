//! Which registers still lie in their homes as machine code has left them there, or found them, at a barrier:
//! these need not be written again at the next one.

use crate::flow::Graph;
use vgpu_engine::ir::*;

/// Takes what an instruction writes out of the set.
pub fn pass(function: &Function, inst: &Inst, at_home: &mut Set) {
    for reg in Uses::of_inst(function, inst).writes {
        at_home[reg as usize / 64] &= !(1 << (reg % 64));
    }
}

/// Whether warps stop at an operation with everything in its home.
fn is_barrier(op: &Op) -> bool {
    matches!(op, Op::BarrierSync { .. } | Op::BarrierArrive { .. } | Op::BarrierRed { .. })
}

/// For each block, the registers that are at home where it begins, on whichever way lanes come.
pub fn at_home(function: &Function, graph: &Graph) -> Vec<Set> {
    let (none, all) = (vec![0; function.regs.len().div_ceil(64)], vec![u64::MAX; function.regs.len().div_ceil(64)]);
    let mut sets = vec![all.clone(); function.blocks.len()];
    sets[0] = none;
    let mut changed = true;
    while changed {
        changed = false;
        for &block in &graph.order {
            let mut set = sets[block].clone();
            for inst in function.block_insts(&function.blocks[block]) {
                if is_barrier(&inst.op) {
                    set.clone_from(&all);
                }
                pass(function, inst, &mut set);
            }
            for &next in &graph.successors[block] {
                for (word, here) in sets[next].iter_mut().zip(&set) {
                    changed |= *word & !here != 0;
                    *word &= here;
                }
            }
        }
    }
    sets
}
