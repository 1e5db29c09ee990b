//! Running the warps of a block in machine code.

use super::block::{existing, Block, Warp};
use super::code::{Code, FULL, LANES};
use super::control::{Control, Fragment, Wait, SLICE};
use super::cx::{Cx, Flow, LaneFault};
use super::interface::{status, Bank, Base, Check, Entry, Frame, Lanes, Lookup, Native, Site, FOREIGN};
use super::launch::Env;
use super::regular::Registers;
use super::shared::Shared;
use crate::memory::Pinned;
use std::cmp::Ordering::{Equal, Greater, Less};
use std::ops::Range;
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
        let interface = native.interface();
        if self.sites.len() != interface.sites.len() || self.generation != generation {
            self.sites.clear();
            self.sites.resize(interface.sites.len(), Site::default());
            self.generation = generation;
        }
        self.masks.resize(interface.masks, 0);
    }
}

/// What the callbacks of machine code need. Raw pointers, because a callback runs while the caller of
/// the machine code is in the middle of the block.
struct Host<'a> {
    code: &'a Code,
    native: &'a dyn Native,
    env: &'a Env<'a>,
    memory: &'a Pinned<'a>,
    warps: *mut Warp,
    shared: *mut Shared,
    sites: *mut Site,
    block: [u32; 3],
    worker: u32,
    fault: Option<LaneFault>,
}

/// Blocks whose warps may run in machine code, one at a time.
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
        block: &mut Block,
    ) -> Session<'a> {
        let Context { code, env, memory, worker } = context;
        cache.prepare(native, memory.generation());
        block.show_lanes(env);
        let (data, size) = block.shared.raw();
        let frame = Frame {
            params: env.params.as_ptr(),
            shared: data,
            shared_size: size,
            sites: cache.sites.as_mut_ptr(),
            masks: cache.masks.as_mut_ptr(),
            execute,
            check,
            locate,
            fuel: 0,
            reserve: SLICE * SPEED / 4,
            first: ptr::null_mut(),
            end: ptr::null_mut(),
            current: ptr::null_mut(),
            together: 0,
            at: 0,
            stop: 0,
            parted: 0,
            ntid: env.block,
            nctaid: env.grid,
            ctaid: block.index,
            warps: env.warps,
            dynamic_shared: env.dynamic_shared,
            host: ptr::null_mut(),
        };
        let host = Host {
            code,
            native,
            env,
            memory,
            warps: block.warps.as_mut_ptr(),
            shared: &mut block.shared,
            sites: cache.sites.as_mut_ptr(),
            block: block.index,
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
        let entries = &self.native.interface().entries;
        let index = entries.iter().position(|e| e.pc == control.pc)?;
        let here = |f: &Fragment| {
            let at = |block: &u32| self.host.code.map.blocks[*block as usize] == f.pc;
            f.wait == Wait::Ready && entries[index].waiting.iter().any(at)
        };
        control.others.iter().all(here).then_some(index as u32)
    }

    fn entry_of(&self, index: u32) -> &'a Entry {
        &self.native.interface().entries[index as usize]
    }

    /// Takes the lanes of a warp that is ready over into machine code, if its registers are as that needs them.
    pub(super) fn enter(&mut self, warp: &mut Warp, lanes: &mut Lanes, entry: u32) -> Option<u32> {
        let place = self.entry_of(entry);
        let (control, blocks) = (&mut warp.control, &self.host.code.map.blocks);
        let waiting = |block: u32| {
            let there = control.others.iter().filter(|fragment| fragment.pc == blocks[block as usize]);
            there.fold(0, |lanes, fragment| lanes | fragment.mask)
        };
        if place.needs_all && control.exited != 0 {
            return None;
        }
        let mut registers = Registers { rows: &mut warp.rows, preds: &mut warp.preds };
        for needed in &place.registers {
            let running = if needed.running { control.mask } else { 0 };
            let users = needed.waiting.iter().fold(running, |lanes, block| lanes | waiting(*block));
            if !registers.reduce(&needed.register, users) {
                return None;
            }
        }
        for block in &place.waiting {
            // SAFETY: `masks` has one word for each block.
            unsafe { *self.masks.add(*block as usize) = waiting(*block) };
        }
        control.others.clear();
        (lanes.running, lanes.exited) = (control.mask, control.exited);
        control.mask = 0;
        warp.show(lanes);
        let entry = if place.waiting.is_empty() && place.barrier.is_some() { entry } else { entry | FOREIGN };
        Some(self.run(std::slice::from_mut(lanes), entry, false))
    }

    /// Runs warps from an entry on.
    fn run(&mut self, lanes: &mut [Lanes], entry: u32, together: bool) -> u32 {
        let Range { start, end } = lanes.as_mut_ptr_range();
        (self.frame.first, self.frame.end) = (start, end);
        (self.frame.at, self.frame.stop, self.frame.together) = (entry, 0, together.into());
        self.frame.host = ptr::from_mut(&mut self.host).cast();
        // SAFETY: the frame's pointers are those of the block's own memory, which lives as long as `self`
        // and does not move; `Native` promises the rest.
        unsafe { self.native.function()(&mut self.frame) }
    }

    /// Goes on with another block, which lies where the one before it has been.
    fn move_to(&mut self, index: [u32; 3]) {
        self.frame.ctaid = index;
        self.host.block = index;
    }

    pub(super) fn fuel(&mut self) -> &mut i64 {
        &mut self.frame.fuel
    }

    pub(super) fn take_fault(&mut self) -> Option<LaneFault> {
        self.host.fault.take()
    }

    /// Gives the lanes of a warp back to the interpreter where machine code has left them.
    fn leave(&mut self, warp: &mut Warp, lanes: &Lanes) {
        let control = &mut warp.control;
        control.exit(lanes.exited & !control.exited);
        control.enter(0);
        control.mask = lanes.running;
    }

    /// Lets the interpreter go on where machine code has left a warp.
    fn go_on(&mut self, warp: &mut Warp, lanes: &Lanes) {
        let exit = &self.native.interface().exits[lanes.exit as usize];
        warp.registers().complete(&exit.regular);
        warp.control.pc = exit.pc;
        for block in &exit.waiting {
            // SAFETY: `masks` has one word for each block.
            let mask = unsafe { *self.masks.add(*block as usize) };
            if mask != 0 {
                warp.control.park(self.host.code.map.blocks[*block as usize], mask, Wait::Ready);
            }
        }
    }
}

