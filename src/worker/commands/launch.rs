//! Launching kernels.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUevent, CUlaunchAttribute, CUlaunchConfig};
use vgpu_protocol::{cmd, Handle, HandleKind};
use zerocopy::FromBytes;

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

const LAUNCH_PARAM_END: *mut c_void = std::ptr::null_mut();
const LAUNCH_PARAM_BUFFER_POINTER: *mut c_void = std::ptr::without_provenance_mut(1);
const LAUNCH_PARAM_BUFFER_SIZE: *mut c_void = std::ptr::without_provenance_mut(2);
/// No driver knows more launch attributes than this.
const ATTRIBUTES_MAX: usize = 64;
/// Largest parameter block of any kernel (compute capability 7.0 and later), bytes.
const PARAMS_MAX: u32 = 32_764;

/// A launch without its parameters.
struct Launch {
    function: Handle,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: Handle,
}

/// What the commands that describe a launch have in common.
macro_rules! launch {
    ($command:ident) => {
        Launch {
            function: $command.function,
            grid: [$command.grid_x, $command.grid_y, $command.grid_z],
            block: [$command.block_x, $command.block_y, $command.block_z],
            shared: $command.shared,
            stream: $command.stream,
        }
    };
}

/// `vgpuLaunch`. The parameter block goes to the driver as one buffer, so no layout is needed here;
/// it must be as large as the kernel's.
pub fn launch(ctx: &mut Context<'_>, c: cmd::VgpuLaunch<'_>) -> Result<cmd::VgpuLaunchReply, Failure> {
    launch!(c).run(ctx, c.attributes, c.params)?;
    Ok(cmd::VgpuLaunchReply {})
}

/// `vgpuLaunchLarge`.
pub fn launch_large(ctx: &mut Context<'_>, c: cmd::VgpuLaunchLarge<'_>) -> Result<cmd::VgpuLaunchLargeReply, Failure> {
    if c.params_size > PARAMS_MAX {
        return Err(Failure::INVALID_VALUE);
    }
    let params = ctx.session.arena.read(c.params, c.params_size.into()).ok_or(Failure::INVALID_VALUE)?;
    launch!(c).run(ctx, c.attributes, &params)?;
    Ok(cmd::VgpuLaunchLargeReply {})
}

/// `vgpuOccupancyClusters`.
pub fn occupancy_clusters(
    ctx: &mut Context<'_>,
    c: cmd::VgpuOccupancyClusters<'_>,
) -> Result<cmd::VgpuOccupancyClustersReply, Failure> {
    let function = ctx.resolve(HandleKind::Function, c.function)?;
    let stream = ctx.resolve(HandleKind::Stream, c.stream)?;
    let mut attributes = translate(ctx, c.attributes)?;
    let config = launch!(c).config(stream, &mut attributes);
    let mut value = 0;
    match c.potential {
        0 => driver!(ctx, cuOccupancyMaxActiveClusters(&mut value, function.cast(), &config))?,
        _ => driver!(ctx, cuOccupancyMaxPotentialClusterSize(&mut value, function.cast(), &config))?,
    }
    Ok(cmd::VgpuOccupancyClustersReply { value })
}

impl Launch {
    fn run(&self, ctx: &Context<'_>, attributes: &[u8], params: &[u8]) -> Result<(), Failure> {
        ctx.session.pace.wait();
        let function = ctx.entry(HandleKind::Function, self.function)?;
        let stream = ctx.resolve(HandleKind::Stream, self.stream)?;
        if params.len() < function.param_bytes as usize {
            return Err(Failure::INVALID_VALUE);
        }
        let mut size = params.len();
        let mut extra = [
            LAUNCH_PARAM_BUFFER_POINTER,
            params.as_ptr().cast_mut().cast(),
            LAUNCH_PARAM_BUFFER_SIZE,
            std::ptr::from_mut(&mut size).cast(),
            LAUNCH_PARAM_END,
        ];
        let extra = if size == 0 { std::ptr::null_mut() } else { extra.as_mut_ptr() };
        let function = function.pointer as *mut c_void;
        let none = std::ptr::null_mut();
        let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (self.grid, self.block);
        if attributes.is_empty() {
            return driver!(
                ctx,
                cuLaunchKernel(
                    function.cast(),
                    grid_x,
                    grid_y,
                    grid_z,
                    block_x,
                    block_y,
                    block_z,
                    self.shared,
                    stream.cast(),
                    none,
                    extra,
                )
            );
        }
        let mut attributes = translate(ctx, attributes)?;
        let config = self.config(stream, &mut attributes);
        driver!(ctx, cuLaunchKernelEx(&config, function.cast(), none, extra))
    }

    fn config(&self, stream: *mut c_void, attributes: &mut [CUlaunchAttribute]) -> CUlaunchConfig {
        CUlaunchConfig {
            gridDimX: self.grid[0],
            gridDimY: self.grid[1],
            gridDimZ: self.grid[2],
            blockDimX: self.block[0],
            blockDimY: self.block[1],
            blockDimZ: self.block[2],
            sharedMemBytes: self.shared,
            hStream: stream.cast(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        }
    }
}

/// The attributes as the driver takes them: events by its own pointers.
fn translate(ctx: &Context<'_>, bytes: &[u8]) -> Result<Vec<CUlaunchAttribute>, Failure> {
    let one = size_of::<CUlaunchAttribute>();
    if !bytes.len().is_multiple_of(one) || bytes.len() / one > ATTRIBUTES_MAX {
        return Err(Failure::INVALID_VALUE);
    }
    let read = |bytes: &[u8]| {
        let mut attribute = CUlaunchAttribute::read_from_bytes(bytes).map_err(|_| Failure::Malformed)?;
        if !attribute.is_portable() {
            return Err(Failure::NOT_SUPPORTED);
        }
        if let (true, Some(event)) = (attribute.names_event(), attribute.value.first_chunk_mut::<8>()) {
            let known: CUevent = ctx.resolve(HandleKind::Event, Handle(u64::from_le_bytes(*event)))?.cast();
            *event = (known as u64).to_le_bytes();
        }
        Ok(attribute)
    };
    bytes.chunks_exact(one).map(read).collect()
}
