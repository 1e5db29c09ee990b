//! Operations of checked code, before the accesses that they look at and around the places where threads meet.

use super::super::check::{meet_at_word, shared_access, AccessSpec, Place};
use super::super::code::{Op, Slot};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::space::{is_global, Space};
use super::memory::addresses;
use crate::ir;
use crate::memory::AccessError;

/// Looks at an access of `bytes` from a lane's address on, before it is made. What the access itself refuses is
/// left to it.
fn look(cx: &mut Cx<'_>, spec: &AccessSpec, lane: usize, address: u64, value: Option<u64>) -> Result<(), Flow> {
    let bytes = u64::from(spec.bytes);
    if !address.is_multiple_of(spec.align.into()) {
        return Ok(());
    }
    let shared = match spec.space {
        ir::Space::Shared => Some(address),
        ir::Space::Generic if Space::Shared.contains(address) => Some(Space::Shared.specific(address)),
        ir::Space::Generic if !is_global(address) => return Ok(()),
        _ => None,
    };
    if spec.strong {
        meet_at_word(cx, spec, lane, shared.map_or(address, |at| Space::Shared.generic(at)));
    }
    if let Some(at) = shared {
        shared_access(cx, spec, lane, at, value);
        return Ok(());
    }
    let env = cx.env;
    let workspace = env.grid_workspace != 0 && address.wrapping_sub(env.grid_workspace) < 8;
    let Some(checker) = env.check.as_ref().filter(|_| !workspace) else { return Ok(()) };
    match checker.outside((address, bytes), spec, cx.memory, env.heap) {
        None => Ok(()),
        Some(detail) => Err(cx.fail_access(lane, AccessError::Illegal(address), &detail)),
    }
}

/// Access `dst` of [`super::super::code::Code::accesses`] at `a` + `imm`. `b` is what is stored, in two rows if the
/// access has 8 bytes, or constant where it is not known.
pub(in crate::engine) struct CheckAccess;
impl CheckAccess {
    /// For `b`: what is stored is not known.
    pub(in crate::engine) const NO_VALUE: Slot = Slot(u32::MAX);
}
impl Handler for CheckAccess {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let spec = cx.code.accesses[op.dst as usize];
        let addresses = addresses(cx, op.a, spec.wide_base, op.imm);
        let values = match (op.b, spec.bytes) {
            (CheckAccess::NO_VALUE, _) => None,
            (slot, 8) => Some(cx.read64(slot)),
            (slot, _) => Some(cx.read32(slot).map(u64::from)),
        };
        for lane in cx.lanes() {
            let value = values.map(|values| values[lane]);
            if let Err(flow) = look(cx, &spec, lane, addresses[lane], value) {
                return flow;
            }
        }
        Flow::Next
    }
}

/// As [`CheckAccess`], of as many bytes as row `b` says.
pub(in crate::engine) struct CheckCopy;
impl Handler for CheckCopy {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let spec = cx.code.accesses[op.dst as usize];
        let addresses = addresses(cx, op.a, spec.wide_base, op.imm);
        let counts = cx.read32(op.b);
        for lane in cx.lanes() {
            let bytes = counts[lane].min(spec.bytes);
            if bytes == 0 {
                continue;
            }
            if let Err(flow) = look(cx, &AccessSpec { bytes, ..spec }, lane, addresses[lane], None) {
                return flow;
            }
        }
        Flow::Next
    }
}

/// As [`CheckAccess`], of `b` tiles, whose rows are at the addresses of eight lanes each.
pub(in crate::engine) struct CheckTiles;
impl Handler for CheckTiles {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let spec = cx.code.accesses[op.dst as usize];
        let addresses = addresses(cx, op.a, spec.wide_base, op.imm);
        for lane in cx.lanes().take_while(|lane| lane / 8 < op.b.0 as usize) {
            if let Err(flow) = look(cx, &spec, lane, addresses[lane], None) {
                return flow;
            }
        }
        Flow::Next
    }
}

/// As [`CheckAccess`], of all pieces of matrix `imm` at `a` with stride `b`.
pub(in crate::engine) struct CheckMatrix;
impl Handler for CheckMatrix {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let spec = cx.code.accesses[op.dst as usize];
        let code = cx.code;
        let matrix = &code.matrices[op.imm as usize];
        let ((base, stride), lanes) = (super::matrix::matrix_place(cx, op, matrix), cx.exec);
        for piece in matrix.pieces.iter().filter(|piece| lanes >> piece.place.lane & 1 != 0) {
            let address = base.wrapping_add(u64::from(piece.line) * stride).wrapping_add(u64::from(piece.offset));
            if let Err(flow) = look(cx, &spec, piece.place.lane as usize, address, None) {
                return flow;
            }
        }
        Flow::Next
    }
}

/// Lanes of a warp come to `bar.warp.sync`.
pub(in crate::engine) struct LeaveWarp;
impl Handler for LeaveWarp {
    fn run(cx: &mut Cx<'_>, _: &Op) -> Flow {
        let (warp, lanes) = (cx.warp, cx.exec);
        if let Some(shadow) = cx.shared.shadow.as_mut() {
            shadow.leave(warp, lanes, Place::Warp(warp));
        }
        Flow::Next
    }
}

/// Lanes of a warp go on from `bar.warp.sync`.
pub(in crate::engine) struct TakeWarp;
impl Handler for TakeWarp {
    fn run(cx: &mut Cx<'_>, _: &Op) -> Flow {
        let (warp, lanes) = (cx.warp, cx.exec);
        if let Some(shadow) = cx.shared.shadow.as_mut() {
            shadow.take(warp, lanes, Place::Warp(warp));
        }
        Flow::Next
    }
}