/// Has the interpreter execute micro-operations for machine code.
unsafe extern "C" fn execute(frame: *mut Frame, lanes: *mut Lanes, step: u32, exec: u32) -> u32 {
    // SAFETY: machine code passes on what `Session::run` gave it: nothing else refers to the host or to
    // the warp while it runs.
    let (frame, lanes) = unsafe { (&mut *frame, &mut *lanes) };
    // SAFETY: as above.
    let host = unsafe { &mut *frame.host.cast::<Host<'_>>() };
    // SAFETY: as above; the index is one of the block's warps.
    let (warp, shared) = unsafe { (&mut *host.warps.add(lanes.warp as usize), &mut *host.shared) };
    let (fuel, exited) = (frame.fuel, warp.control.exited);
    let work = AssertUnwindSafe(|| {
        let step = &host.native.interface().steps[step as usize];
        warp.registers().complete(&step.operands);
        if let Some(lookup) = &step.lookup {
            let address = warp.address(lookup, exec);
            host.locate(lookup.site, address, lookup.writes);
        }
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
        let (first, end) = step.operations;
        for (op, pc) in host.code.ops[first as usize..end as usize].iter().zip(first..) {
            cx.control.pc = pc + 1;
            cx.exec = exec;
            if op.entry.call(&mut cx, op) != Flow::Next {
                host.fault = cx.fault.take();
                return status::FAULT;
            }
        }
        for register in &step.results {
            // The interpreter gives regular results of regular operands.
            warp.registers().spread(register, exec);
        }
        0
    });
    let result = catch_unwind(work).unwrap_or(status::FAULT);
    frame.fuel = warp.control.fuel;
    // The block counts lanes that end when machine code returns.
    warp.control.exited = exited;
    result
}

/// Looks at the addresses of an access.
unsafe extern "C" fn check(
    frame: *mut Frame,
    lanes: *mut Lanes,
    check: u32,
    first: u64,
    second: u64,
    exec: u32,
) -> u32 {
    // SAFETY: as in `execute`.
    let (frame, lanes) = unsafe { (&mut *frame, &mut *lanes) };
    // SAFETY: as above.
    let host = unsafe { &mut *frame.host.cast::<Host<'_>>() };
    let Some(check) = host.native.interface().checks.get(check as usize) else { return 0 };
    let places = Places { check, bases: [first, second], lanes: exec };
    let holds = match check.bank {
        Bank::Shared => places.are_within(Site { size: frame.shared_size, ..Site::default() }),
        Bank::Local => places.are_within(Site { size: lanes.local_size, ..Site::default() }),
        Bank::Site(site) => {
            // SAFETY: sites are numbered below `Interface::sites`, for which there is room.
            let range = || unsafe { *host.sites.add(site as usize) };
            places.are_within(range()) || {
                host.locate(site, places.of(exec.trailing_zeros() % LANES as u32), check.writes);
                places.are_within(range())
            }
        }
    };
    holds.into()
}

/// The addresses that some lanes access.
struct Places<'a> {
    check: &'a Check,
    bases: [u64; 2],
    lanes: u32,
}

impl Places<'_> {
    fn of(&self, lane: u32) -> u64 {
        let (base, lane) = match self.check.halves {
            true => (self.bases[lane as usize / 16], lane % 16),
            false => (self.bases[0], lane),
        };
        base.wrapping_add(self.check.steps.at(lane) as u64)
    }

    fn are_within(&self, range: Site) -> bool {
        let limit =
            range.size.saturating_sub(u64::from(self.check.bytes).saturating_sub(1).saturating_add(self.check.span));
        let is_within = |lane: u32| {
            let address = self.of(lane);
            address.wrapping_sub(range.first) < limit && address.is_multiple_of(self.check.bytes.into())
        };
        (0..LANES as u32).all(|lane| self.lanes >> lane & 1 == 0 || is_within(lane))
    }
}

