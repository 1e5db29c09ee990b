//! Control state of a warp: which lanes are where.
//!
//! Lanes that are at the same place run together as a *fragment*. The deepest,
//! then earliest fragment runs first, so that the others wait where paths meet;
//! a fragment that uses up its time slice lets the others go ahead, so that
//! lanes may wait for each other.

use super::code::FunctionCode;
use super::cx::Flow;
use crate::ir::BarrierRedOp;

/// Why a fragment does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Ready,
    /// At an operation with `.sync`, until all lanes it names are there.
    Lanes,
    /// At a `bar.warp.sync` with this mask.
    WarpSync(u32),
    /// At a barrier of the block.
    Barrier {
        id: u8,
        result: Option<BarrierResult>,
    },
}

/// Where a `barrier.red` puts its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BarrierResult {
    pub(super) op: BarrierRedOp,
    pub(super) dst: u32,
}

/// Lanes at the same operation of the same activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    pub(super) pc: u32,
    pub(super) mask: u32,
    /// Index in [`Control::frames`].
    pub(super) frame: u32,
    pub(super) wait: Wait,
}

/// One activation of a function, shared by all lanes that called it from the same place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) parent: u32,
    /// Where the caller goes on; also names the call.
    pub(super) return_pc: u32,
    /// IR id of the function; the kernel's own activation has none.
    pub(super) function: u32,
    pub(super) depth: u32,
    /// Lanes that have not returned yet.
    pub(super) live: u32,
    pub(super) base: usize,
    pub(super) pred_base: usize,
    /// Bytes of local memory below this activation's own, per lane.
    pub(super) local_base: u32,
    pub(super) code: FunctionCode,
}

/// The fragments of a warp. The fields up to `pred_base` describe the running one.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) pc: u32,
    pub(super) mask: u32,
    pub(super) frame: u32,
    pub(super) base: usize,
    pub(super) pred_base: usize,
    /// Next place where another fragment waits.
    pub(super) limit: u32,
    /// What is left of the time slice, in operations.
    pub(super) fuel: i64,
    pub(super) others: Vec<Fragment>,
    pub(super) frames: Vec<Frame>,
    /// Lanes that have ended or never existed.
    pub(super) exited: u32,
    /// The running fragment goes first although others are earlier.
    ahead: bool,
}

/// What a time slice is worth, in operations.
pub(super) const SLICE: i64 = 200_000;
/// Cost of a taken backward branch or call besides the operations themselves.
const JUMP_COST: i64 = 8;
/// Cost of an operation that may be part of waiting for another thread.
const SPIN_COST: i64 = 4_000;

impl Control {
    /// All existing lanes at the entry of a kernel.
    pub(super) fn start(&mut self, lanes: u32, kernel: FunctionCode) {
        self.exited = !lanes;
        self.ahead = false;
        self.frames.clear();
        self.frames.push(Frame {
            parent: 0,
            return_pc: u32::MAX,
            function: u32::MAX,
            depth: 0,
            live: lanes,
            base: 0,
            pred_base: 0,
            local_base: 0,
            code: kernel,
        });
        self.others.clear();
        self.others.push(Fragment { pc: kernel.entry, mask: lanes, frame: 0, wait: Wait::Ready });
        self.mask = 0;
    }

    /// Whether all lanes have ended.
    pub(super) fn is_done(&self) -> bool {
        self.exited == u32::MAX
    }

    /// Whether a fragment can run.
    pub(super) fn is_ready(&self) -> bool {
        self.mask != 0 || self.others.iter().any(|f| f.wait == Wait::Ready)
    }

    /// Goes on with what is left of the running fragment, or with the best ready
    /// one; false if there is none.
    pub(super) fn proceed(&mut self) -> bool {
        if self.mask == 0 {
            return self.pick();
        }
        self.merge();
        true
    }

    /// Goes on at `target` with the running fragment.
    #[inline(always)]
    pub(super) fn jump(&mut self, target: u32) -> Flow {
        if target < self.pc {
            self.fuel -= i64::from(self.pc - target) + JUMP_COST;
            if self.fuel < 0 {
                self.pc = target;
                return Flow::Yield;
            }
        }
        self.pc = target;
        if self.others.is_empty() {
            Flow::Next
        } else {
            self.reschedule()
        }
    }

    /// Goes on at `target` in the activation that was just entered.
    pub(super) fn arrive(&mut self, target: u32) -> Flow {
        self.pc = target;
        if self.fuel < 0 {
            return Flow::Yield;
        }
        self.limit = u32::MAX;
        if self.others.is_empty() {
            Flow::Next
        } else {
            self.reschedule()
        }
    }

