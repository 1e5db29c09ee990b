//! Calls, returns, and the functions that the device runtime provides.

use super::super::code::{FunctionCode, Op, Slot};
use super::super::control::{Frame, Wait};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::space::function_at;
use super::super::FaultKind;

/// Where an argument or result lies in an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Place {
    /// One row.
    Word(Slot),
    /// Two rows.
    Long(Slot),
    /// Bytes of the frame.
    Bytes { offset: u32, size: u32 },
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Callee {
    /// IR function id.
    Function(u32),
    /// Function address in a row pair.
    Address(Slot),
}

/// A call site.
#[derive(Clone, Debug)]
pub(in crate::engine) struct CallSpec {
    pub(in crate::engine) callee: Callee,
    pub(in crate::engine) args: Vec<Place>,
    pub(in crate::engine) results: Vec<Place>,
    /// Where the caller keeps the top of the stack, if it allocates there.
    pub(in crate::engine) stack: Option<Slot>,
}

/// Least bytes of stack that a call takes, for the return address and saved registers.
const CALL_BYTES: u32 = 16;
/// Most rows one warp may use.
const MAX_ROWS: usize = 1 << 19;

/// Calls what call site `imm` says.
pub(in crate::engine) struct Call;
impl Handler for Call {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let code = cx.code;
        let spec = &code.calls[op.imm as usize];
        match spec.callee {
            Callee::Function(id) => call(cx, spec, id, cx.exec),
            Callee::Address(slot) => call_address(cx, spec, slot),
        }
    }
}

/// Calls the function whose address the first executing lane holds; lanes with
/// another address repeat the operation.
fn call_address(cx: &mut Cx<'_>, spec: &CallSpec, slot: Slot) -> Flow {
    let addresses = cx.read64(slot);
    let first = cx.exec.trailing_zeros() as usize & 31;
    let target = addresses[first];
    let Some(id) = function_at(target) else {
        return cx.fail(FaultKind::InvalidPc, first, format!("indirect call of {target:#x}, which is no function"));
    };
    let same = cx.lanes().filter(|i| addresses[*i] == target).map(|i| 1 << i).sum::<u32>();
    let rest = cx.exec & !same;
    if rest != 0 {
        let control = &mut *cx.control;
        control.mask &= !rest;
        control.park(control.pc - 1, rest, Wait::Ready);
        cx.exec = same;
    }
    call(cx, spec, id, same)
}

fn call(cx: &mut Cx<'_>, spec: &CallSpec, id: u32, lanes: u32) -> Flow {
    let first = lanes.trailing_zeros() as usize & 31;
    let code = cx.code;
    let Some(callee) = code.functions.get(id as usize).and_then(Option::as_ref) else {
        return cx.fail(FaultKind::InvalidPc, first, "call of a function that is not in the program");
    };
    // A direct call may leave a result alone.
    let results = callee.results.get(..spec.results.len()).unwrap_or(&callee.results);
    if !agree(&spec.args, &callee.params) || !agree(&spec.results, results) {
        return cx.fail(FaultKind::InvalidPc, first, "call with a prototype that is not the function's");
    }
    let local_base = callee_base(cx, spec.stack);
    let control = &mut *cx.control;
    let caller = control.frame;
    let return_pc = control.pc;
    // Lanes that skip the call wait behind it.
    let skipping = control.mask & !lanes;
    if skipping != 0 {
        control.mask &= !skipping;
        control.park(return_pc, skipping, Wait::Ready);
    }
    let frame = match control.find_frame(return_pc, id) {
        Some(frame) if control.frames[frame as usize].local_base >= local_base => {
            control.frames[frame as usize].live |= lanes;
            frame
        }
        _ => match push_frame(cx, (id, callee.code), (return_pc, local_base), lanes) {
            Ok(frame) => frame,
            Err(detail) => return cx.fail(FaultKind::StackOverflow, first, detail),
        },
    };
    for (from, to) in spec.args.iter().zip(&callee.params) {
        copy(cx, (caller, *from), (frame, *to));
    }
    let control = &mut *cx.control;
    control.enter(frame);
    control.charge_call();
    control.arrive(callee.code.entry)
}

/// Local address at which the frame of a callee may start.
fn callee_base(cx: &Cx<'_>, stack: Option<Slot>) -> u32 {
    let caller = &cx.control.frames[cx.control.frame as usize];
    let used = caller.code.frame.next_multiple_of(16).max(CALL_BYTES);
    let base = caller.local_base.saturating_add(used);
    let Some(stack) = stack else { return base };
    let tops = cx.read64(stack);
    let top = cx.lanes().map(|lane| tops[lane]).max().unwrap_or(0);
    u32::try_from(top).unwrap_or(u32::MAX).checked_next_multiple_of(16).unwrap_or(u32::MAX).max(base)
}