/// Finds the live range around an address.
unsafe extern "C" fn locate(frame: *mut Frame, site: u32, address: u64, write: u32) {
    // SAFETY: as in `execute`.
    let host = unsafe { &mut *(*frame).host.cast::<Host<'_>>() };
    host.locate(site, address, write != 0);
}

impl Host<'_> {
    fn locate(&self, site: u32, address: u64, write: bool) {
        let Some(reach) = self.native.interface().sites.get(site as usize) else { return };
        if let Some(span) = self.memory.span(address, write) {
            if span.0.is_multiple_of(Site::ALIGN) {
                // SAFETY: there is room for each of `Interface::sites`.
                unsafe { *self.sites.add(site as usize) = Site::new(span, *reach) };
            }
        }
    }
}

/// How the warps of a block have fared that went together.
pub(super) enum Together {
    /// All have ended.
    Done,
    /// They are still together, and the time slice is used up.
    Yielded,
    /// The general way has to go on, from the state in which the warps are now.
    Apart,
    /// One of them has failed.
    Failed(usize),
}

impl Block {
    /// Runs a block, and then those that `next` gives, as long as all warps go from barrier to barrier together:
    /// then nothing needs to be kept about them but where they are.
    pub(super) fn run_together(
        &mut self,
        session: &mut Session<'_>,
        mut at: u32,
        next: &dyn Fn() -> Option<[u32; 3]>,
        fuel: &mut i64,
    ) -> Together {
        let env = session.host.env;
        let cost = session.host.code.ops.len() as i64 * i64::from(env.warps);
        *session.fuel() = *fuel * SPEED;
        loop {
            let status = session.run(&mut self.lanes, at, true);
            if status == status::DONE {
                *session.fuel() -= cost;
                let another = if session.frame.fuel > 0 { next() } else { None };
                let Some(index) = another else { return Together::Done };
                self.start(env, index);
                session.move_to(index);
                (self.together, self.turns, at) = (None, 1, 0);
                continue;
            }
            *fuel = session.frame.fuel / SPEED;
            if status == status::BARRIER {
                self.together = Some(session.frame.stop);
                return Together::Yielded;
            }
            return self.part(session, status);
        }
    }

    /// Writes down where warps are after one of them has gone another way than those before it.
    fn part(&mut self, session: &mut Session<'_>, status: u32) -> Together {
        let Frame { first, current, at, stop, .. } = session.frame;
        let current = (current as usize - first as usize) / size_of::<Lanes>();
        for w in 0..self.warps.len() {
            self.warps[w].control.start(self.lanes[w].existing, session.host.code.kernel);
            match w.cmp(&current) {
                Less => self.stay(session, w, stop, true),
                Equal => {}
                Greater => self.stay(session, w, at, false),
            }
        }
        if status == status::FAULT {
            return Together::Failed(current);
        }
        self.settle(session, current, status);
        self.pass_barriers();
        Together::Apart
    }

