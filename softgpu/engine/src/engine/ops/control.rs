//! Branches and the end of threads.

use super::super::code::{Op, Pred};
use super::super::control::Wait;
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::FaultKind;

/// Jump to `imm`.
pub(in crate::engine) struct Branch;
impl Handler for Branch {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        cx.control.jump(op.imm as u32)
    }
}

/// Jump to `imm` where the predicate `a` holds, else go on.
pub(in crate::engine) struct BranchIf;
impl Handler for BranchIf {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let taken = cx.pred(Pred(op.a.0)) & cx.exec;
        let target = op.imm as u32;
        if taken == 0 {
            Flow::Next
        } else if taken == cx.exec {
            cx.control.jump(target)
        } else {
            diverge(cx, target, taken)
        }
    }
}

#[cold]
#[inline(never)]
fn diverge(cx: &mut Cx<'_>, target: u32, taken: u32) -> Flow {
    let control = &mut *cx.control;
    if target < control.pc {
        // The lanes that go on wait while the others repeat the loop.
        let next = control.pc;
        let rest = control.mask & !taken;
        control.mask = taken;
        control.park(next, rest, Wait::Ready);
        return control.jump(target);
    }
    control.split(target, taken);
    control.reschedule()
}

/// Jump to entry `a` of the table `imm`.
pub(in crate::engine) struct BranchIndexed;
impl Handler for BranchIndexed {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let index = cx.read32(op.a);
        let table = &cx.code.branch_tables[op.imm as usize];
        for lane in cx.lanes() {
            match table.get(index[lane] as usize) {
                Some(target) => cx.control.park(*target, 1 << lane, Wait::Ready),
                None => {
                    let detail = format!("brx.idx with index {} of {}", index[lane], table.len());
                    return cx.fail(FaultKind::InvalidPc, lane, detail);
                }
            }
        }
        cx.control.charge_call();
        cx.control.mask = 0;
        cx.control.pick();
        if cx.control.fuel < 0 {
            Flow::Yield
        } else {
            Flow::Next
        }
    }
}

/// Ends the executing threads.
pub(in crate::engine) struct Exit;
impl Handler for Exit {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, _: &Op) -> Flow {
        cx.control.exit(cx.exec);
        Flow::Barrier
    }
}

/// Aborts the launch.
pub(in crate::engine) struct Trap;
impl Handler for Trap {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, _: &Op) -> Flow {
        let lane = cx.exec.trailing_zeros() as usize;
        cx.fail(FaultKind::Trap, lane, "the kernel executed `trap`")
    }
}

/// Gives up the rest of the time slice at the next jump.
pub(in crate::engine) struct Nanosleep;
impl Handler for Nanosleep {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, _: &Op) -> Flow {
        std::thread::yield_now();
        cx.control.fuel = 0;
        Flow::Next
    }
}
