//! The driver API's C types, as far as the API table names them (CUDA driver API, "Data types").

mod array;
pub mod attribute;
mod copy;
mod graph;
pub mod hints;
mod ipc;
mod memory;
mod resource;
mod result;
mod stream;
mod texture;

use std::ffi::{c_char, c_void};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::info::{DeviceInfo, FunctionAttributes, PointerInfo};
pub use array::*;
pub use copy::*;
pub use graph::*;
pub use ipc::*;
pub use memory::*;
pub use resource::CUdevResource;
pub use result::CUresult;
pub use stream::{
    launch_attribute, mem_op, BadMemOp, CUlaunchAttributeValue, CUstreamBatchMemOpParams, MemOp, StreamAttributes,
    WaitCondition,
};
pub use texture::*;

macro_rules! handles {
    ($($name:ident $opaque:ident;)*) => {
        $(
            #[doc = concat!("What a `", stringify!($name), "` points to: never looked at.")]
            #[allow(non_camel_case_types)]
            #[repr(C)]
            pub struct $opaque {
                _opaque: [u8; 0],
            }
            #[doc = concat!("`", stringify!($name), "` of `cuda.h`.")]
            pub type $name = *mut $opaque;
        )*
    };
}

handles! {
    CUcontext CUctx_st;
    CUmodule CUmod_st;
    CUlibrary CUlib_st;
    CUfunction CUfunc_st;
    CUkernel CUkern_st;
    CUstream CUstream_st;
    CUevent CUevent_st;
    CUmemoryPool CUmemPoolHandle_st;
    CUlinkState CUlinkState_st;
    CUgraph CUgraph_st;
    CUgraphNode CUgraphNode_st;
    CUgraphExec CUgraphExec_st;
    CUarray CUarray_st;
    CUmipmappedArray CUmipmappedArray_st;
    CUtexref CUtexref_st;
    CUsurfref CUsurfref_st;
    CUmemGenericAllocationHandle CUmemGenericAllocation_st;
    CUuserObject CUuserObject_st;
}

/// The legacy default stream, as an explicit handle.
pub const CU_STREAM_LEGACY: u64 = 1;
/// The calling thread's default stream.
pub const CU_STREAM_PER_THREAD: u64 = 2;

/// What a stream argument of a per-thread twin means: null is the calling thread's stream.
pub fn per_thread(stream: CUstream) -> CUstream {
    if stream.is_null() {
        CU_STREAM_PER_THREAD as CUstream
    } else {
        stream
    }
}

/// What a launch configuration of a per-thread twin means.
pub fn per_thread_config(config: &CUlaunchConfig) -> CUlaunchConfig {
    CUlaunchConfig { hStream: per_thread(config.hStream), ..*config }
}

/// `CUjit_option`s whose value the call overwrites with another number: the threads per block that were compiled for, and
/// the milliseconds that it took, as the bits of a `float`.
pub const JIT_RESULTS: [i32; 2] = [1, 2];

/// How many `CUjit_option`s there are.
pub const JIT_OPTIONS: i32 = 36;

/// Whether a `CUjit_option`'s value is a number, rather than a pointer or what belongs to one.
pub fn jit_option_is_number(option: i32) -> bool {
    matches!(option, 0..=2 | 7..=16 | 20..=24 | 29..=35)
}

/// Called by `cuLaunchHostFunc` in stream order.
pub type CUhostFn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;
/// Bytes of dynamic shared memory that a block of this many threads needs.
pub type CUoccupancyB2DSize = Option<unsafe extern "C" fn(block_size: i32) -> usize>;
/// Called by `cuStreamAddCallback` in stream order.
pub type CUstreamCallback = Option<unsafe extern "C" fn(stream: CUstream, status: CUresult, user_data: *mut c_void)>;

/// Called for each entry of the driver's log: level, text with a NUL behind it, length without that.
pub type CUlogsCallback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, message: *const c_char, length: usize)>;

/// Parameters of `cuCtxCreate_v4`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, non_snake_case)]
pub struct CUctxCreateParams {
    pub execAffinityParams: *const c_void,
    pub numExecAffinityParams: i32,
    pub cigParams: *const c_void,
}

/// A UUID, in byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUuuid {
    pub bytes: [u8; 16],
}

/// Legacy device properties (`cuDeviceGetProperties`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, non_snake_case)]
pub struct CUdevprop {
    pub maxThreadsPerBlock: i32,
    pub maxThreadsDim: [i32; 3],
    pub maxGridSize: [i32; 3],
    pub sharedMemPerBlock: i32,
    pub totalConstantMemory: i32,
    pub SIMDWidth: i32,
    pub memPitch: i32,
    pub regsPerBlock: i32,
    pub clockRate: i32,
    pub textureAlign: i32,
}

/// One launch attribute; the meaning of `value` depends on `id`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUlaunchAttribute {
    pub id: u32,
    pub pad: u32,
    pub value: [u8; 64],
}

/// `CU_LAUNCH_ATTRIBUTE_COOPERATIVE`.
pub const LAUNCH_ATTRIBUTE_COOPERATIVE: u32 = 2;

impl CUlaunchAttribute {
    /// The attribute whose value starts with `word`.
    pub fn with_word(id: u32, word: u32) -> Self {
        let mut attribute = CUlaunchAttribute { id, pad: 0, value: [0; 64] };
        for (to, from) in attribute.value.iter_mut().zip(word.to_le_bytes()) {
            *to = from;
        }
        attribute
    }

    /// The value's words of four bytes; 0 behind its end.
    pub fn word(&self, index: usize) -> u32 {
        let bytes = self.value.get(4 * index..).and_then(|value| value.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Whether the value means the same in the driver as in the application. Events do once their
    /// handles are translated ([`CUlaunchAttribute::names_event`]); nodes of device-side graphs never do.
    pub fn is_portable(&self) -> bool {
        matches!(self.id, 0..=6 | 8..=11 | 14..=17) || self.names_event()
    }

    /// Whether the value starts with a `CUevent` (programmatic event, launch completion event).
    pub fn names_event(&self) -> bool {
        matches!(self.id, 7 | 12)
    }
}

/// A tensor map: only the driver knows its layout.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUtensorMap {
    pub opaque: [u64; 16],
}

/// Configuration of `cuLaunchKernelEx`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, non_snake_case)]
pub struct CUlaunchConfig {
    pub gridDimX: u32,
    pub gridDimY: u32,
    pub gridDimZ: u32,
    pub blockDimX: u32,
    pub blockDimY: u32,
    pub blockDimZ: u32,
    pub sharedMemBytes: u32,
    pub hStream: CUstream,
    pub attrs: *mut CUlaunchAttribute,
    pub numAttrs: u32,
}
