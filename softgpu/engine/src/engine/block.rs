//! One block: its warps, their registers, shared memory and barriers.

use super::check::{Place, Shadow};
use super::code::{Code, Pred, Row, FULL, LANES};
use super::control::{BarrierResult, Control, Fragment, Wait, SLICE};
use super::cx::{Arrival, Cx, Flow, LaneFault};
use super::interface::{status, Lanes, Native};
use super::launch::Env;
use super::local::Local;
use super::native::{Cache, Context, Session, Together, SPEED};
use super::ops::barrier::BARRIERS;
use super::ops::special::thread_index;
use super::shared::Shared;
use super::{Fault, FaultKind};
use crate::ir::BarrierRedOp;

/// How a turn of a block ended.
pub(super) enum Outcome {
    Done,
    Yielded,
    Failed(Box<Fault>),
}

#[derive(Default)]
pub(super) struct Warp {
    pub(super) rows: Vec<Row>,
    pub(super) preds: Vec<u32>,
    pub(super) control: Control,
    pub(super) local: Local,
    /// The interpreter runs it until its next turn.
    interpreted: bool,
}

/// Who has come to a barrier since it was last passed.
#[derive(Clone, Copy, Default)]
struct Barrier {
    arrived: u32,
    /// Arrivals it needs; `None`: all live threads.
    threads: Option<u32>,
    /// Threads with a true predicate, and all that brought one.
    holding: u32,
    waiting: u32,
}

/// A block that runs or is about to.
#[derive(Default)]
pub(super) struct Block {
    pub(super) index: [u32; 3],
    pub(super) warps: Vec<Warp>,
    /// The warps as machine code sees them.
    pub(super) lanes: Vec<Lanes>,
    /// The entry of machine code where all warps are that have not ended; then [`Warp::control`] tells nothing.
    pub(super) together: Option<u32>,
    pub(super) shared: Shared,
    barriers: [Barrier; BARRIERS],
    pub(super) live_threads: u32,
    /// The warp whose turn it is.
    turn: usize,
    /// Turns this block has had without finishing.
    pub(super) turns: u32,
}

/// The lanes of a warp that exist in a block of so many threads.
pub(super) fn existing(threads: u32, warp: usize) -> u32 {
    let rest = threads - warp as u32 * LANES as u32;
    if rest >= LANES as u32 {
        FULL
    } else {
        (1 << rest) - 1
    }
}

impl Block {
    /// Memory for the blocks of a launch.
    pub(super) fn new(env: &Env<'_>, code: &Code) -> Block {
        let warp = |w: usize| Warp::new(env, code, existing(env.block_threads(), w));
        Block { warps: (0..env.warps as usize).map(warp).collect(), ..Block::default() }
    }

    /// Goes to the start of block `index`.
    pub(super) fn start(&mut self, env: &Env<'_>, index: [u32; 3]) {
        self.index = index;
        self.turns = 0;
        self.together = Some(0);
        self.shared.reset(env.shared);
        if env.check.is_some() {
            self.shared.shadow.get_or_insert_default().start(env.warps * LANES as u32, env.shared);
        }
        self.live_threads = env.block_threads();
    }

    /// Prepares for warps that go apart.
    fn spread(&mut self) {
        self.turn = 0;
        self.barriers = [Barrier::default(); BARRIERS];
    }

    /// Runs until the block ends or its time slice does; when it has ended, also the blocks that `next` gives.
    pub(super) fn run(
        &mut self,
        context: Context<'_>,
        native: Option<(&dyn Native, &mut Cache)>,
        next: &dyn Fn() -> Option<[u32; 3]>,
    ) -> Outcome {
        let mut fuel = SLICE;
        self.turns += 1;
        let mut session = native.map(|(native, cache)| Session::new(native, context, cache, self));
        match (self.together.take(), &mut session) {
            (None, _) => {}
            (Some(_), None) => {
                self.spread();
                for (w, warp) in self.warps.iter_mut().enumerate() {
                    warp.control.start(existing(context.env.block_threads(), w), context.code.kernel);
                }
            }
            (Some(at), Some(session)) => {
                self.spread();
                match self.run_together(session, at, next, &mut fuel) {
                    Together::Done => return Outcome::Done,
                    Together::Yielded => return Outcome::Yielded,
                    Together::Apart if fuel <= 0 => return Outcome::Yielded,
                    Together::Apart => {}
                    Together::Failed(w) => {
                        return Outcome::Failed(self.fault(context.env, context.code, w, session.take_fault()))
                    }
                }
            }
        }
        for warp in &mut self.warps {
            warp.interpreted = false;
        }
        loop {
            let mut progress = false;
            for _ in 0..self.warps.len() {
                let w = self.turn;
                self.turn = if w + 1 == self.warps.len() { 0 } else { w + 1 };
                if !self.warps[w].control.is_ready() {
                    continue;
                }
                progress = true;
                if let Err(fault) = self.run_warp(context, session.as_mut(), w, &mut fuel) {
                    return Outcome::Failed(fault);
                }
                if fuel < 0 {
                    return Outcome::Yielded;
                }
            }
            if self.live_threads == 0 {
                return Outcome::Done;
            }
            if !progress {
                return Outcome::Failed(self.deadlock(context.env));
            }
        }
    }

