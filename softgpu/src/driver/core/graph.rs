//! Running graphs: the operations of an executable graph are one job of the stream in which it is
//! launched, in an order in which each comes after what it depends on.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use vgpu_graphs::{Backend, Block, Fill, Host, Kernel, Operation, Params, Stream as StreamView};
use vgpu_protocol::cuda::{BoxCopy, Branch, CUresult, CUstreamBatchMemOpParams, MemOp, CUDA_MEMCPY3D};
use vgpu_protocol::ParamInfo;

use super::boxes::{Checked, End};
use super::launch::{execute, View};
use super::queue::Point;
use super::state::{driver, Driver};

use super::transfer::illegal;
use super::{
    current, mem_op, parse_mem_ops, Context, Event, Function, LaunchRequest, Result, Rows, StreamKind, Target,
};
use crate::driver::{abi, params};

/// What `vgpu-graphs` needs to know of this driver.
pub(in crate::driver) struct Soft;

/// Conditions of a graph: words of device memory, whose addresses are their handles, and what is in them when a
/// launch begins.
pub(in crate::driver) struct Conditions {
    context: Weak<Context>,
    words: Mutex<Vec<(u64, Option<u32>)>>,
}

impl Conditions {
    fn words(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Option<u32>)>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, driver: &Driver) -> Result {
        self.words().iter().try_for_each(|(address, default)| match default {
            Some(value) => driver.memory.write(*address, &value.to_le_bytes()).map_err(illegal),
            None => Ok(()),
        })
    }
}

impl Drop for Conditions {
    fn drop(&mut self) {
        let Some(context) = self.context.upgrade() else { return };
        // If the context has ended, so has the memory.
        if context.driver.contexts.get(context.handle).is_some_and(|known| Arc::ptr_eq(&known, &context)) {
            for (address, _) in self.words().drain(..) {
                let _ = context.free(address);
            }
        }
    }
}

/// An executable graph.
pub(in crate::driver) struct Executable {
    /// Shared with launches that are under way, which changes leave alone.
    steps: Mutex<Arc<Vec<Step>>>,
    /// The launch before, after which the next one comes whatever its stream.
    last: Mutex<Option<Point>>,
    conditions: Option<Arc<Conditions>>,
}

#[derive(Clone)]
struct Step {
    work: Work,
    enabled: bool,
    /// Where the bodies of a branch lie, right behind it.
    bodies: Vec<Range<usize>>,
}

/// Steps of one launch.
struct Run<'a> {
    steps: &'a [Step],
    context: &'a Context,
    view: View,
    /// Where records note when they were reached, in their order.
    times: std::slice::Iter<'a, Arc<AtomicU64>>,
}