    /// Accounts for an operation with which a thread may wait for another one.
    #[inline(always)]
    pub(super) fn spin(&mut self) {
        self.fuel -= SPIN_COST;
    }

    /// Lets the running fragment meet others, or wait for them.
    #[cold]
    #[inline(never)]
    pub(super) fn reschedule(&mut self) -> Flow {
        if self.ahead {
            self.merge();
            return Flow::Next;
        }
        self.park(self.pc, self.mask, Wait::Ready);
        self.pick();
        Flow::Next
    }

    /// Adds lanes of the running activation to the waiting fragments.
    pub(super) fn park(&mut self, pc: u32, mask: u32, wait: Wait) {
        self.others.push(Fragment { pc, mask, frame: self.frame, wait });
    }

    /// Takes lanes away from the running fragment and lets them go on at `pc`.
    pub(super) fn split(&mut self, pc: u32, mask: u32) {
        self.mask &= !mask;
        self.park(pc, mask, Wait::Ready);
    }

    /// Makes the best ready fragment the running one; false if there is none.
    pub(super) fn pick(&mut self) -> bool {
        self.ahead = false;
        let ready = self.others.iter().enumerate().filter(|(_, f)| f.wait == Wait::Ready);
        let best = ready.max_by_key(|(_, f)| (self.frames[f.frame as usize].depth, std::cmp::Reverse(f.pc)));
        let Some((index, _)) = best else { return false };
        self.resume(index);
        true
    }

    /// Ends the running fragment's turn and lets the one that waited longest go ahead.
    pub(super) fn rotate(&mut self) {
        self.park(self.pc, self.mask, Wait::Ready);
        self.mask = 0;
        let alone = self.others.len() == 1;
        if let Some(index) = self.others.iter().position(|f| f.wait == Wait::Ready) {
            self.resume(index);
            self.ahead = !alone;
        }
    }

    fn resume(&mut self, index: usize) {
        let fragment = self.others.remove(index);
        self.pc = fragment.pc;
        self.mask = fragment.mask;
        self.enter(fragment.frame);
        self.merge();
    }

    /// Makes `frame` the running activation.
    pub(super) fn enter(&mut self, frame: u32) {
        self.frame = frame;
        let frame = &self.frames[frame as usize];
        self.base = frame.base;
        self.pred_base = frame.pred_base;
    }

    /// Joins the fragments at the running one's place and finds the next meeting place.
    fn merge(&mut self) {
        let (pc, frame) = (self.pc, self.frame);
        let mut mask = self.mask;
        let mut limit = u32::MAX;
        self.others.retain(|f| {
            if f.frame != frame || !matches!(f.wait, Wait::Ready | Wait::Lanes) {
                return true;
            }
            if f.pc == pc {
                mask |= f.mask;
                return false;
            }
            if f.pc > pc {
                limit = limit.min(f.pc);
            }
            true
        });
        self.mask = mask;
        self.limit = limit;
    }

    /// Ends `lanes` of the running fragment for good.
    pub(super) fn exit(&mut self, lanes: u32) {
        self.exited |= lanes;
        self.mask &= !lanes;
        for frame in &mut self.frames {
            frame.live &= !lanes;
        }
        self.drop_dead_frames();
        // Those that wait for the ended lanes have to look again.
        for f in self.others.iter_mut().filter(|f| f.wait == Wait::Lanes) {
            f.wait = Wait::Ready;
        }
        self.release_warp_syncs();
    }

    /// Lets fragments at `bar.warp.sync` go on where all named lanes are there.
    pub(super) fn release_warp_syncs(&mut self) {
        for i in 0..self.others.len() {
            let Wait::WarpSync(named) = self.others[i].wait else { continue };
            let same = Wait::WarpSync(named);
            let arrived = self.others.iter().filter(|f| f.wait == same).fold(0, |m, f| m | f.mask);
            if named & !self.exited & !arrived == 0 {
                for f in self.others.iter_mut().filter(|f| f.wait == same) {
                    f.wait = Wait::Ready;
                }
            }
        }
    }

    /// The live activation that this call made before for other lanes.
    pub(super) fn find_frame(&self, return_pc: u32, function: u32) -> Option<u32> {
        let same =
            |f: &Frame| f.live != 0 && f.parent == self.frame && f.return_pc == return_pc && f.function == function;
        self.frames.iter().skip(1).position(same).map(|i| i as u32 + 1)
    }

    /// Frees the activations at the top of the stack that all lanes have left.
    pub(super) fn drop_dead_frames(&mut self) {
        while self.frames.len() > 1 && self.frames.last().is_some_and(|f| f.live == 0) {
            self.frames.pop();
        }
    }

    /// Accounts for a call.
    pub(super) fn charge_call(&mut self) {
        self.fuel -= 8 * JUMP_COST;
    }
}