    /// Runs a warp until all its fragments wait or the fuel is used up.
    fn run_warp(
        &mut self,
        context: Context<'_>,
        mut session: Option<&mut Session<'_>>,
        w: usize,
        fuel: &mut i64,
    ) -> Result<(), Box<Fault>> {
        let Context { code, env, memory, worker } = context;
        while self.warps[w].control.proceed() {
            if let Some(session) = &mut session {
                let warp = &mut self.warps[w];
                let entry = session.entry(&warp.control).filter(|_| !warp.interpreted);
                if let Some(entry) = entry {
                    *session.fuel() = *fuel * SPEED;
                    let Some(status) = session.enter(warp, &mut self.lanes[w], entry) else {
                        warp.interpreted = true;
                        continue;
                    };
                    *fuel = *session.fuel() / SPEED;
                    if status == status::FAULT {
                        let fault = session.take_fault();
                        return Err(self.fault(env, code, w, fault));
                    }
                    self.settle(session, w, status);
                    self.pass_barriers();
                    let warp = &mut self.warps[w];
                    match status {
                        status::YIELD if warp.control.others.is_empty() => {
                            *fuel = (*fuel).min(-1);
                            warp.control.rotate();
                            return Ok(());
                        }
                        status::YIELD | status::INTERPRET => warp.interpreted = true,
                        _ => {}
                    }
                    continue;
                }
            }
            let warp = &mut self.warps[w];
            let exited = warp.control.exited;
            warp.control.fuel = *fuel;
            let mut cx = Cx {
                code,
                env,
                tables: &env.lanes,
                memory,
                rows: &mut warp.rows,
                preds: &mut warp.preds,
                control: &mut warp.control,
                local: &mut warp.local,
                shared: &mut self.shared,
                block: self.index,
                warp: w as u32,
                exec: 0,
                worker,
                fault: None,
                arrival: None,
            };
            let flow = interpret(&mut cx);
            let (fault, arrival) = (cx.fault.take(), cx.arrival.take());
            *fuel = warp.control.fuel;
            match flow {
                Flow::Next | Flow::Switch => {}
                Flow::Barrier => {
                    self.live_threads -= (warp.control.exited & !exited).count_ones();
                    if let Some(arrival) = arrival {
                        self.arrive(w, arrival);
                    }
                    self.pass_barriers();
                }
                Flow::Yield => {
                    warp.control.rotate();
                    return Ok(());
                }
                Flow::Fault => return Err(self.fault(env, code, w, fault)),
            }
        }
        Ok(())
    }

    /// Lanes of a warp wait at a barrier of all threads.
    pub(super) fn wait_at(&mut self, w: usize, pc: u32, id: u8, lanes: u32) {
        self.warps[w].control.park(pc, lanes, Wait::Barrier { id, result: None });
        self.arrive(w, Arrival { id, threads: None, lanes, holds: 0 });
    }

    fn arrive(&mut self, w: usize, arrival: Arrival) {
        if let (Some(shadow), Some(_)) = (&mut self.shared.shadow, arrival.threads) {
            shadow.leave(w as u32, arrival.lanes, Place::Barrier(arrival.id));
        }
        let barrier = &mut self.barriers[arrival.id as usize];
        let whole = arrival.lanes | self.warps[w].control.exited == FULL;
        barrier.arrived += match arrival.threads {
            // With a count, a warp counts as a whole.
            Some(_) if whole => LANES as u32,
            _ => arrival.lanes.count_ones(),
        };
        barrier.threads = arrival.threads;
        barrier.waiting += arrival.lanes.count_ones();
        barrier.holding += arrival.holds.count_ones();
    }

    /// Lets those go on that wait at a barrier to which all have come.
    pub(super) fn pass_barriers(&mut self) {
        for id in 0..BARRIERS {
            let barrier = self.barriers[id];
            if barrier.arrived == 0 || barrier.arrived < barrier.threads.unwrap_or(self.live_threads) {
                continue;
            }
            self.barriers[id] = Barrier::default();
            if let Some(shadow) = &mut self.shared.shadow {
                note_barrier(
                    shadow,
                    &self.warps,
                    id as u8,
                    barrier.threads.is_none_or(|n| n as usize >= self.warps.len() * LANES),
                );
            }
            for warp in &mut self.warps {
                warp.pass_barrier(id as u8, &barrier);
            }
        }
    }

