//! Barriers of a block. The block keeps the accounts; see [`super::super::block`].

use super::super::code::{Op, Pred};
use super::super::control::{BarrierResult, Wait};
use super::super::cx::{Arrival, Cx, Flow};
use super::super::isa::Handler;
use super::super::FaultKind;
use crate::ir::BarrierRedOp;

/// Barriers of a block.
pub(in crate::engine) const BARRIERS: usize = 16;

/// `imm` of a barrier that is for all threads of the block.
pub(in crate::engine) const ALL_THREADS: u64 = 1;

/// Barrier number and thread count (`None`: all) that an operation names in `a` and `b`.
fn named(cx: &Cx<'_>, op: &Op) -> Result<(u8, Option<u32>), (usize, String)> {
    let lane = cx.exec.trailing_zeros() as usize & 31;
    let id = cx.row(op.a)[lane];
    let all = op.imm & ALL_THREADS != 0;
    let threads = cx.row(op.b)[lane];
    if id as usize >= BARRIERS {
        return Err((lane, format!("barrier {id} does not exist: there are {BARRIERS}")));
    }
    if !all && (threads == 0 || !threads.is_multiple_of(32)) {
        return Err((lane, format!("barrier for {threads} threads: must be a multiple of 32")));
    }
    Ok((id as u8, (!all).then_some(threads)))
}

fn wait(cx: &mut Cx<'_>, op: &Op, result: Option<BarrierResult>, holds: u32) -> Flow {
    let (id, threads) = match named(cx, op) {
        Ok(named) => named,
        Err((lane, detail)) => return cx.fail(FaultKind::IllegalInstruction, lane, detail),
    };
    let control = &mut *cx.control;
    control.mask &= !cx.exec;
    control.park(control.pc, cx.exec, Wait::Barrier { id, result });
    cx.arrival = Some(Arrival { id, threads, lanes: cx.exec, holds: holds & cx.exec });
    Flow::Barrier
}

/// Waits at barrier `a` for `b` threads.
pub(in crate::engine) struct Sync;
impl Handler for Sync {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        wait(cx, op, None, 0)
    }
}

/// Arrives at barrier `a` for `b` threads without waiting.
pub(in crate::engine) struct Arrive;
impl Handler for Arrive {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (id, threads) = match named(cx, op) {
            Ok(named) => named,
            Err((lane, detail)) => return cx.fail(FaultKind::IllegalInstruction, lane, detail),
        };
        cx.arrival = Some(Arrival { id, threads, lanes: cx.exec, holds: 0 });
        Flow::Barrier
    }
}

/// As [`Sync`]; `dst` gets the reduction of predicate `c` over the waiting threads.
/// Bits 8 and 9 of `imm` are the reduction.
pub(in crate::engine) struct Reduce;
impl Handler for Reduce {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let reduction = match op.imm >> 8 & 3 {
            0 => BarrierRedOp::Popc,
            1 => BarrierRedOp::And,
            _ => BarrierRedOp::Or,
        };
        let holds = cx.pred(Pred(op.c.0));
        wait(cx, op, Some(BarrierResult { op: reduction, dst: op.dst }), holds)
    }
}

/// Immediate of a reduction.
pub(in crate::engine) fn reduction_imm(op: BarrierRedOp) -> u64 {
    match op {
        BarrierRedOp::Popc => 0,
        BarrierRedOp::And => 1 << 8,
        BarrierRedOp::Or => 2 << 8,
    }
}
