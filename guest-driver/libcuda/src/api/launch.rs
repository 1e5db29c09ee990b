//! Launches: checked and packed here, so that nobody has to be asked.

use std::ffi::c_void;

use vgpu_client::PIECE_SIZE;
use vgpu_graphs::{Attributes, Block, Host, Kernel, Params};
use vgpu_protocol::cmd::{VgpuLaunch, VgpuLaunchLarge, VgpuOccupancyClusters};
use vgpu_protocol::cuda::{
    attribute as attr, launch_attribute as id, CUfunction, CUhostFn, CUlaunchAttribute, CUlaunchConfig, CUresult,
    CUstream, CU_STREAM_PER_THREAD,
};
use vgpu_protocol::{Handle, HandleKind};
use zerocopy::IntoBytes;

use super::Result;
use crate::context;
use crate::driver::{driver, Driver};
use crate::function::{Function, MAX_DYNAMIC_SHARED_SIZE_BYTES, MAX_THREADS_PER_BLOCK, NUM_REGS, SHARED_SIZE_BYTES};
use crate::hostfunc::Work;
use crate::stub::{self, bytes};
use crate::trace;

const PARAM_END: usize = 0;
const PARAM_BUFFER_POINTER: usize = 1;
const PARAM_BUFFER_SIZE: usize = 2;
/// Parameter blocks up to these sizes are packed on the stack, bytes.
const TINY_BLOCK: usize = 64;
const SMALL_BLOCK: usize = 512;
/// Parameters and attributes that travel in the command; a larger block goes through staging, bytes.
const MAX_BLOCK: usize = 7 << 10;

/// More attributes than there are.
const MAX_ATTRIBUTES: usize = 16;
/// The highest number of a launch attribute.
const LAST_ATTRIBUTE: u32 = id::SHARED_MEMORY_MODE;

/// Shape of a launch.
pub(super) struct Shape {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared: u32,
}

/// Threads that get registers together.
const WARP: u64 = 32;

fn check(driver: &Driver, dev: i32, function: &Function, shape: &Shape) -> Result {
    let limit = |attribute| driver.attribute(dev, attribute).map(|value| value.max(0) as u64);
    let grid = [attr::MAX_GRID_DIM_X, attr::MAX_GRID_DIM_Y, attr::MAX_GRID_DIM_Z];
    let block = [attr::MAX_BLOCK_DIM_X, attr::MAX_BLOCK_DIM_Y, attr::MAX_BLOCK_DIM_Z];
    for (size, attribute) in shape.grid.iter().zip(grid).chain(shape.block.iter().zip(block)) {
        if *size == 0 || u64::from(*size) > limit(attribute)? {
            return Err(CUresult::INVALID_VALUE);
        }
    }
    let threads: u64 = shape.block.iter().map(|size| u64::from(*size)).product();
    if threads > limit(attr::MAX_THREADS_PER_BLOCK)? {
        return Err(CUresult::INVALID_VALUE);
    }
    if function.attribute(MAX_THREADS_PER_BLOCK).is_ok_and(|most| threads > most.max(0) as u64) {
        // Too many threads for its registers, or more than it was compiled for (`.maxntid`).
        let registers = threads.next_multiple_of(WARP) * function.attribute(NUM_REGS).unwrap_or(0).max(0) as u64;
        let lacking = registers > limit(attr::MAX_REGISTERS_PER_BLOCK)?;
        return Err(if lacking { CUresult::LAUNCH_OUT_OF_RESOURCES } else { CUresult::INVALID_VALUE });
    }
    check_shared(function, u64::from(shape.shared), limit(attr::MAX_SHARED_MEMORY_PER_BLOCK)?)
}