    fn fault(&self, env: &Env<'_>, code: &Code, w: usize, fault: Option<LaneFault>) -> Box<Fault> {
        let fault = fault.unwrap_or(LaneFault {
            kind: FaultKind::Trap,
            lane: 0,
            address: 0,
            detail: "the engine stopped without a reason".into(),
        });
        let pc = self.warps[w].control.pc as usize;
        Box::new(Fault {
            kind: fault.kind,
            kernel: env.kernel.into(),
            block: self.index,
            thread: thread_index(env.block, w as u32, fault.lane),
            line: code.lines.get(pc.wrapping_sub(1)).copied().unwrap_or(0),
            address: fault.address,
            detail: fault.detail,
        })
    }

    fn deadlock(&self, env: &Env<'_>) -> Box<Fault> {
        let waiting = self.warps.iter().position(|w| !w.control.is_done()).unwrap_or(0);
        let lane = (!self.warps[waiting].control.exited).trailing_zeros();
        Box::new(Fault {
            kind: FaultKind::Deadlock,
            kernel: env.kernel.into(),
            block: self.index,
            thread: thread_index(env.block, waiting as u32, lane),
            line: 0,
            address: 0,
            detail: "all threads of the block wait at barriers or warp operations for threads that will not come"
                .into(),
        })
    }
}

/// Notes that threads go on from a barrier, which was one of all of them or not.
fn note_barrier(shadow: &mut Shadow, warps: &[Warp], id: u8, of_all: bool) {
    if of_all {
        return shadow.all_meet();
    }
    for (w, warp) in warps.iter().enumerate() {
        let waiting = |f: &&Fragment| matches!(f.wait, Wait::Barrier { id: at, .. } if at == id);
        let lanes = warp.control.others.iter().filter(waiting).fold(0, |lanes, f| lanes | f.mask);
        shadow.take(w as u32, lanes, Place::Barrier(id));
    }
    shadow.clear(Place::Barrier(id));
}

impl Warp {
    fn new(env: &Env<'_>, code: &Code, lanes: u32) -> Warp {
        let mut warp = Warp {
            rows: vec![Row::ZERO; code.kernel.rows as usize],
            preds: vec![0; code.kernel.preds as usize],
            ..Warp::default()
        };
        warp.preds[Pred::FALSE.index()] = 0;
        warp.local.resize(env.local);
        warp.control.start(lanes, code.kernel);
        warp
    }

    /// Lets the fragments at a barrier go on and gives them its result.
    fn pass_barrier(&mut self, id: u8, barrier: &Barrier) {
        let Warp { rows, preds, control, .. } = self;
        for fragment in &mut control.others {
            let Wait::Barrier { id: at, result } = fragment.wait else { continue };
            if at != id {
                continue;
            }
            fragment.wait = Wait::Ready;
            let frame = control.frames[fragment.frame as usize];
            let Some(BarrierResult { op, dst }) = result else { continue };
            let mut set_pred = |holds: bool| {
                let pred = &mut preds[frame.pred_base + dst as usize];
                *pred = *pred & !fragment.mask | if holds { fragment.mask } else { 0 };
            };
            match op {
                BarrierRedOp::And => set_pred(barrier.holding == barrier.waiting),
                BarrierRedOp::Or => set_pred(barrier.holding != 0),
                BarrierRedOp::Popc => {
                    let row = &mut rows[frame.base + dst as usize].0;
                    for lane in (0..LANES).filter(|lane| fragment.mask >> lane & 1 != 0) {
                        row[lane] = barrier.holding;
                    }
                }
            }
        }
    }
}

/// Executes the running fragment, and those it meets, until something else is to be done.
fn interpret(cx: &mut Cx<'_>) -> Flow {
    let code = cx.code;
    loop {
        let Some(op) = code.ops.get(cx.control.pc as usize) else {
            return cx.fail(FaultKind::InvalidPc, 0, "the program ran off its end");
        };
        cx.control.pc += 1;
        cx.exec = cx.control.mask;
        if op.guard.0 != Pred::TRUE.0 {
            cx.exec &= cx.pred(op.guard);
        }
        if cx.exec != 0 {
            let flow = op.entry.call(cx, op);
            if flow != Flow::Next {
                return flow;
            }
        }
        if cx.control.pc == cx.control.limit {
            cx.control.reschedule();
        }
    }
}
