//! Calling the driver.

use std::ffi::{c_char, c_void, CStr};
use std::sync::{Arc, OnceLock};

use vgpu_protocol::cuda::{
    CUgraph, CUgraphNode, CUgraphNodeParams, CUhostFn, CUlinkState, CUresult, CUstream, CUDA_CONDITIONAL_NODE_PARAMS,
};
use vgpu_protocol::DriverApi;

use super::context::Failure;
use super::hostfunc::HostFunctions;

/// Calls a driver function that may be missing; the macro's value is the call's result.
macro_rules! driver {
    ($holder:expr, $name:ident($($arg:expr),* $(,)?)) => {{
        let function = $holder.api.$name.ok_or($crate::worker::context::Failure::NOT_SUPPORTED)?;
        // SAFETY: objects come from the ledger, outputs are locals, buffers outlive the call or are
        // ranges of the session's memory that have been checked.
        $crate::worker::context::Failure::check(unsafe { function($($arg),*) })
    }};
}
pub(crate) use driver;

/// Completes a link and copies its image.
pub fn link_complete(api: &DriverApi, state: CUlinkState) -> Result<Vec<u8>, Failure> {
    let complete = api.cuLinkComplete.ok_or(Failure::NOT_SUPPORTED)?;
    let (mut image, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the state comes from the ledger; the outputs are locals.
    Failure::check(unsafe { complete(state, &mut image, &mut size) })?;
    if image.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the driver's image is that long and stays until the link is destroyed, which the caller
    // rules out by holding the link's lock.
    Ok(unsafe { std::slice::from_raw_parts(image.cast::<u8>(), size) }.to_vec())
}

/// Adds a conditional node; the node, and the graphs that it chooses between.
pub fn add_conditional_node(
    api: &DriverApi,
    graph: CUgraph,
    after: &[CUgraphNode],
    params: &CUDA_CONDITIONAL_NODE_PARAMS,
) -> Result<(CUgraphNode, Vec<usize>), Failure> {
    const CONDITIONAL: i32 = 13;
    let add = api.cuGraphAddNode_v2.ok_or(Failure::NOT_SUPPORTED)?;
    let mut all = CUgraphNodeParams { kind: CONDITIONAL, reserved0: [0; 3], body: [0; 29], reserved2: 0 };
    let member: *mut CUDA_CONDITIONAL_NODE_PARAMS = all.body.as_mut_ptr().cast();
    // SAFETY: the body is larger, and as aligned.
    unsafe { member.write(*params) };
    let mut node: CUgraphNode = std::ptr::null_mut();
    // SAFETY: the graph and its nodes come from the ledger; the rest are locals.
    Failure::check(unsafe { add(&mut node, graph, after.as_ptr(), std::ptr::null(), after.len(), &mut all) })?;
    // SAFETY: it was written above, and then by the driver.
    let told = unsafe { all.body.as_ptr().cast::<CUDA_CONDITIONAL_NODE_PARAMS>().read() };
    if told.phGraph_out.is_null() {
        return Err(Failure::Cuda(CUresult::UNKNOWN));
    }
    // SAFETY: the driver keeps as many graphs there as were asked for, as long as the node exists.
    let bodies = unsafe { std::slice::from_raw_parts(told.phGraph_out, params.size as usize) };
    Ok((node, bodies.iter().map(|body| *body as usize).collect()))
}

/// What the driver hands back to the trampoline.
type Call = (Arc<HostFunctions>, u64);

/// Runs on a thread of the driver, in stream order.
unsafe extern "C" fn trampoline(user_data: *mut c_void) {
    // SAFETY: `launch_host_function` made it from a box, for exactly one call.
    let (functions, id) = *unsafe { Box::from_raw(user_data.cast::<Call>()) };
    functions.run(id, CUresult::SUCCESS);
}

/// As [`trampoline`], after errors too.
unsafe extern "C" fn callback(_stream: CUstream, status: CUresult, user_data: *mut c_void) {
    // SAFETY: `add_callback` made it from a box, for exactly one call.
    let (functions, id) = *unsafe { Box::from_raw(user_data.cast::<Call>()) };
    functions.run(id, status);
}

/// Has `functions` run `id` when the stream gets there.
pub fn launch_host_function(
    api: &DriverApi,
    stream: CUstream,
    functions: Arc<HostFunctions>,
    id: u64,
) -> Result<(), Failure> {
    let launch = api.cuLaunchHostFunc.ok_or(Failure::NOT_SUPPORTED)?;
    hand_over((functions, id), |user_data| {
        // SAFETY: the stream comes from the ledger; the trampoline takes what `user_data` is.
        unsafe { launch(stream, Some(trampoline), user_data) }
    })
}

/// As [`launch_host_function`], and `functions` also runs `id` if the stream fails before.
pub fn add_callback(api: &DriverApi, stream: CUstream, functions: Arc<HostFunctions>, id: u64) -> Result<(), Failure> {
    let add = api.cuStreamAddCallback.ok_or(Failure::NOT_SUPPORTED)?;
    hand_over((functions, id), |user_data| {
        // SAFETY: the stream comes from the ledger; the callback takes what `user_data` is.
        unsafe { add(stream, Some(callback), user_data, 0) }
    })
}

fn hand_over(call: Call, to_driver: impl FnOnce(*mut c_void) -> CUresult) -> Result<(), Failure> {
    let user_data: *mut c_void = Box::into_raw(Box::new(call)).cast();
    let taken = Failure::check(to_driver(user_data));
    if taken.is_err() {
        // SAFETY: the driver has refused it and will not call back.
        drop(unsafe { Box::from_raw(user_data.cast::<Call>()) });
    }
    taken
}

/// A string of the driver; none for null.
///
/// # Safety
/// `text` is null or a C string that the driver keeps for now.
pub unsafe fn driver_string(text: *const c_char) -> Vec<u8> {
    match text.is_null() {
        true => Vec::new(),
        // SAFETY: as the caller says.
        false => unsafe { CStr::from_ptr(text) }.to_bytes().to_vec(),
    }
}

static GRAPH_HOST_FUNCTIONS: OnceLock<Arc<HostFunctions>> = OnceLock::new();

/// Runs on a thread of the driver, at every launch. `id` is a number, not an address.
unsafe extern "C" fn graph_trampoline(id: *mut c_void) {
    if let Some(functions) = GRAPH_HOST_FUNCTIONS.get() {
        functions.run(id.addr() as u64, CUresult::SUCCESS);
    }
}

/// What a host node calls, and with which argument, so that `functions` run `id` at every launch. A
/// process serves one session, so the functions are the same for all nodes.
pub fn graph_host_function(functions: &Arc<HostFunctions>, id: u64) -> (CUhostFn, *mut c_void) {
    GRAPH_HOST_FUNCTIONS.get_or_init(|| functions.clone());
    (Some(graph_trampoline), std::ptr::without_provenance_mut(id as usize))
}
