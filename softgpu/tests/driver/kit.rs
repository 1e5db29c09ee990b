//! What a C program would have: the entry points, small wrappers, and objects that clean up.

use std::ffi::{c_void, CString};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

pub use vgpu_protocol::cuda::{CUcontext, CUevent, CUfunction, CUmodule, CUresult, CUstream};
use vgpu_protocol::DriverApi;

pub const KERNELS: &str = include_str!("kernels.ptx");
pub const MEMORY: u64 = 256 << 20;

/// The initialised driver.
pub fn api() -> &'static DriverApi {
    static API: OnceLock<DriverApi> = OnceLock::new();
    API.get_or_init(|| {
        let config = vgpu_softgpu::Config { memory_bytes: MEMORY, threads: 2, ..Default::default() };
        vgpu_softgpu::configure(config).expect("configured once");
        let api = vgpu_softgpu::driver_api();
        // SAFETY: no pointers.
        assert_eq!(unsafe { (api.cuInit.expect("cuInit"))(0) }, CUresult::SUCCESS);
        api
    })
}

/// Calls an entry point by name.
macro_rules! cu {
    ($name:ident($($arg:expr),* $(,)?)) => {{
        let function = $crate::kit::api().$name.expect(stringify!($name));
        // SAFETY: the tests pass what the driver API demands, or values that it must refuse.
        #[allow(unused_unsafe)]
        unsafe { function($($arg),*) }
    }};
}

/// Calls an entry point that must succeed.
macro_rules! ok {
    ($name:ident($($arg:expr),* $(,)?)) => {
        assert_eq!(cu!($name($($arg),*)), $crate::kit::CUresult::SUCCESS, stringify!($name))
    };
}

/// A context that is current on the creating thread.
pub struct Context(pub CUcontext);

// SAFETY: a handle, which any thread may use.
unsafe impl Sync for Context {}

impl Context {
    pub fn new() -> Context {
        let mut context = std::ptr::null_mut();
        ok!(cuCtxCreate_v2(&mut context, 0, 0));
        Context(context)
    }

    /// Makes it the calling thread's.
    pub fn enter(&self) {
        ok!(cuCtxSetCurrent(self.0));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = cu!(cuCtxDestroy_v2(self.0));
    }
}

pub fn alloc(bytes: usize) -> u64 {
    let mut address = 0;
    ok!(cuMemAlloc_v2(&mut address, bytes));
    address
}

pub fn upload<T: Copy>(to: u64, values: &[T]) {
    ok!(cuMemcpyHtoD_v2(to, values.as_ptr().cast(), size_of_val(values)));
}

pub fn download<T: Copy + Default>(from: u64, count: usize) -> Vec<T> {
    let mut values = vec![T::default(); count];
    ok!(cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), from, count * size_of::<T>()));
    values
}

pub fn stream(flags: u32) -> CUstream {
    let mut stream = std::ptr::null_mut();
    ok!(cuStreamCreate(&mut stream, flags));
    stream
}

pub fn event(flags: u32) -> CUevent {
    let mut event = std::ptr::null_mut();
    ok!(cuEventCreate(&mut event, flags));
    event
}

/// Result, error log and info log of loading a module.
pub struct Loaded {
    pub result: CUresult,
    pub module: CUmodule,
    pub error: String,
    pub info: String,
}

/// Loads NUL-terminated or self-describing bytes.
pub fn load(image: &[u8]) -> Loaded {
    let (mut error, mut info) = (vec![0x55_u8; 2048], vec![0x55_u8; 2048]);
    let options = [3, 4, 5, 6];
    let size = |len: usize| std::ptr::without_provenance_mut::<c_void>(len);
    let mut values = [info.as_mut_ptr().cast(), size(info.len()), error.as_mut_ptr().cast(), size(error.len())];
    let mut module = std::ptr::null_mut();
    let result = cu!(cuModuleLoadDataEx(&mut module, image.as_ptr().cast(), 4, options.as_ptr(), values.as_mut_ptr()));
    let text = |bytes: &[u8], written: usize| {
        assert_eq!(bytes[written], 0, "the log ends with a NUL");
        String::from_utf8(bytes[..written].to_vec()).expect("logs are text")
    };
    let (info, error) = (text(&info, values[1].addr()), text(&error, values[3].addr()));
    Loaded { result, module, error, info }
}

/// The test kernels.
pub fn kernels() -> CUmodule {
    let text = CString::new(KERNELS).expect("no NUL");
    let loaded = load(text.as_bytes_with_nul());
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    loaded.module
}

pub fn function(module: CUmodule, name: &str) -> CUfunction {
    let name = CString::new(name).expect("no NUL");
    let mut function = std::ptr::null_mut();
    ok!(cuModuleGetFunction(&mut function, module, name.as_ptr()));
    function
}

/// Launches with one parameter block of 8-byte parameters (all test kernels accept that).
pub fn launch(function: CUfunction, grid: u32, block: u32, stream: CUstream, params: &[u64]) -> CUresult {
    let mut pointers: Vec<*mut c_void> = params.iter().map(|p| std::ptr::from_ref(p).cast_mut().cast()).collect();
    let null = std::ptr::null_mut();
    cu!(cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, stream, pointers.as_mut_ptr(), null))
}

/// Host memory that kernels can see, with a flag for `wait_flag` and room for results.
pub struct Gate {
    words: Box<Page>,
}

#[repr(align(4096))]
struct Page([AtomicU32; 1024]);

impl Gate {
    pub fn new() -> Gate {
        let words = Box::new(Page([const { AtomicU32::new(0) }; 1024]));
        ok!(cuMemHostRegister_v2(words.0.as_ptr().cast_mut().cast(), size_of::<Page>(), 1));
        Gate { words }
    }

    /// Address of word `i`; word 0 is the flag.
    pub fn word(&self, i: usize) -> u64 {
        self.words.0[i].as_ptr() as u64
    }

    pub fn value(&self, i: usize) -> u32 {
        self.words.0[i].load(Ordering::SeqCst)
    }

    /// Lets `wait_flag` go on.
    pub fn open(&self) {
        self.words.0[0].store(1, Ordering::SeqCst);
    }

    /// Holds a stream until the gate is opened.
    pub fn hold(&self, module: CUmodule, stream: CUstream) {
        assert_eq!(launch(function(module, "wait_flag"), 1, 1, stream, &[self.word(0)]), CUresult::SUCCESS);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        ok!(cuMemHostUnregister(self.words.0.as_ptr().cast_mut().cast()));
    }
}
