//! `CUresult`: the driver API's error codes (CUDA driver API, "Data types", `CUresult`).

macro_rules! results {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// What a driver function returns. `0` is success.
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct CUresult(pub u32);

        #[allow(missing_docs)]
        impl CUresult {
            $(pub const $name: CUresult = CUresult($code);)*

            /// Name (`CUDA_ERROR_...`, with a NUL at the end) and description (likewise); `None`
            /// for a number that is no error code.
            pub fn describe(self) -> Option<(&'static std::ffi::CStr, &'static std::ffi::CStr)> {
                match self {
                    $(Self::$name => Some((c_name!($name), $text)),)*
                    _ => None,
                }
            }
        }
    };
}

macro_rules! c_name {
    (SUCCESS) => {
        c"CUDA_SUCCESS"
    };
    ($name:ident) => {
        const {
            let bytes = concat!("CUDA_ERROR_", stringify!($name), "\0").as_bytes();
            match std::ffi::CStr::from_bytes_with_nul(bytes) {
                Ok(name) => name,
                Err(_) => c"",
            }
        }
    };
}

impl std::fmt::Debug for CUresult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.describe() {
            Some((name, _)) => write!(f, "{}", name.to_string_lossy()),
            None => write!(f, "CUresult({})", self.0),
        }
    }
}

impl std::fmt::Display for CUresult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.describe() {
            Some((name, text)) => write!(f, "{} ({}: {})", self.0, name.to_string_lossy(), text.to_string_lossy()),
            None => write!(f, "{} (unknown error code)", self.0),
        }
    }
}

impl std::error::Error for CUresult {}

