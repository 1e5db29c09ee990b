//! Operations between the lanes of a warp.

use super::super::code::{Op, Pred, Slot, LANES};
use super::super::control::Wait;
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::lane::{map, Lane};
use crate::ir::{ReduxOp, ShflMode, VoteMode};
use std::marker::PhantomData;

/// Stands for the missing lane mask of forms without `.sync`.
pub(in crate::engine) const NO_MASK: u32 = u32::MAX;

/// Lets the lanes whose named lanes are all here execute, and parks the others
/// until those arrive. Gives the lanes each executing lane works with, or `None`
/// if no lane can execute yet.
#[inline(always)]
fn meet(cx: &mut Cx<'_>, mask: u32) -> Option<[u32; LANES]> {
    if mask == NO_MASK {
        return Some([cx.exec; LANES]);
    }
    let named = cx.read32(Slot(mask));
    let here = cx.exec | cx.control.exited;
    let missing = cx.tables.mask(|i| named[i] & !here != 0);
    if missing & cx.exec != 0 {
        wait_for_others(cx, missing & cx.exec);
        if cx.exec == 0 {
            return None;
        }
    }
    let exec = cx.exec;
    Some(map(named, |n| n & exec))
}

/// Whether all lanes are here; if not, parks those that are until the others arrive.
#[inline(always)]
pub(in crate::engine) fn meet_all(cx: &mut Cx<'_>) -> bool {
    if cx.exec | cx.control.exited == u32::MAX {
        return true;
    }
    wait_for_others(cx, cx.exec);
    false
}

#[cold]
#[inline(never)]
fn wait_for_others(cx: &mut Cx<'_>, lanes: u32) {
    let control = &mut *cx.control;
    control.mask &= !lanes;
    control.park(control.pc - 1, lanes, Wait::Lanes);
    cx.exec &= !lanes;
}

/// `dst` = `a` of another lane. `b` and `c` as in PTX; `imm`: mask row, and from bit 32 on
/// the predicate that says whether the source lane was in range (0 for none).
pub(in crate::engine) struct Shfl<M>(PhantomData<M>);

/// Lane that a `shfl` mode reads and whether it is in range.
pub(in crate::engine) trait Source {
    fn source(lane: u32, b: u32, min: u32, max: u32, segment: u32) -> (u32, bool);
}
/// `shfl.up`
pub(in crate::engine) struct Up;
/// `shfl.down`
pub(in crate::engine) struct Down;
/// `shfl.bfly`
pub(in crate::engine) struct Butterfly;
/// `shfl.idx`
pub(in crate::engine) struct Index;

impl Source for Up {
    #[inline(always)]
    fn source(lane: u32, b: u32, _: u32, max: u32, _: u32) -> (u32, bool) {
        let source = lane.wrapping_sub(b);
        (source, source as i32 >= max as i32)
    }
}
impl Source for Down {
    #[inline(always)]
    fn source(lane: u32, b: u32, _: u32, max: u32, _: u32) -> (u32, bool) {
        (lane + b, lane + b <= max)
    }
}
impl Source for Butterfly {
    #[inline(always)]
    fn source(lane: u32, b: u32, _: u32, max: u32, _: u32) -> (u32, bool) {
        (lane ^ b, lane ^ b <= max)
    }
}
impl Source for Index {
    #[inline(always)]
    fn source(_: u32, b: u32, min: u32, max: u32, segment: u32) -> (u32, bool) {
        let source = min | b & !segment;
        (source, source <= max)
    }
}

impl<M: Source> Handler for Shfl<M> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        if meet(cx, op.imm as u32).is_none() {
            return Flow::Switch;
        }
        let (a, b, c) = (cx.read32(op.a), cx.read32(op.b), cx.read32(op.c));
        let mut r = [0; LANES];
        let mut in_range = 0;
        for i in 0..LANES {
            let lane = i as u32;
            let segment = c[i] >> 8 & 31;
            let min = lane & segment;
            let max = min | c[i] & 31 & !segment;
            let (source, valid) = M::source(lane, b[i] & 31, min, max, segment);
            let source = if valid { source } else { lane };
            r[i] = a[(source & 31) as usize];
            in_range |= u32::from(valid) << i;
        }
        cx.write32(op.dst, r);
        let pred = (op.imm >> 32) as u32;
        if pred != 0 {
            cx.write_pred(pred, in_range);
        }
        Flow::Next
    }
}

/// Entry for a `shfl` mode.
pub(in crate::engine) fn shfl(mode: ShflMode) -> super::super::isa::Entry {
    use super::super::isa::select;
    match mode {
        ShflMode::Up => select::<Shfl<Up>>(),
        ShflMode::Down => select::<Shfl<Down>>(),
        ShflMode::Bfly => select::<Shfl<Butterfly>>(),
        ShflMode::Idx => select::<Shfl<Index>>(),
    }
}

/// Immediate of a vote.
pub(in crate::engine) fn vote_imm(mode: VoteMode) -> u64 {
    match mode {
        VoteMode::All => 0,
        VoteMode::Any => 1,
        VoteMode::Uni => 2,
        VoteMode::Ballot => 3,
    }
}

