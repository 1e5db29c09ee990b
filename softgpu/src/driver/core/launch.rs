//! Kernel launches: the checks of the driver API, then a job of the stream.

use std::io::Write;
use std::sync::Arc;

use vgpu_protocol::cuda::CUresult;

use super::attributes::{BLOCK_MAX, GRID_MAX, THREADS_PER_BLOCK};
use super::context::Limit;
use super::occupancy::blocks_per_multiprocessor;
use super::{Context, Driver, Function, Result, Target};
use vgpu_engine::engine::texture::Snapshot;
use vgpu_engine::engine::{Extents, Fault, Launch};

/// What `cuLaunchKernel` and its relatives are given.
pub(in crate::driver) struct LaunchRequest {
    pub(in crate::driver) grid: [u32; 3],
    pub(in crate::driver) block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub(in crate::driver) shared: u32,
    pub(in crate::driver) cooperative: bool,
    /// The parameter block.
    pub(in crate::driver) params: Vec<u8>,
}

impl LaunchRequest {
    fn threads(&self) -> u64 {
        self.block.iter().map(|n| u64::from(*n)).product()
    }

    fn blocks(&self) -> u128 {
        self.grid.iter().map(|n| u128::from(*n)).product()
    }

    pub(super) fn check(&self, function: &Function, multiprocessors: usize) -> Result {
        let within =
            |sizes: [u32; 3], limits: [u32; 3]| sizes.iter().zip(limits).all(|(n, most)| (1..=most).contains(n));
        if !within(self.grid, GRID_MAX) || !within(self.block, BLOCK_MAX) || self.threads() > THREADS_PER_BLOCK.into() {
            return Err(CUresult::INVALID_VALUE);
        }
        let kernel = function.kernel.attributes();
        if self.shared > function.max_dynamic_shared() || kernel.required_block.is_some_and(|shape| shape != self.block)
        {
            return Err(CUresult::INVALID_VALUE);
        }
        let threads = u32::try_from(self.threads()).unwrap_or(u32::MAX);
        // More than `.maxntid` allows is a wrong shape, not a lack of registers.
        if threads > kernel.max_threads {
            return Err(CUresult::INVALID_VALUE);
        }
        let resident = blocks_per_multiprocessor(kernel, threads, self.shared.into()) as usize * multiprocessors;
        if self.cooperative && self.blocks() > resident as u128 {
            return Err(CUresult::COOPERATIVE_LAUNCH_TOO_LARGE);
        }
        Ok(())
    }
}

impl Target {
    /// Checks a launch and queues it.
    pub(in crate::driver) fn launch(&self, function: Arc<Function>, request: LaunchRequest) -> Result {
        if function.context != self.context.handle {
            return Err(CUresult::INVALID_HANDLE);
        }
        self.refuse_captured()?;
        request.check(&function, self.context.driver.engine.threads())?;
        function.check_supported()?;
        let view = View::new(self.context.driver);
        self.submit(move |context| execute(context, &function, &request, &view))
    }
}

/// What a launch sees, as of its call: what is destroyed while it waits is still there for it.
pub(super) struct View {
    /// Textures and surfaces.
    objects: Snapshot,
    /// Memory, if accesses are checked.
    extents: Option<Extents>,
}

impl View {
    pub(super) fn new(driver: &Driver) -> View {
        View { objects: driver.textures.snapshot(), extents: driver.config.check.then(|| driver.extents()) }
    }
}

/// Runs a launch.
pub(super) fn execute(context: &Context, function: &Function, request: &LaunchRequest, view: &View) -> Result {
    let _watched = context.driver.watchdog.watch(&context.cancel);
    let engine = &context.driver.engine;
    let launch = Launch {
        kernel: &function.kernel,
        grid: request.grid,
        block: request.block,
        dynamic_shared: request.shared,
        params: &request.params,
        cooperative: request.cooperative,
        stack_limit: context.limit(Limit::Stack) as u32,
        printf_limit: context.limit(Limit::PrintfFifo) as usize,
        output: &print,
        cancel: &context.cancel,
        heap: &context.heap,
        objects: &view.objects,
    };
    let outcome = match &view.extents {
        Some(extents) => engine.launch_checked(&launch, extents),
        None => engine.launch(&launch),
    };
    outcome.map_err(|fault| report(context, &fault))
}

fn report(context: &Context, fault: &Fault) -> CUresult {
    if context.check().is_ok() {
        log::warn!("softgpu: {fault}");
    }
    CUresult(fault.kind.cuda_error())
}

/// Kernels print to the process's standard output. That it may be closed is not their problem.
fn print(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}