/// More than the device's normal limit must have been allowed with `cuFuncSetAttribute`.
fn check_shared(function: &Function, dynamic: u64, normal: u64) -> Result {
    let used = function.attribute(SHARED_SIZE_BYTES).unwrap_or(0).max(0) as u64;
    let allowed = function.attribute(MAX_DYNAMIC_SHARED_SIZE_BYTES).unwrap_or(0).max(0) as u64;
    let fits = dynamic == 0 || dynamic <= allowed || dynamic.saturating_add(used) <= normal;
    if fits {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

/// All blocks of a cooperative launch must be resident at once.
fn check_cooperative(driver: &Driver, dev: i32, function: &Function, shape: &Shape) -> Result {
    let threads = shape.block.iter().fold(1i32, |threads, size| threads.saturating_mul(*size as i32));
    let blocks: u128 = shape.grid.iter().map(|size| u128::from(*size)).product();
    let each = super::occupancy::active_blocks(function, threads, shape.shared as usize, 0)?;
    let resident = i64::from(each) * i64::from(driver.attribute(dev, attr::MULTIPROCESSOR_COUNT)?);
    if blocks > resident.max(0) as u128 {
        Err(CUresult::COOPERATIVE_LAUNCH_TOO_LARGE)
    } else {
        Ok(())
    }
}

/// Copies the parameters behind `kernelParams` into the block.
///
/// # Safety
/// `params` is null or has a valid pointer for each of the kernel's parameters.
unsafe fn gather(function: &Function, params: *mut *mut c_void, block: &mut [u8]) -> Result {
    if function.params.is_empty() {
        return Ok(());
    }
    if params.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    for (i, param) in function.params.iter().enumerate() {
        // SAFETY: the caller vouches for one pointer per parameter, each with the parameter's size.
        let value = unsafe { bytes(*params.add(i), param.size as usize)? };
        let place = block.get_mut(param.offset as usize..).and_then(|rest| rest.get_mut(..value.len()));
        place.ok_or(CUresult::INVALID_VALUE)?.copy_from_slice(value);
    }
    Ok(())
}

/// The parameter block that `extra` describes; `None` if it describes none.
///
/// # Safety
/// `extra` is null or a list of keys and values as the driver API defines it.
unsafe fn packed<'a>(extra: *mut *mut c_void) -> std::result::Result<Option<&'a [u8]>, CUresult> {
    if extra.is_null() {
        return Ok(None);
    }
    let (mut at, mut size, mut next) = (None, None, extra);
    loop {
        // SAFETY: the list ends with PARAM_END, and every other key has a value.
        let (key, value) = unsafe {
            match *next as usize {
                PARAM_END => break,
                key => (key, *next.add(1)),
            }
        };
        match key {
            PARAM_BUFFER_POINTER => at = Some(value),
            // SAFETY: the value points to a size.
            PARAM_BUFFER_SIZE => size = Some(unsafe { value.cast::<usize>().read_unaligned() }),
            _ => return Err(CUresult::INVALID_VALUE),
        }
        next = next.wrapping_add(2);
    }
    match (at, size) {
        // SAFETY: the application describes its buffer.
        (Some(at), Some(size)) => unsafe { bytes(at, size).map(Some) },
        (None, None | Some(0)) => Ok(None),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// # Safety
/// `params` and `extra` are as the driver API defines them.
pub(super) unsafe fn launch(
    f: CUfunction,
    shape: &Shape,
    stream: CUstream,
    attributes: &[CUlaunchAttribute],
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Result {
    let driver = driver()?;
    let context = context::required()?;
    let function = driver.functions.find(f as u64)?;
    check(driver, context.device, &function, shape)?;
    if attributes.iter().any(|attribute| attribute.id == id::COOPERATIVE && attribute.word(0) != 0) {
        check_cooperative(driver, context.device, &function, shape)?;
    }
    // SAFETY: as the caller says.
    let given = unsafe { packed(extra)? };
    if given.is_some() && !params.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let size = function.param_bytes;
    if size > PIECE_SIZE || given.is_some_and(|given| given.len() < size) {
        return Err(CUresult::INVALID_VALUE);
    }
    // Only the one that is used is cleared.
    let (mut tiny, mut small, mut large): ([u8; TINY_BLOCK], [u8; SMALL_BLOCK], Vec<u8>);
    let block = if size <= TINY_BLOCK {
        tiny = [0; TINY_BLOCK];
        &mut tiny[..size]
    } else if size <= SMALL_BLOCK {
        small = [0; SMALL_BLOCK];
        &mut small[..size]
    } else {
        large = vec![0; size];
        &mut large[..]
    };
    match given {
        Some(given) => block.copy_from_slice(&given[..size]),
        // SAFETY: as the caller says.
        None => unsafe { gather(&function, params, block)? },
    }
    let captured = driver.graphs.capture(stream as u64, || {
        let Shape { grid, block: threads, shared } = *shape;
        Ok(Params::Kernel(Box::new(Kernel {
            function: function.handle.0,
            is_kernel: function.handle.kind() == HandleKind::Kernel as u8,
            context: context.handle.0,
            grid,
            block: threads,
            shared,
            params: Block::new(block, function.params.as_slice().into()),
            attributes: Attributes::of_launch(attributes)?,
        })))
    })?;
    if captured {
        return Ok(());
    }
    let stream = stub::handle(HandleKind::Stream, stream as u64)?;
    if driver.device_count() > 1 {
        check_stream(driver, &function, stream, context.handle)?;
    }
    submit(&function, shape, stream, attributes.as_bytes(), block)
}

/// A kernel runs in streams of its own context; that of a library is the current one's.
fn check_stream(driver: &Driver, function: &Function, stream: Handle, current: Handle) -> Result {
    let handles = driver.session.handles();
    let owner = |handle: Handle| handles.owner(handle).unwrap_or(current);
    let is_kernel = function.handle.kind() == HandleKind::Kernel as u8;
    let context = if is_kernel { current } else { owner(function.owner) };
    let stream_context = if stream.0 <= CU_STREAM_PER_THREAD { current } else { owner(stream) };
    match context == stream_context {
        true => Ok(()),
        false => Err(CUresult::INVALID_HANDLE),
    }
}

/// Copies a kernel's parameters into a block.
///
/// # Safety
/// As for [`launch`].
pub(crate) unsafe fn pack(
    function: &Function,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> std::result::Result<Vec<u8>, CUresult> {
    // SAFETY: as the caller says.
    let given = unsafe { packed(extra)? };
    let size = function.param_bytes;
    if (given.is_some() && !params.is_null()) || size > PIECE_SIZE || given.is_some_and(|given| given.len() < size) {
        return Err(CUresult::INVALID_VALUE);
    }
    let mut block = vec![0; size];
    match given {
        Some(given) => block.copy_from_slice(&given[..size]),
        // SAFETY: as the caller says.
        None => unsafe { gather(function, params, &mut block)? },
    }
    Ok(block)
}

/// Whether a node's launch can be run.
pub(crate) fn check_node(driver: &Driver, dev: i32, function: &Function, kernel: &Kernel) -> Result {
    let clusters = driver.attribute(dev, attr::CLUSTER_LAUNCH).is_ok_and(|value| value != 0);
    for (id, value) in &kernel.attributes.0 {
        check_attribute(&CUlaunchAttribute { id: *id, pad: 0, value: *value }, clusters)?;
    }
    let Kernel { grid, block, shared, .. } = *kernel;
    check(driver, dev, function, &Shape { grid, block, shared })
}

/// Sends the launch: with its parameters if they are few, else with their place in the staging area.
fn submit(function: &Function, shape: &Shape, stream: Handle, attributes: &[u8], params: &[u8]) -> Result {
    let (function, shared) = (function.handle, shape.shared);
    let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (shape.grid, shape.block);
    if params.len() + attributes.len() <= MAX_BLOCK {
        let command = VgpuLaunch {
            function,
            grid_x,
            grid_y,
            grid_z,
            block_x,
            block_y,
            block_z,
            shared,
            stream,
            attributes,
            params,
        };
        return stub::post(&command).map(drop);
    }
    let session = driver()?.session;
    let context = context::required()?;
    context.fault()?;
    let piece = session.take_piece()?;
    session.fill_piece(&piece, params);
    let command = VgpuLaunchLarge {
        function,
        grid_x,
        grid_y,
        grid_z,
        block_x,
        block_y,
        block_z,
        shared,
        stream,
        attributes,
        params: session.piece_address(&piece),
        params_size: params.len() as u32,
    };
    session.post_with(context.handle.0, &command, piece)
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuLaunchKernel(
    f: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: CUstream,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Result {
    let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared };
    // SAFETY: as for the caller.
    unsafe { launch(f, &shape, stream, &[], params, extra) }
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuLaunchCooperativeKernel(
    f: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: CUstream,
    params: *mut *mut c_void,
) -> Result {
    let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared };
    let cooperative = CUlaunchAttribute::with_word(id::COOPERATIVE, 1);
    // SAFETY: as for the caller.
    unsafe { launch(f, &shape, stream, &[cooperative], params, std::ptr::null_mut()) }
}

/// What can be said against an attribute before the driver sees it. `clusters`: the device has them, and
/// with them the events of running kernels.
fn check_attribute(attribute: &CUlaunchAttribute, clusters: bool) -> Result {
    if attribute.id > LAST_ATTRIBUTE {
        return Err(CUresult::INVALID_VALUE);
    }
    let clustered = attribute.id == id::CLUSTER_DIMENSION && (0..3).any(|i| attribute.word(i) > 1);
    if !attribute.is_portable() || ((clustered || attribute.names_event()) && !clusters) {
        return Err(CUresult::NOT_SUPPORTED);
    }
    if attribute.names_event() {
        let event = u64::from(attribute.word(1)) << 32 | u64::from(attribute.word(0));
        stub::handle(HandleKind::Event, event)?;
    }
    Ok(())
}

/// A launch configuration, copied and checked.
pub struct Launch {
    shape: Shape,
    stream: CUstream,
    attributes: [CUlaunchAttribute; MAX_ATTRIBUTES],
    count: usize,
}

impl Launch {
    /// Reads the configuration.
    ///
    /// # Safety
    /// `config` is null or as the driver API defines it.
    unsafe fn read(config: *const CUlaunchConfig) -> std::result::Result<Self, CUresult> {
        // SAFETY: as the caller says.
        let config = unsafe { config.as_ref() }.ok_or(CUresult::INVALID_VALUE)?;
        if config.numAttrs > 0 && config.attrs.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let count = config.numAttrs as usize;
        let mut attributes = [CUlaunchAttribute::with_word(0, 0); MAX_ATTRIBUTES];
        let device = context::required()?.device;
        let clusters = driver()?.attribute(device, attr::CLUSTER_LAUNCH).is_ok_and(|value| value != 0);
        for (i, attribute) in attributes.get_mut(..count).ok_or(CUresult::NOT_SUPPORTED)?.iter_mut().enumerate() {
            // SAFETY: the caller vouches for `numAttrs` attributes.
            *attribute = unsafe { *config.attrs.add(i) };
            check_attribute(attribute, clusters)?;
        }
        let shape = Shape {
            grid: [config.gridDimX, config.gridDimY, config.gridDimZ],
            block: [config.blockDimX, config.blockDimY, config.blockDimZ],
            shared: config.sharedMemBytes,
        };
        Ok(Launch { shape, stream: config.hStream, attributes, count })
    }

    fn attributes(&self) -> &[CUlaunchAttribute] {
        self.attributes.get(..self.count).unwrap_or_default()
    }
}

pub unsafe fn cuLaunchKernelEx(
    config: *const CUlaunchConfig,
    f: CUfunction,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Result {
    stub::ready()?;
    // SAFETY: the caller vouches for the configuration.
    let config = unsafe { Launch::read(config)? };
    // SAFETY: as for the caller.
    unsafe { launch(f, &config.shape, config.stream, config.attributes(), params, extra) }
}

/// # Safety
/// `value` is null or valid for writes, `config` as the driver API defines it.
unsafe fn cluster_occupancy(
    name: &'static str,
    value: *mut i32,
    f: CUfunction,
    config: *const CUlaunchConfig,
    potential: u32,
) -> Result {
    let driver = driver()?;
    let device = context::required()?.device;
    stub::check_out(value)?;
    let function = driver.functions.find(f as u64)?.handle;
    // SAFETY: as the caller says.
    let config = unsafe { Launch::read(config)? };
    if driver.attribute(device, attr::CLUSTER_LAUNCH).unwrap_or(0) == 0 {
        trace::refused(name);
        return Err(CUresult::NOT_SUPPORTED);
    }
    let stream = stub::handle(HandleKind::Stream, config.stream as u64)?;
    let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (config.shape.grid, config.shape.block);
    let (shared, attributes) = (config.shape.shared, config.attributes().as_bytes());
    let question = VgpuOccupancyClusters {
        function,
        grid_x,
        grid_y,
        grid_z,
        block_x,
        block_y,
        block_z,
        shared,
        stream,
        attributes,
        potential,
    };
    // SAFETY: the caller vouches for the pointer.
    unsafe { stub::give(value, stub::create(&question)?.value) }
}

pub unsafe fn cuOccupancyMaxPotentialClusterSize(
    size: *mut i32,
    f: CUfunction,
    config: *const CUlaunchConfig,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { cluster_occupancy("cuOccupancyMaxPotentialClusterSize", size, f, config, 1) }
}

pub unsafe fn cuOccupancyMaxActiveClusters(count: *mut i32, f: CUfunction, config: *const CUlaunchConfig) -> Result {
    // SAFETY: as for the caller.
    unsafe { cluster_occupancy("cuOccupancyMaxActiveClusters", count, f, config, 0) }
}

pub unsafe fn cuLaunchHostFunc(stream: CUstream, function: CUhostFn, user_data: *mut c_void) -> Result {
    let driver = driver()?;
    if function.is_none() {
        return Err(CUresult::INVALID_VALUE);
    }
    let host = || Ok(Params::Host(Host { function, data: user_data.expose_provenance() }));
    if driver.graphs.capture(stream as u64, host)? {
        return Ok(());
    }
    let stream = stub::handle(HandleKind::Stream, stream as u64)?;
    driver.host_functions.enqueue(driver.session, stream, Work::Function(function), user_data)
}

/// How a thread of the driver waits for the function's turn is a preference.
pub unsafe fn cuLaunchHostFunc_v2(stream: CUstream, function: CUhostFn, user_data: *mut c_void, mode: u32) -> Result {
    stub::ready()?;
    if mode > 1 {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: as for the caller.
    unsafe { cuLaunchHostFunc(stream, function, user_data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_attributes_that_change_results_are_not_ignored() {
        let attribute = CUlaunchAttribute::with_word;
        assert_eq!(check_attribute(&attribute(id::COOPERATIVE, 1), false), Ok(()));
        assert_eq!(check_attribute(&attribute(id::CLUSTER_DIMENSION, 1), false), Ok(()));
        assert_eq!(check_attribute(&attribute(id::CLUSTER_DIMENSION, 2), false), Err(CUresult::NOT_SUPPORTED));
        assert_eq!(check_attribute(&attribute(id::CLUSTER_DIMENSION, 2), true), Ok(()));
        assert_eq!(check_attribute(&attribute(8, 5), false), Ok(()));
        for refused in [id::DEVICE_UPDATABLE_KERNEL_NODE, id::SHARED_MEMORY_MODE] {
            assert_eq!(check_attribute(&attribute(refused, 0), true), Err(CUresult::NOT_SUPPORTED), "{refused}");
        }
        assert_eq!(check_attribute(&attribute(id::PROGRAMMATIC_EVENT, 1), false), Err(CUresult::NOT_SUPPORTED));
        assert_eq!(check_attribute(&attribute(99, 0), true), Err(CUresult::INVALID_VALUE));
    }

    #[test]
    fn test_extra_needs_buffer_and_size() {
        let mut data = [1u8, 2, 3];
        let mut size = 3usize;
        let (at, size): (*mut c_void, *mut c_void) = (data.as_mut_ptr().cast(), (&raw mut size).cast());
        let key = |key: usize| key as *mut c_void;
        let mut list = [key(1), at, key(2), size, key(0)];
        // SAFETY: the lists are well-formed and their buffers alive.
        unsafe {
            assert_eq!(packed(list.as_mut_ptr()), Ok(Some(&[1u8, 2, 3][..])));
            assert_eq!(packed([key(1), at, key(0)].as_mut_ptr()), Err(CUresult::INVALID_VALUE));
            assert_eq!(packed([key(7), at, key(0)].as_mut_ptr()), Err(CUresult::INVALID_VALUE));
            assert_eq!(packed([key(0)].as_mut_ptr()), Ok(None));
        }
    }
}