/// `dst` = vote on predicate `a` among the lanes of mask row `b`; `imm` is the mode.
pub(in crate::engine) struct Vote;
impl Handler for Vote {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let Some(peers) = meet(cx, op.b.0) else { return Flow::Switch };
        let holds = cx.pred(Pred(op.a.0));
        if op.imm == 3 {
            cx.write32(op.dst, map(peers, |p| p & holds));
            return Flow::Next;
        }
        let lanes = cx.tables.mask(|i| {
            let all = peers[i] & !holds == 0;
            let any = peers[i] & holds != 0;
            match op.imm {
                0 => all,
                1 => any,
                _ => all || !any,
            }
        });
        cx.write_pred(op.dst, lanes);
        Flow::Next
    }
}

/// `dst` = lanes of mask row `b` with the same `a`.
pub(in crate::engine) struct MatchAny<T>(PhantomData<T>);
impl<T: Lane + PartialEq> Handler for MatchAny<T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let Some(peers) = meet(cx, op.b.0) else { return Flow::Switch };
        let a = T::read(cx, op.a);
        let mut r = [0; LANES];
        for i in cx.lanes() {
            r[i] = cx.tables.mask(|j| a[j] == a[i]) & peers[i];
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// `dst` = mask row `b` if all its lanes have the same `a`, else 0; predicate `c` (0 for
/// none) says which.
pub(in crate::engine) struct MatchAll<T>(PhantomData<T>);
impl<T: Lane + PartialEq> Handler for MatchAll<T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let Some(peers) = meet(cx, op.b.0) else { return Flow::Switch };
        let a = T::read(cx, op.a);
        let mut r = [0; LANES];
        let mut agree = 0;
        for i in cx.lanes() {
            if cx.tables.mask(|j| a[j] == a[i]) & peers[i] == peers[i] {
                r[i] = peers[i];
                agree |= 1 << i;
            }
        }
        cx.write32(op.dst, r);
        if op.c.0 != 0 {
            cx.write_pred(op.c.0, agree);
        }
        Flow::Next
    }
}

/// `dst` = the executing lanes.
pub(in crate::engine) struct ActiveMask;
impl Handler for ActiveMask {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let exec = cx.exec;
        cx.write32(op.dst, [exec; LANES]);
        Flow::Next
    }
}

/// Immediate of a reduction.
pub(in crate::engine) fn redux_imm(op: ReduxOp) -> u64 {
    match op {
        ReduxOp::AddS32 | ReduxOp::AddU32 => 0,
        ReduxOp::MinS32 => 1,
        ReduxOp::MinU32 => 2,
        ReduxOp::MaxS32 => 3,
        ReduxOp::MaxU32 => 4,
        ReduxOp::And => 5,
        ReduxOp::Or => 6,
        ReduxOp::Xor => 7,
    }
}

/// `dst` = reduction of `a` over the lanes of mask row `b`; `imm` is the operation.
pub(in crate::engine) struct Redux;
impl Handler for Redux {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let Some(peers) = meet(cx, op.b.0) else { return Flow::Switch };
        let a = cx.read32(op.a);
        let combine = |x: u32, y: u32| match op.imm {
            0 => x.wrapping_add(y),
            1 => (x as i32).min(y as i32) as u32,
            2 => x.min(y),
            3 => (x as i32).max(y as i32) as u32,
            4 => x.max(y),
            5 => x & y,
            6 => x | y,
            _ => x ^ y,
        };
        let mut r = [0; LANES];
        let mut done = 0u32;
        for i in cx.lanes() {
            if done >> i & 1 != 0 {
                continue;
            }
            let group = (0..LANES).filter(|j| peers[i] >> j & 1 != 0);
            let value = group.map(|j| a[j]).reduce(combine).unwrap_or(0);
            for j in 0..LANES {
                if peers[j] == peers[i] {
                    r[j] = value;
                    done |= 1 << j;
                }
            }
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// Predicate `dst` is true in the first lane of mask row `b`; row `a`, unless 0
/// is in `imm`, gets that lane.
pub(in crate::engine) struct Elect;
impl Handler for Elect {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let Some(peers) = meet(cx, op.b.0) else { return Flow::Switch };
        let leader = map(peers, u32::trailing_zeros);
        let lanes = (0..LANES).map(|i| u32::from(leader[i] == i as u32) << i).sum();
        cx.write_pred(op.dst, lanes);
        if op.imm != 0 {
            cx.write32(op.a.0, leader);
        }
        Flow::Next
    }
}

/// Waits until the lanes of mask row `a` are here.
pub(in crate::engine) struct WarpSync;
impl Handler for WarpSync {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let named = cx.read32(op.a);
        let here = cx.exec | cx.control.exited;
        let missing = cx.tables.mask(|i| named[i] & !here != 0);
        if missing & cx.exec == 0 {
            return Flow::Next;
        }
        let control = &mut *cx.control;
        for (lane, named) in named.into_iter().enumerate().filter(|(lane, _)| cx.exec >> lane & 1 != 0) {
            control.park(control.pc, 1 << lane, Wait::WarpSync(named));
        }
        control.mask &= !cx.exec;
        control.release_warp_syncs();
        Flow::Switch
    }
}
