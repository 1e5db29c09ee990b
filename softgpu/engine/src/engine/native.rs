//! Running the warps of a block in machine code.

use super::block::{Block, Warp};
use super::code::{Code, FULL, LANES};
use super::control::{Control, Fragment, Wait};
use super::cx::{Cx, Flow, LaneFault};
use super::launch::Env;
use super::shared::Shared;
use super::tier::{status, Entry, Frame, Lanes, Native, Site, FOREIGN};
use crate::memory::Pinned;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

/// How much more a time slice holds in machine code than in the interpreter.
pub(super) const SPEED: i64 = 16;

/// What a thread of the host keeps for running machine code.
#[derive(Default)]
pub(super) struct Cache {
    sites: Vec<Site>,
    masks: Vec<u32>,
    /// [`Pinned::generation`] of what `sites` holds.
    generation: u64,
}

impl Cache {
    fn prepare(&mut self, native: &dyn Native, generation: u64) {
        if self.sites.len() != native.sites() || self.generation != generation {
            self.sites.clear();
            self.sites.resize(native.sites(), Site::default());
            self.generation = generation;
        }
        self.masks.resize(native.masks(), 0);
    }
}

/// What the callbacks of machine code need. Raw pointers, because a callback runs while the caller of
/// the machine code is in the middle of the block.
struct Host<'a> {
    code: &'a Code,
    env: &'a Env<'a>,
    memory: &'a Pinned<'a>,
    warps: *mut Warp,
    shared: *mut Shared,
    sites: *mut Site,
    block: [u32; 3],
    worker: u32,
    fault: Option<LaneFault>,
}

/// A block whose warps may run in machine code.
pub(super) struct Session<'a> {
    host: Host<'a>,
    frame: Frame,
    native: &'a dyn Native,
    masks: *mut u32,
}

/// What is the same for all blocks that a thread runs.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) code: &'a Code,
    pub(super) env: &'a Env<'a>,
    pub(super) memory: &'a Pinned<'a>,
    pub(super) worker: u32,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        native: &'a dyn Native,
        context: Context<'a>,
        cache: &'a mut Cache,
        warps: &mut [Warp],
        shared: &mut Shared,
        block: [u32; 3],
    ) -> Session<'a> {
        let Context { code, env, memory, worker } = context;
        cache.prepare(native, memory.generation());
        let indices = env.thread_indices();
        for (index, warp) in warps.iter_mut().enumerate() {
            warp.lanes = Some(Lanes {
                rows: warp.rows.as_mut_ptr().cast(),
                preds: warp.preds.as_mut_ptr(),
                local: warp.local.pointer(),
                local_size: warp.local.stride().into(),
                tid: indices[index].as_ptr(),
                warp: index as u32,
                running: 0,
                exited: 0,
                pc: 0,
            });
        }
        let (data, size) = shared.raw();
        let frame = Frame {
            params: env.params.as_ptr(),
            shared: data,
            shared_size: size,
            sites: cache.sites.as_mut_ptr(),
            masks: cache.masks.as_mut_ptr(),
            execute,
            locate,
            fuel: 0,
            ntid: env.block,
            nctaid: env.grid,
            ctaid: block,
            warps: env.warps,
            dynamic_shared: env.dynamic_shared,
            host: ptr::null_mut(),
        };
        let host = Host {
            code,
            env,
            memory,
            warps: warps.as_mut_ptr(),
            shared,
            sites: cache.sites.as_mut_ptr(),
            block,
            worker,
            fault: None,
        };
        Session { host, frame, native, masks: cache.masks.as_mut_ptr() }
    }

    /// The entry at which a warp that is ready can go on, if there is one.
    pub(super) fn entry(&self, control: &Control) -> Option<u32> {
        if control.frames.len() != 1 || control.mask == 0 {
            return None;
        }
        let entries = self.native.entries();
        let index = entries.iter().position(|e| e.pc == control.pc)?;
        let here = |f: &Fragment| {
            let at = |block: &u32| self.host.code.map.blocks[*block as usize] == f.pc;
            f.wait == Wait::Ready && entries[index].waiting.iter().any(at)
        };
        control.others.iter().all(here).then_some(index as u32)
    }

    fn entry_of(&self, index: u32) -> &Entry {
        &self.native.entries()[index as usize]
    }

    /// Takes the lanes of a warp that is ready over into machine code.
    pub(super) fn enter(&mut self, warp: &mut Warp, entry: u32) -> u32 {
        let control = &mut warp.control;
        for fragment in control.others.drain(..) {
            let blocks = &self.host.code.map.blocks;
            let at = |block: &&u32| blocks[**block as usize] == fragment.pc;
            if let Some(block) = self.entry_of(entry).waiting.iter().find(at) {
                // SAFETY: `masks` has one word for each block.
                unsafe { *self.masks.add(*block as usize) |= fragment.mask };
            }
        }
        let (running, exited) = (control.mask, control.exited);
        control.mask = 0;
        self.run(warp, entry | FOREIGN, running, exited)
    }

    /// Runs lanes of a warp from an entry on.
    pub(super) fn run(&mut self, warp: &mut Warp, entry: u32, running: u32, exited: u32) -> u32 {
        let Some(lanes) = &mut warp.lanes else { return status::FAULT };
        (lanes.running, lanes.exited) = (running, exited);
        let lanes: *mut Lanes = lanes;
        self.frame.host = ptr::from_mut(&mut self.host).cast();
        // SAFETY: the frame's pointers are those of the block's own memory, which lives as long as `self`
        // and does not move; `Native` promises the rest.
        unsafe { self.native.function()(&mut self.frame, lanes, entry) }
    }

    pub(super) fn fuel(&mut self) -> &mut i64 {
        &mut self.frame.fuel
    }

    pub(super) fn take_fault(&mut self) -> Option<LaneFault> {
        self.host.fault.take()
    }

    /// Gives the lanes of a warp back to the interpreter where machine code has left them.
    pub(super) fn leave(&mut self, warp: &mut Warp) {
        let Some(lanes) = &warp.lanes else { return };
        let control = &mut warp.control;
        control.exit(lanes.exited & !control.exited);
        control.enter(0);
        control.pc = lanes.pc;
        control.mask = lanes.running;
        for (block, pc) in self.host.code.map.blocks.iter().enumerate() {
            // SAFETY: `masks` has one word for each block.
            let mask = unsafe { std::mem::take(&mut *self.masks.add(block)) };
            if mask != 0 {
                control.park(*pc, mask, Wait::Ready);
            }
        }
    }
}