fn push_frame(
    cx: &mut Cx<'_>,
    (function, callee): (u32, FunctionCode),
    (return_pc, local_base): (u32, u32),
    lanes: u32,
) -> Result<u32, String> {
    let control = &mut *cx.control;
    let caller = control.frames[control.frame as usize];
    let top = control.frames.iter().map(|f| f.base + f.code.rows as usize).max().unwrap_or(0);
    let pred_top = control.frames.iter().map(|f| f.pred_base + f.code.preds as usize).max().unwrap_or(0);
    let rows = top + callee.rows as usize;
    if local_base.saturating_add(callee.frame) > cx.local.stride() || rows > MAX_ROWS {
        return Err(format!("{} nested calls exceed the stack limit of a thread", caller.depth + 1));
    }
    if cx.rows.len() < rows {
        cx.rows.resize(rows, super::super::code::Row::ZERO);
    }
    let preds = pred_top + callee.preds as usize;
    if cx.preds.len() < preds {
        cx.preds.resize(preds, 0);
    }
    cx.preds[pred_top] = 0;
    control.frames.push(Frame {
        parent: control.frame,
        return_pc,
        function,
        depth: caller.depth + 1,
        live: lanes,
        base: top,
        pred_base: pred_top,
        local_base,
        code: callee,
    });
    Ok(control.frames.len() as u32 - 1)
}

/// Whether values can be passed from one list of places to the other.
fn agree(a: &[Place], b: &[Place]) -> bool {
    let same = |pair: (&Place, &Place)| match pair {
        (Place::Word(_), Place::Word(_)) | (Place::Long(_), Place::Long(_)) => true,
        (Place::Bytes { size: a, .. }, Place::Bytes { size: b, .. }) => a == b,
        _ => false,
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// Copies the executing lanes' value between activations.
fn copy(cx: &mut Cx<'_>, (from_frame, from): (u32, Place), (to_frame, to): (u32, Place)) {
    match (from, to) {
        (Place::Word(from), Place::Word(to)) => {
            cx.control.enter(from_frame);
            let values = cx.read32(from);
            cx.control.enter(to_frame);
            cx.write32(to.0, values);
        }
        (Place::Long(from), Place::Long(to)) => {
            cx.control.enter(from_frame);
            let values = cx.read64(from);
            cx.control.enter(to_frame);
            cx.write64(to.0, values);
        }
        (Place::Bytes { offset: from, size }, Place::Bytes { offset: to, .. }) => {
            let from = u64::from(cx.control.frames[from_frame as usize].local_base + from);
            let to = u64::from(cx.control.frames[to_frame as usize].local_base + to);
            for lane in cx.lanes() {
                cx.local.lane(lane).copy(to, from, size);
            }
        }
        // `agree` was asked before the call.
        _ => {}
    }
}

/// Returns from the running activation to its caller.
pub(in crate::engine) struct Return;
impl Handler for Return {
    fn run(cx: &mut Cx<'_>, _: &Op) -> Flow {
        let code = cx.code;
        let frame = cx.control.frame;
        let Frame { parent, return_pc, function, .. } = cx.control.frames[frame as usize];
        let spec = &code.calls[code.ops[return_pc as usize - 1].imm as usize];
        let callee = code.functions.get(function as usize).and_then(Option::as_ref);
        for (from, to) in callee.iter().flat_map(|f| &f.results).zip(&spec.results) {
            copy(cx, (frame, *from), (parent, *to));
        }
        let control = &mut *cx.control;
        control.frames[frame as usize].live &= !cx.exec;
        control.enter(parent);
        control.drop_dead_frames();
        control.arrive(return_pc)
    }
}

/// What a runtime function did for one lane: its result, if it has one.
pub(in crate::engine) type RuntimeResult = Result<Option<u64>, (FaultKind, u64, String)>;

/// Calls a function of the device runtime; `imm` is the call site, `dst` which function.
pub(in crate::engine) struct CallRuntime;
impl Handler for CallRuntime {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let code = cx.code;
        let spec = &code.calls[op.imm as usize];
        let lanes = cx.exec;
        for lane in cx.lanes() {
            let mut args = [0; 5];
            for (value, place) in args.iter_mut().zip(&spec.args) {
                *value = match *place {
                    Place::Word(slot) => u64::from(cx.row(slot)[lane]),
                    Place::Long(slot) => cx.read64(slot)[lane],
                    Place::Bytes { offset, size } => frame_word(cx, lane, offset, size),
                };
            }
            cx.exec = lanes;
            match super::super::runtime::call(cx, op.dst, lane, args) {
                Ok(Some(result)) => {
                    cx.exec = 1 << lane;
                    return_word(cx, &spec.results, lane, result);
                    cx.exec = lanes;
                }
                Ok(None) => {}
                Err((kind, address, detail)) => {
                    let flow = cx.fail(kind, lane, detail);
                    if let Some(fault) = &mut cx.fault {
                        fault.address = address;
                    }
                    return flow;
                }
            }
        }
        Flow::Next
    }
}

fn frame_word(cx: &mut Cx<'_>, lane: usize, offset: u32, size: u32) -> u64 {
    let base = cx.control.frames[cx.control.frame as usize].local_base;
    let mut word = [0; 8];
    if let Some(bytes) = cx.local.lane(lane).range(u64::from(base + offset), size.min(8)) {
        word[..bytes.len()].copy_from_slice(bytes);
    }
    u64::from_le_bytes(word)
}

fn return_word(cx: &mut Cx<'_>, results: &[Place], lane: usize, value: u64) {
    match results.first() {
        Some(Place::Word(slot)) => cx.write32(slot.0, [value as u32; 32]),
        Some(Place::Long(slot)) => cx.write64(slot.0, [value; 32]),
        Some(Place::Bytes { offset, size }) => {
            let base = cx.control.frames[cx.control.frame as usize].local_base;
            if let Some(bytes) = cx.local.lane(lane).range(u64::from(base + offset), (*size).min(8)) {
                bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
            }
        }
        None => {}
    }
}