results! {
    SUCCESS = 0, c"no error";
    INVALID_VALUE = 1, c"invalid argument";
    OUT_OF_MEMORY = 2, c"out of memory";
    NOT_INITIALIZED = 3, c"initialization error";
    DEINITIALIZED = 4, c"driver shutting down";
    PROFILER_DISABLED = 5, c"profiler disabled";
    PROFILER_NOT_INITIALIZED = 6, c"profiler not initialized";
    PROFILER_ALREADY_STARTED = 7, c"profiler already started";
    PROFILER_ALREADY_STOPPED = 8, c"profiler already stopped";
    STUB_LIBRARY = 34, c"CUDA driver is a stub library";
    CALL_REQUIRES_NEWER_DRIVER = 36, c"call requires newer driver";
    DEVICE_UNAVAILABLE = 46, c"CUDA-capable device(s) is/are busy or unavailable";
    MULTICAST_RESOURCE_FULL = 47, c"multicast resource full";
    NO_DEVICE = 100, c"no CUDA-capable device is detected";
    INVALID_DEVICE = 101, c"invalid device ordinal";
    DEVICE_NOT_LICENSED = 102, c"device not licensed";
    INVALID_IMAGE = 200, c"device kernel image is invalid";
    INVALID_CONTEXT = 201, c"invalid device context";
    CONTEXT_ALREADY_CURRENT = 202, c"context already current";
    MAP_FAILED = 205, c"mapping of buffer object failed";
    UNMAP_FAILED = 206, c"unmapping of buffer object failed";
    ARRAY_IS_MAPPED = 207, c"array is mapped";
    ALREADY_MAPPED = 208, c"already mapped";
    NO_BINARY_FOR_GPU = 209, c"no kernel image is available for execution on the device";
    ALREADY_ACQUIRED = 210, c"already acquired";
    NOT_MAPPED = 211, c"not mapped";
    NOT_MAPPED_AS_ARRAY = 212, c"not mapped as array";
    NOT_MAPPED_AS_POINTER = 213, c"not mapped as pointer";
    ECC_UNCORRECTABLE = 214, c"uncorrectable ECC error encountered";
    UNSUPPORTED_LIMIT = 215, c"limit is not supported on this architecture";
    CONTEXT_ALREADY_IN_USE = 216, c"context already in use";
    PEER_ACCESS_UNSUPPORTED = 217, c"peer access is not supported between these two devices";
    INVALID_PTX = 218, c"a PTX JIT compilation failed";
    INVALID_GRAPHICS_CONTEXT = 219, c"invalid graphics context";
    NVLINK_UNCORRECTABLE = 220, c"nvlink uncorrectable";
    JIT_COMPILER_NOT_FOUND = 221, c"PTX JIT compiler library not found";
    UNSUPPORTED_PTX_VERSION = 222, c"the provided PTX was compiled with an unsupported toolchain.";
    JIT_COMPILATION_DISABLED = 223, c"jit compilation disabled";
    UNSUPPORTED_EXEC_AFFINITY = 224, c"unsupported exec affinity";
    UNSUPPORTED_DEVSIDE_SYNC = 225, c"unsupported devside sync";
    CONTAINED = 226, c"contained";
    INSUFFICIENT_LOADER_VERSION = 227, c"insufficient loader version";
    INVALID_SOURCE = 300, c"device kernel image is invalid";
    FILE_NOT_FOUND = 301, c"file not found";
    SHARED_OBJECT_SYMBOL_NOT_FOUND = 302, c"shared object symbol not found";
    SHARED_OBJECT_INIT_FAILED = 303, c"shared object initialization failed";
    OPERATING_SYSTEM = 304, c"OS call failed or operation not supported on this OS";
    INVALID_HANDLE = 400, c"invalid resource handle";
    ILLEGAL_STATE = 401, c"the operation cannot be performed in the present state";
    LOSSY_QUERY = 402, c"lossy query";
    NOT_FOUND = 500, c"named symbol not found";
    NOT_READY = 600, c"device not ready";
    ILLEGAL_ADDRESS = 700, c"an illegal memory access was encountered";
    LAUNCH_OUT_OF_RESOURCES = 701, c"too many resources requested for launch";
    LAUNCH_TIMEOUT = 702, c"the launch timed out and was terminated";
    LAUNCH_INCOMPATIBLE_TEXTURING = 703, c"launch incompatible texturing";
    PEER_ACCESS_ALREADY_ENABLED = 704, c"peer access is already enabled";
    PEER_ACCESS_NOT_ENABLED = 705, c"peer access has not been enabled";
    PRIMARY_CONTEXT_ACTIVE = 708, c"cannot set while device is active in this process";
    CONTEXT_IS_DESTROYED = 709, c"context is destroyed";
    ASSERT = 710, c"device-side assert triggered";
    TOO_MANY_PEERS = 711, c"too many peers";
    HOST_MEMORY_ALREADY_REGISTERED = 712, c"part or all of the requested memory range is already mapped";
    HOST_MEMORY_NOT_REGISTERED = 713, c"pointer does not correspond to a registered memory region";
    HARDWARE_STACK_ERROR = 714, c"hardware stack error";
    ILLEGAL_INSTRUCTION = 715, c"an illegal instruction was encountered";
    MISALIGNED_ADDRESS = 716, c"misaligned address";
    INVALID_ADDRESS_SPACE = 717, c"operation not supported on global/shared address space";
    INVALID_PC = 718, c"invalid program counter";
    LAUNCH_FAILED = 719, c"unspecified launch failure";
    COOPERATIVE_LAUNCH_TOO_LARGE = 720, c"too many blocks in cooperative launch";
    TENSOR_MEMORY_LEAK = 721, c"tensor memory leak";
    NOT_PERMITTED = 800, c"operation not permitted";
    NOT_SUPPORTED = 801, c"operation not supported";
    SYSTEM_NOT_READY = 802, c"system not yet initialized";
    SYSTEM_DRIVER_MISMATCH = 803, c"system has unsupported display driver / cuda driver combination";
    COMPAT_NOT_SUPPORTED_ON_DEVICE = 804, c"compat not supported on device";
    MPS_CONNECTION_FAILED = 805, c"mps connection failed";
    MPS_RPC_FAILURE = 806, c"mps rpc failure";
    MPS_SERVER_NOT_READY = 807, c"mps server not ready";
    MPS_MAX_CLIENTS_REACHED = 808, c"mps max clients reached";
    MPS_MAX_CONNECTIONS_REACHED = 809, c"mps max connections reached";
    MPS_CLIENT_TERMINATED = 810, c"mps client terminated";
    CDP_NOT_SUPPORTED = 811, c"cdp not supported";
    CDP_VERSION_MISMATCH = 812, c"cdp version mismatch";
    STREAM_CAPTURE_UNSUPPORTED = 900, c"stream capture unsupported";
    STREAM_CAPTURE_INVALIDATED = 901, c"stream capture invalidated";
    STREAM_CAPTURE_MERGE = 902, c"stream capture merge";
    STREAM_CAPTURE_UNMATCHED = 903, c"stream capture unmatched";
    STREAM_CAPTURE_UNJOINED = 904, c"stream capture unjoined";
    STREAM_CAPTURE_ISOLATION = 905, c"stream capture isolation";
    STREAM_CAPTURE_IMPLICIT = 906, c"stream capture implicit";
    CAPTURED_EVENT = 907, c"captured event";
    STREAM_CAPTURE_WRONG_THREAD = 908, c"stream capture wrong thread";
    TIMEOUT = 909, c"wait operation timed out";
    GRAPH_EXEC_UPDATE_FAILURE = 910, c"graph exec update failure";
    EXTERNAL_DEVICE = 911, c"external device";
    INVALID_CLUSTER_SIZE = 912, c"invalid cluster size";
    FUNCTION_NOT_LOADED = 913, c"function not loaded";
    INVALID_RESOURCE_TYPE = 914, c"invalid resource type";
    INVALID_RESOURCE_CONFIGURATION = 915, c"invalid resource configuration";
    KEY_ROTATION = 916, c"key rotation";
    STREAM_DETACHED = 917, c"stream detached";
    GRAPH_RECAPTURE_FAILURE = 918, c"graph recapture failure";
    FABRIC_NOT_READY = 919, c"fabric not ready";
    UNKNOWN = 999, c"unknown error";
}