/// Calls micro-operations from machine code.
unsafe extern "C" fn execute(frame: *mut Frame, lanes: *mut Lanes, first: u32, end: u32, exec: u32) -> u32 {
    // SAFETY: machine code passes on what `Session::run` gave it: nothing else refers to the host or to
    // the warp while it runs.
    let (frame, lanes) = unsafe { (&mut *frame, &mut *lanes) };
    // SAFETY: as above.
    let host = unsafe { &mut *frame.host.cast::<Host<'_>>() };
    // SAFETY: as above; the index is one of the block's warps.
    let (warp, shared) = unsafe { (&mut *host.warps.add(lanes.warp as usize), &mut *host.shared) };
    let (fuel, exited) = (frame.fuel, warp.control.exited);
    let work = AssertUnwindSafe(|| {
        warp.control.exited = lanes.exited;
        warp.control.enter(0);
        warp.control.fuel = fuel;
        let mut cx = Cx {
            code: host.code,
            env: host.env,
            tables: &host.env.lanes,
            memory: host.memory,
            rows: &mut warp.rows,
            preds: &mut warp.preds,
            control: &mut warp.control,
            local: &mut warp.local,
            shared,
            block: host.block,
            warp: lanes.warp,
            exec,
            worker: host.worker,
            fault: None,
            arrival: None,
        };
        for (op, pc) in host.code.ops[first as usize..end as usize].iter().zip(first..) {
            cx.control.pc = pc + 1;
            cx.exec = exec;
            if op.entry.call(&mut cx, op) != Flow::Next {
                host.fault = cx.fault.take();
                return status::FAULT;
            }
        }
        0
    });
    let result = catch_unwind(work).unwrap_or(status::FAULT);
    frame.fuel = warp.control.fuel;
    // The block counts lanes that end when machine code returns.
    warp.control.exited = exited;
    result
}

/// Finds the live range around an address.
unsafe extern "C" fn locate(frame: *mut Frame, site: u32, address: u64, write: u32) {
    // SAFETY: as in `execute`.
    let host = unsafe { &mut *(*frame).host.cast::<Host<'_>>() };
    if let Some((first, size)) = host.memory.span(address, write != 0) {
        if first.is_multiple_of(Site::ALIGN) {
            // SAFETY: sites are numbered below `Native::sites`, for which there is room.
            unsafe { *host.sites.add(site as usize) = Site { first, size } };
        }
    }
}

/// How the warps of a block have fared that went together.
pub(super) enum Together {
    /// All have ended.
    Done,
    /// The general way has to go on, from the state in which the warps are now.
    Apart,
    /// One of them has failed.
    Failed(usize),
}

impl Block {
    /// Runs a block that has just been started, as long as all its warps go from barrier to barrier
    /// together: then nothing needs to be kept about them but where they are.
    pub(super) fn run_together(&mut self, session: &mut Session<'_>, fuel: &mut i64) -> Together {
        let mut at = 0u32;
        let count = self.warps.len();
        let mut masks = [(0u32, 0u32); super::MAX_THREADS as usize / LANES];
        for (warp, mask) in self.warps.iter().zip(&mut masks) {
            *mask = (!warp.control.exited, warp.control.exited);
        }
        *session.fuel() = *fuel * SPEED;
        loop {
            let mut stop: Option<(u32, u8)> = None;
            for w in 0..count {
                let (running, exited) = masks[w];
                if running == 0 {
                    continue;
                }
                let warp = &mut self.warps[w];
                let status = session.run(warp, at, running, exited);
                let Some(lanes) = &warp.lanes else { return Together::Apart };
                let place = (lanes.pc, (status >> 8) as u8);
                match status & 0xff {
                    status::DONE => masks[w] = (0, FULL),
                    status::BARRIER if stop.is_none_or(|stop| stop == place) => {
                        stop = Some(place);
                        masks[w] = (lanes.running, lanes.exited);
                    }
                    _ => {
                        *fuel = *session.fuel() / SPEED;
                        return self.part(session, &masks, w, status, stop, at);
                    }
                }
            }
            let Some((pc, _)) = stop else {
                self.live_threads = 0;
                return Together::Done;
            };
            let entry = session.native.entries().iter().position(|e| e.pc == pc);
            match entry {
                Some(entry) if *session.fuel() > 0 => at = entry as u32,
                _ => {
                    *fuel = *session.fuel() / SPEED;
                    self.stay(session, &masks, count, stop, at);
                    self.pass_barriers();
                    return Together::Apart;
                }
            }
        }
    }

    /// Warp `w` has gone another way than those before it.
    fn part(
        &mut self,
        session: &mut Session<'_>,
        masks: &[(u32, u32)],
        w: usize,
        status: u32,
        stop: Option<(u32, u8)>,
        at: u32,
    ) -> Together {
        self.stay(session, masks, w, stop, at);
        if status & 0xff == status::FAULT {
            return Together::Failed(w);
        }
        self.settle(session, w, status);
        self.pass_barriers();
        Together::Apart
    }

    /// Writes down where warps are: those before `done` at `stop`, the others still at entry `at`.
    fn stay(&mut self, session: &Session<'_>, masks: &[(u32, u32)], done: usize, stop: Option<(u32, u8)>, at: u32) {
        for (w, (running, exited)) in masks.iter().copied().enumerate().take(self.warps.len()) {
            let warp = &mut self.warps[w];
            let ended = exited & !warp.control.exited;
            warp.control.exit(ended);
            warp.control.others.clear();
            warp.control.enter(0);
            warp.control.mask = 0;
            self.live_threads -= ended.count_ones();
            if running == 0 {
                continue;
            }
            match stop {
                Some((pc, id)) if w < done => self.wait_at(w, pc, id, running),
                _ => {
                    let pc = session.entry_of(at).pc;
                    self.warps[w].control.park(pc, running, Wait::Ready);
                }
            }
        }
    }

    /// Acts on what machine code has returned for a warp, other than a fault.
    pub(super) fn settle(&mut self, session: &mut Session<'_>, w: usize, status: u32) {
        let warp = &mut self.warps[w];
        let before = warp.control.exited;
        warp.control.others.clear();
        session.leave(warp);
        let control = &mut warp.control;
        self.live_threads -= (control.exited & !before).count_ones();
        if status & 0xff == status::BARRIER {
            let (pc, lanes) = (control.pc, control.mask);
            control.mask = 0;
            self.wait_at(w, pc, (status >> 8) as u8, lanes);
        }
    }
}
