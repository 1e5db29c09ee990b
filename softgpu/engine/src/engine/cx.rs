//! What a micro-operation sees: the registers and control state of the running
//! warp, and the memory of its block.

use super::code::{Code, Lanes, Op, Pred, Row, Slot, FULL, LANES};
use super::control::Control;
use super::launch::Env;
use super::local::Local;
use super::shared::Shared;
use super::FaultKind;
use crate::memory::{AccessError, Pinned};

static ZERO_PAIR: [Row; 2] = [Row::ZERO; 2];

/// What the interpreter does after a micro-operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Go on with the current fragment.
    Next,
    /// The current fragment is parked or gone.
    Switch,
    /// The time slice is used up.
    Yield,
    /// As `Switch`, and the block's barriers have to be looked at.
    Barrier,
    /// See [`Cx::fault`].
    Fault,
}

/// A fault of one lane, before its place is filled in.
#[derive(Clone, Debug)]
pub(super) struct LaneFault {
    pub(super) kind: FaultKind,
    pub(super) lane: u32,
    pub(super) address: u64,
    pub(super) detail: String,
}

/// Lanes that have come to a barrier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) id: u8,
    /// For how many threads the barrier is; `None`: all of the block.
    pub(super) threads: Option<u32>,
    pub(super) lanes: u32,
    /// Lanes whose predicate holds.
    pub(super) holds: u32,
}

/// The running warp.
pub(super) struct Cx<'a> {
    pub(super) code: &'a Code,
    pub(super) env: &'a Env<'a>,
    pub(super) tables: &'a Lanes,
    pub(super) memory: &'a Pinned<'a>,
    pub(super) rows: &'a mut Vec<Row>,
    pub(super) preds: &'a mut Vec<u32>,
    pub(super) control: &'a mut Control,
    pub(super) local: &'a mut Local,
    pub(super) shared: &'a mut Shared,
    /// `blockIdx`.
    pub(super) block: [u32; 3],
    /// Index of this warp in its block.
    pub(super) warp: u32,
    /// Lanes that execute the current operation.
    pub(super) exec: u32,
    /// Which of the threads that run the launch this is.
    pub(super) worker: u32,
    pub(super) fault: Option<LaneFault>,
    /// Set together with [`Flow::Barrier`].
    pub(super) arrival: Option<Arrival>,
}

impl Cx<'_> {
    /// The constant or register row of a source.
    #[inline(always)]
    pub(super) fn row(&self, slot: Slot) -> &[u32; LANES] {
        if slot.0 & Slot::CONST != 0 {
            &self.code.consts[(slot.0 & !Slot::CONST) as usize].0
        } else {
            &self.rows[self.control.base + slot.0 as usize].0
        }
    }

    /// The constant or register rows of a 64-bit source.
    #[inline(always)]
    pub(super) fn row64(&self, slot: Slot) -> &[u64; LANES] {
        let (rows, first) = if slot.0 & Slot::CONST != 0 {
            (&self.code.consts, (slot.0 & !Slot::CONST) as usize)
        } else {
            (&*self.rows, self.control.base + slot.0 as usize)
        };
        let pair: &[Row; 2] = rows[first..].first_chunk().unwrap_or(&ZERO_PAIR);
        zerocopy::transmute_ref!(pair)
    }

    #[inline(always)]
    pub(super) fn read32(&self, slot: Slot) -> [u32; LANES] {
        *self.row(slot)
    }

    #[inline(always)]
    pub(super) fn read64(&self, slot: Slot) -> [u64; LANES] {
        *self.row64(slot)
    }

    /// A register row to be written.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, dst: u32) -> &mut [u32; LANES] {
        &mut self.rows[self.control.base + dst as usize].0
    }

    /// The register rows of a 64-bit destination.
    #[inline(always)]
    pub(super) fn row64_mut(&mut self, dst: u32) -> &mut [u64; LANES] {
        let first = self.control.base + dst as usize;
        let pair: &mut [Row; 2] = self.rows[first..].first_chunk_mut().expect("a register of two rows");
        zerocopy::transmute_mut!(pair)
    }

    /// Writes the executing lanes of a register row.
    #[inline(always)]
    pub(super) fn write32(&mut self, dst: u32, values: [u32; LANES]) {
        let exec = self.exec;
        let row = &mut self.rows[self.control.base + dst as usize].0;
        if exec == FULL {
            *row = values;
        } else {
            let old = *row;
            let mut new = values;
            for i in 0..LANES {
                new[i] = if exec >> i & 1 != 0 { values[i] } else { old[i] };
            }
            *row = new;
        }
    }

    /// Writes the executing lanes of a register of two rows.
    #[inline(always)]
    pub(super) fn write64(&mut self, dst: u32, values: [u64; LANES]) {
        let mut new = values;
        if self.exec != FULL {
            let old = self.read64(Slot(dst));
            for i in 0..LANES {
                new[i] = if self.exec >> i & 1 != 0 { values[i] } else { old[i] };
            }
        }
        *self.row64_mut(dst) = new;
    }

    /// Lanes for which a predicate holds; meaningful only for executing lanes.
    #[inline(always)]
    pub(super) fn pred(&self, pred: Pred) -> u32 {
        let value = self.preds[self.control.pred_base + pred.index()];
        if pred.negated() {
            !value
        } else {
            value
        }
    }

    /// Writes the executing lanes of a predicate.
    #[inline(always)]
    pub(super) fn write_pred(&mut self, index: u32, lanes: u32) {
        let pred = &mut self.preds[self.control.pred_base + index as usize];
        *pred = (*pred & !self.exec) | (lanes & self.exec);
    }

    /// The executing lanes, lowest first.
    #[inline(always)]
    pub(super) fn lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.exec;
        std::iter::from_fn(move || {
            let lane = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (lane < 32).then_some(lane as usize)
        })
    }

    /// Ends the launch because of one lane.
    #[cold]
    pub(super) fn fail(&mut self, kind: FaultKind, lane: usize, detail: impl Into<String>) -> Flow {
        let fault = LaneFault { kind, lane: lane as u32, address: 0, detail: detail.into() };
        self.fault = Some(fault);
        Flow::Fault
    }

    /// Ends the launch because of one lane's access.
    #[cold]
    pub(super) fn fail_access(&mut self, lane: usize, error: AccessError, what: &str) -> Flow {
        let (kind, address) = match error {
            AccessError::Illegal(address) => (FaultKind::IllegalAddress, address),
            AccessError::Misaligned(address) => (FaultKind::MisalignedAddress, address),
        };
        self.fault = Some(LaneFault { kind, lane: lane as u32, address, detail: what.into() });
        Flow::Fault
    }

    /// The rows an operation lists: index in the low, count in the high half of `imm`.
    #[inline(always)]
    pub(super) fn list(&self, op: &Op) -> &[Slot] {
        let start = (op.imm & 0xffff_ffff) as usize;
        &self.code.slots[start..start + (op.imm >> 32) as usize]
    }
}