impl Run<'_> {
    fn run(&mut self, range: Range<usize>) -> Result {
        let mut next = range.start;
        while next < range.end {
            let Some(step) = self.steps.get(next) else { break };
            next = step.bodies.last().map_or(next + 1, |body| body.end);
            if step.enabled {
                self.context.check()?;
                self.step(step)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result {
        let Work::Branch { condition, branch } = step.work else {
            let time = if let Work::Record(_) = step.work { self.times.next() } else { None };
            return step.work.run(self.context, &self.view, time.map(Arc::as_ref));
        };
        loop {
            let mut value = [0; 4];
            self.context.driver.memory.read(condition, &mut value).map_err(illegal)?;
            let chosen = branch.choose(u32::from_le_bytes(value), step.bodies.len());
            let Some(body) = chosen.and_then(|chosen| step.bodies.get(chosen)) else { return Ok(()) };
            self.run(body.clone())?;
            if branch != Branch::While || self.context.cancel.load(Ordering::Acquire) {
                return Ok(());
            }
            self.context.check()?;
        }
    }
}

#[derive(Clone)]
enum Work {
    Nothing,
    Launch(Arc<(Arc<Function>, LaunchRequest)>),
    Copy(Arc<Checked>),
    Fill(Fill),
    Host(Host),
    Wait(Arc<Event>),
    Record(Arc<Event>),
    MemOps(Arc<[MemOp]>),
    /// A choice between bodies, by the word of a condition.
    Branch {
        condition: u64,
        branch: Branch,
    },
}

impl Work {
    fn new(params: &Params) -> Result<Work> {
        Ok(match params {
            Params::Kernel(kernel) => {
                let (function, request) = launch(kernel)?;
                Work::Launch(Arc::new((function, request)))
            }
            Params::Copy(copy) => checked(&copy.params)?.map_or(Work::Nothing, |copy| Work::Copy(Arc::new(copy))),
            Params::Fill(fill) => Work::Fill(*fill),
            Params::Host(host) => Work::Host(*host),
            Params::EventWait(event) => Work::Wait(find_event(*event)?),
            Params::EventRecord(event) => Work::Record(find_event(*event)?),
            Params::MemOps(batch) => Work::MemOps(parse_mem_ops(&batch.operations)?.into()),
            Params::Conditional(c) => Work::Branch { condition: c.condition, branch: c.branch },
            Params::Child(_) | Params::Empty | Params::Allocate(_) | Params::Free(_) => Work::Nothing,
        })
    }

    /// `time`: where a record notes when it was reached.
    fn run(&self, context: &Context, view: &View, time: Option<&AtomicU64>) -> Result {
        match self {
            // What an event stood for at the launch has been waited for before the job began; branches are
            // taken by whoever knows the steps.
            Work::Nothing | Work::Wait(_) | Work::Branch { .. } => Ok(()),
            Work::MemOps(operations) => operations.iter().try_for_each(|operation| mem_op::execute(context, operation)),
            Work::Launch(launch) => execute(context, &launch.0, &launch.1, view),
            Work::Copy(copy) => run_copy(context.driver, copy),
            Work::Fill(fill) => run_fill(context.driver, fill),
            Work::Host(host) => {
                abi::call_host(host.function, host.data);
                Ok(())
            }
            Work::Record(_) => {
                if let Some(time) = time {
                    time.store(context.driver.now(), Ordering::Release);
                }
                Ok(())
            }
        }
    }
}

fn find_event(event: u64) -> Result<Arc<Event>> {
    driver()?.events.get(event).ok_or(CUresult::INVALID_HANDLE)
}

/// A kernel's function in the node's context, and the launch.
fn launch(kernel: &Kernel) -> Result<(Arc<Function>, LaunchRequest)> {
    let driver = driver()?;
    let function = match driver.functions.get(kernel.function) {
        Some(function) => function,
        None => {
            let found = driver.kernels.get(kernel.function).ok_or(CUresult::INVALID_HANDLE)?;
            let context = driver.contexts.get(kernel.context).ok_or(CUresult::INVALID_CONTEXT)?;
            found.function(&context)?.1
        }
    };
    let request = LaunchRequest {
        grid: kernel.grid,
        block: kernel.block,
        shared: kernel.shared,
        cooperative: kernel.attributes.is_cooperative(),
        params: kernel.params.bytes().to_vec(),
    };
    Ok((function, request))
}

/// Values of 1, 2 or 4 bytes in rows.
fn rows(fill: &Fill) -> Result<Rows> {
    let p = &fill.params;
    let width = (p.width as u64).checked_mul(p.elementSize.into()).ok_or(CUresult::INVALID_VALUE)?;
    Ok(Rows { base: p.dst, pitch: p.pitch as u64, width, height: p.height as u64 })
}

fn run_fill(driver: &Driver, fill: &Fill) -> Result {
    let (rows, value) = (rows(fill)?, fill.params.value);
    match fill.params.elementSize {
        1 => rows.fill(driver, value as u8),
        2 => rows.fill(driver, value as u16),
        _ => rows.fill(driver, value),
    }
}

fn run_copy(driver: &Driver, copy: &Checked) -> Result {
    let [width, height, depth] = copy.extent;
    let lines = |end: &End| match end {
        End::Device { address, strides } | End::Host { address, strides } => (*address, strides.rows(height, depth)),
    };
    let ((to, to_rows), (from, from_rows)) = (lines(&copy.dst), lines(&copy.src));
    for (to_row, from_row) in to_rows.zip(from_rows) {
        let (to, from) = (to + to_row as u64, from + from_row as u64);
        match (&copy.dst, &copy.src) {
            (End::Device { .. }, End::Device { .. }) => driver.memory.copy(to, from, width as u64).map_err(illegal)?,
            (End::Device { .. }, End::Host { .. }) => {
                // SAFETY: the application vouches for the host memory of a node until its launches are done.
                let row = unsafe { abi::host_bytes(from, width) }?;
                driver.memory.write(to, row).map_err(illegal)?;
            }
            (End::Host { .. }, End::Device { .. }) => {
                // SAFETY: as above.
                let row = unsafe { abi::host_bytes_mut(to, width) }?;
                driver.memory.read(from, row).map_err(illegal)?;
            }
            (End::Host { .. }, End::Host { .. }) => {
                let (to, from) = (to as usize, from as usize);
                let (to, from) = (std::ptr::with_exposed_provenance_mut(to), std::ptr::with_exposed_provenance(from));
                // SAFETY: as above.
                unsafe { abi::copy_bytes(to, from, width) };
            }
        }
    }
    Ok(())
}

/// A copy whose ends are known to exist; none if it is empty.
fn checked(copy: &CUDA_MEMCPY3D) -> Result<Option<Checked>> {
    let copy = BoxCopy::try_from(copy)?;
    match copy.is_empty() {
        true => Ok(None),
        false => Target::legacy()?.check_box(&copy).map(Some),
    }
}

impl Executable {
    fn steps(&self) -> std::sync::MutexGuard<'_, Arc<Vec<Step>>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, operation: usize, change: impl FnOnce(&mut Step)) -> Result {
        let mut steps = self.steps();
        let step = Arc::make_mut(&mut *steps).get_mut(operation).ok_or(CUresult::INVALID_VALUE)?;
        change(step);
        Ok(())
    }
}

impl Target {
    /// The stream as captures see it.
    pub(in crate::driver) fn view(&self) -> StreamView {
        StreamView {
            key: Arc::as_ptr(&self.stream).addr() as u64,
            context: self.context.handle,
            is_legacy: self.stream.kind == StreamKind::Legacy,
            is_blocking: self.stream.kind == StreamKind::Blocking,
        }
    }

    /// An error if the stream captures: what is about to be queued cannot be captured.
    pub(in crate::driver) fn refuse_captured(&self) -> Result {
        self.context.driver.graphs.refuse(|| self.view())
    }
}

impl Backend for Soft {
    type Executable = Executable;
    type Conditions = Conditions;

    fn context(&self) -> Result<u64> {
        Ok(current()?.handle)
    }

    fn stream(&self, stream: u64) -> Result<StreamView> {
        Ok(Target::of(stream)?.view())
    }

    unsafe fn pack(&self, function: u64, each: *mut *mut c_void, extra: *mut *mut c_void) -> Result<Block> {
        let function = Function::of(function)?;
        let kernel = function.kernel();
        let layout = kernel.params().iter().map(|p| ParamInfo { offset: p.offset, size: p.size });
        // SAFETY: the caller's promise is the same.
        Ok(Block::new(&unsafe { params::pack(kernel, each, extra) }?, layout.collect()))
    }

    fn name(&self, function: u64) -> Option<String> {
        Function::of(function).ok().map(|function| function.kernel().name().to_string())
    }

    fn check_kernel(&self, kernel: &Kernel) -> Result {
        let (function, request) = launch(kernel)?;
        request.check(&function, driver()?.engine.threads())?;
        if [4, 11].iter().any(|cluster| kernel.attributes.word(*cluster) > 1) {
            return Err(CUresult::NOT_SUPPORTED);
        }
        function.check_supported()
    }

    fn check_copy(&self, copy: &CUDA_MEMCPY3D) -> Result {
        checked(copy).map(drop)
    }

    fn check_fill(&self, fill: &Fill) -> Result {
        rows(fill)?.check_values(driver()?, fill.params.elementSize.into())
    }

    fn check_event(&self, event: u64) -> Result {
        find_event(event).map(drop)
    }

    fn is_recorded(&self, event: u64) -> bool {
        find_event(event).is_ok_and(|event| event.is_recorded())
    }

    fn check_device(&self, device: i32) -> Result {
        driver()?.device(device).map(drop)
    }

    fn check_allocation(&self, device: i32) -> Result {
        // A node's memory is that of the context in which the node is made.
        match current()?.device.ordinal == device {
            true => Ok(()),
            false => Err(CUresult::NOT_SUPPORTED),
        }
    }

    fn allocate(&self, size: u64) -> Result<u64> {
        current()?.allocate(size)
    }

    fn release(&self, address: u64) {
        let free = || driver()?.free_from_any(address);
        // If its context has ended, so has the memory.
        let _: Result = free();
    }

    fn check_mem_ops(&self, operations: &[CUstreamBatchMemOpParams]) -> Result {
        Target::legacy()?.check_mem_ops(&parse_mem_ops(operations)?)
    }

    fn conditions(&self, context: u64) -> Result<Conditions> {
        let context = driver()?.contexts.get(context).ok_or(CUresult::INVALID_CONTEXT)?;
        Ok(Conditions { context: Arc::downgrade(&context), words: Mutex::default() })
    }

    fn add_condition(&self, conditions: &Conditions, default: Option<u32>) -> Result<u64> {
        let context = conditions.context.upgrade().ok_or(CUresult::INVALID_CONTEXT)?;
        let address = context.allocate(size_of::<u32>() as u64)?;
        conditions.words().push((address, default));
        Ok(address)
    }

    fn instantiate(
        &self,
        operations: &[Operation],
        conditions: Option<&Arc<Conditions>>,
        _flags: u64,
    ) -> Result<Executable> {
        let step = |operation: &Operation| {
            Ok(Step { work: Work::new(&operation.params)?, enabled: true, bodies: operation.bodies.clone() })
        };
        let steps = operations.iter().map(step).collect::<Result<Vec<_>>>()?;
        let conditions = conditions.cloned();
        Ok(Executable { steps: Mutex::new(Arc::new(steps)), last: Mutex::default(), conditions })
    }

    fn update(&self, executable: &Executable, operation: usize, params: &Params) -> Result {
        let work = Work::new(params)?;
        executable.change(operation, |step| step.work = work)
    }

    fn enable(&self, executable: &Executable, operation: usize, enabled: bool) -> Result {
        executable.change(operation, |step| step.enabled = enabled)
    }

    fn launch(&self, executable: &Executable, stream: u64) -> Result {
        let target = Target::of(stream)?;
        let steps = executable.steps().clone();
        let mut last = executable.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut after, mut records): (Vec<Point>, _) = (last.iter().cloned().collect(), Vec::new());
        for step in steps.iter() {
            match &step.work {
                Work::Wait(event) => after.extend(event.point(&target.context)?),
                Work::Record(event) => records.push((event.clone(), Arc::new(AtomicU64::new(0)))),
                _ => {}
            }
        }
        let times: Vec<Arc<AtomicU64>> = records.iter().map(|(_, time)| time.clone()).collect();
        // As of now, as for a launch of one kernel.
        let view = View::new(target.context.driver);
        let conditions = executable.conditions.clone();
        let point = target.context.submit_after(&target.stream, after, move |context| {
            conditions.iter().try_for_each(|conditions| conditions.begin(context.driver))?;
            Run { steps: &steps, context, view, times: times.iter() }.run(0..steps.len())
        })?;
        for (event, time) in records {
            event.set(&target.context, point.clone(), time)?;
        }
        *last = Some(point);
        Ok(())
    }

    fn upload(&self, _executable: &Executable, stream: u64) -> Result {
        Target::of(stream).map(drop)
    }

    fn is_used_by_launches(&self, _executable: &Executable) -> bool {
        false
    }

    fn after(&self, stream: u64, then: Box<dyn FnOnce() + Send>) -> Result {
        let Target { context, stream } = Target::of(stream)?;
        context.submit(&stream, move |_| {
            then();
            Ok(())
        })?;
        Ok(())
    }
}