    /// Writes down that a warp has ended, or is at an entry, where it waits or not.
    fn stay(&mut self, session: &Session<'_>, w: usize, entry: u32, waits: bool) {
        let lanes = &self.lanes[w];
        let running = if entry == 0 && !waits { lanes.existing } else { lanes.running };
        let warp = &mut self.warps[w];
        warp.control.others.clear();
        warp.control.exit(lanes.existing & !running);
        self.live_threads -= (lanes.existing & !running).count_ones();
        if running == 0 {
            return;
        }
        let entry = session.entry_of(entry);
        warp.arrive(entry);
        match entry.barrier {
            Some(id) if waits => self.wait_at(w, entry.pc, id, running),
            _ => warp.control.park(entry.pc, running, Wait::Ready),
        }
    }

    /// Acts on what machine code has returned for a warp, other than a fault.
    pub(super) fn settle(&mut self, session: &mut Session<'_>, w: usize, status: u32) {
        let (warp, lanes) = (&mut self.warps[w], &mut self.lanes[w]);
        let before = warp.control.exited;
        warp.control.others.clear();
        let entry = match status {
            status::DONE => {
                (lanes.running, lanes.exited) = (0, FULL);
                None
            }
            status::BARRIER => Some(session.frame.stop),
            status::PARTED => Some(session.frame.parted),
            _ => None,
        };
        if entry.is_some() {
            lanes.exited = !lanes.running;
        }
        session.leave(warp, lanes);
        if matches!(status, status::INTERPRET | status::YIELD) {
            session.go_on(warp, lanes);
        }
        let running = lanes.running;
        self.live_threads -= (warp.control.exited & !before).count_ones();
        if let Some(entry) = entry {
            let entry = session.entry_of(entry);
            warp.control.mask = 0;
            warp.arrive(entry);
            self.wait_at(w, entry.pc, entry.barrier.unwrap_or(0), running);
        }
    }
}

impl Warp {
    /// Tells machine code where the warp's registers are.
    pub(super) fn show(&mut self, lanes: &mut Lanes) {
        lanes.rows = self.rows.as_mut_ptr().cast();
        lanes.preds = self.preds.as_mut_ptr();
        lanes.local = self.local.pointer();
        lanes.local_size = self.local.stride().into();
    }

    fn registers(&mut self) -> Registers<'_> {
        Registers { rows: &mut self.rows, preds: &mut self.preds }
    }

    /// Gives all lanes their registers where machine code has left the warp at a barrier.
    fn arrive(&mut self, entry: &Entry) {
        let needed = entry.registers.iter().filter(|needed| needed.running);
        self.registers().complete(needed.map(|needed| &needed.register));
    }

    /// The address of the first of some lanes.
    fn address(&self, lookup: &Lookup, lanes: u32) -> u64 {
        let lane = lanes.trailing_zeros() as usize % LANES;
        let offset = lookup.offset as u64;
        match lookup.base {
            Base::Word(row) => self.rows[row as usize].0[lane].wrapping_add(offset as u32).into(),
            Base::Long(row) => {
                let row = &self.rows[row as usize + lane / 16].0;
                let (low, high) = (row[lane % 16 * 2], row[lane % 16 * 2 + 1]);
                (u64::from(low) | u64::from(high) << 32).wrapping_add(offset)
            }
            Base::Fixed(address) => address.wrapping_add(offset),
        }
    }
}

impl Block {
    /// Tells machine code where the warps are.
    fn show_lanes(&mut self, env: &Env<'_>) {
        let indices = env.thread_indices();
        let threads = env.block_threads();
        if self.lanes.len() != self.warps.len() {
            let lanes = |w: usize| Lanes {
                rows: ptr::null_mut(),
                preds: ptr::null_mut(),
                local: ptr::null_mut(),
                local_size: 0,
                tid: indices[w].as_ptr(),
                warp: w as u32,
                existing: existing(threads, w),
                running: 0,
                exited: 0,
                exit: 0,
            };
            self.lanes = (0..self.warps.len()).map(lanes).collect();
        }
        self.warps.iter_mut().zip(&mut self.lanes).for_each(|(warp, lanes)| warp.show(lanes));
    }
}
