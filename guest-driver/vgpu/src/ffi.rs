//! The CUDA driver API as a program calls it: a library opened by name, or one that is linked in.

use std::ffi::{c_void, CStr, CString};
use std::fmt;
use std::ptr;

use anyhow::{Context, Result};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use vgpu_protocol::cuda::{CUfunction, CUresult};
use vgpu_protocol::DriverApi;

/// A driver call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The function.
    pub call: &'static str,
    /// What it returned.
    pub result: CUresult,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.result.describe().map_or("unknown error", |(name, _)| name.to_str().unwrap_or_default());
        write!(f, "{} returned {} ({name})", self.call, self.result.0)
    }
}

impl std::error::Error for CallError {}

/// Calls a function of the table; one that the library lacks is not supported.
macro_rules! call {
    ($driver:expr, $name:ident ( $($argument:expr),* $(,)? )) => {{
        let result = match $driver.api.$name {
            // SAFETY: the arguments are what the function's documentation asks for; pointers refer to
            // live values of the right types.
            Some(function) => unsafe { function($($argument),*) },
            None => CUresult::NOT_SUPPORTED,
        };
        match result {
            CUresult::SUCCESS => Ok(()),
            result => Err(CallError { call: stringify!($name), result }),
        }
    }};
}

/// An open driver library.
pub struct Driver {
    api: DriverApi,
}

/// A kernel of a module that stays loaded.
#[derive(Clone, Copy)]
pub struct Kernel(CUfunction);

/// Memory of the device, freed with the process.
#[derive(Clone, Copy, Debug)]
pub struct DeviceMemory {
    /// Device address.
    pub address: u64,
    /// Size, bytes.
    pub length: usize,
}

/// Pinned host memory, freed with the process.
pub struct PinnedMemory {
    address: *mut u8,
    length: usize,
}

impl PinnedMemory {
    /// The memory.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the driver gave this memory to this value alone, and never takes it back.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.length) }
    }
}

impl Driver {
    /// Opens a library as the dynamic linker finds it. It stays open.
    pub fn open(name: &str) -> Result<Self> {
        // SAFETY: loading runs the library's constructors; it is the library that every CUDA program
        // of this machine loads.
        let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.context("dlopen")?;
        let find = |symbol: &'static CStr| {
            // SAFETY: the symbol is used as the driver function of that name.
            let found = unsafe { library.get::<*const c_void>(symbol.to_bytes_with_nul()) };
            found.map_or(ptr::null(), |symbol| *symbol)
        };
        // SAFETY: a library of this name exports driver functions with the ABI of cuda.h.
        let api = unsafe { DriverApi::load(find) };
        std::mem::forget(library);
        Ok(Self { api })
    }

    /// Functions that are linked in.
    pub fn linked(api: DriverApi) -> Self {
        Self { api }
    }

    /// `cuInit`.
    pub fn init(&self) -> Result<(), CallError> {
        call!(self, cuInit(0))
    }

    /// `cuDeviceGetCount`.
    pub fn device_count(&self) -> Result<i32, CallError> {
        let mut count = 0;
        call!(self, cuDeviceGetCount(&mut count)).map(|()| count)
    }

    /// `cuDeviceGetName` of device 0.
    pub fn device_name(&self) -> Result<String, CallError> {
        let mut name = [0u8; 256];
        call!(self, cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32 - 1, 0))?;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }

    /// Makes device 0's primary context current.
    pub fn use_device(&self) -> Result<(), CallError> {
        let mut context = ptr::null_mut();
        call!(self, cuDevicePrimaryCtxRetain(&mut context, 0))?;
        call!(self, cuCtxSetCurrent(context))
    }

    /// Loads PTX and finds one of its kernels.
    pub fn kernel(&self, ptx: &CStr, name: &str) -> Result<Kernel, CallError> {
        let mut module = ptr::null_mut();
        let no_options = (ptr::null(), ptr::null_mut());
        call!(self, cuModuleLoadDataEx(&mut module, ptx.as_ptr().cast(), 0, no_options.0, no_options.1))?;
        let name = CString::new(name).unwrap_or_default();
        let mut function = ptr::null_mut();
        call!(self, cuModuleGetFunction(&mut function, module, name.as_ptr()))?;
        Ok(Kernel(function))
    }

    /// `cuMemAlloc`.
    pub fn allocate(&self, length: usize) -> Result<DeviceMemory, CallError> {
        let mut address = 0;
        call!(self, cuMemAlloc_v2(&mut address, length))?;
        Ok(DeviceMemory { address, length })
    }

    /// `cuMemcpyHtoD`, of as many bytes as fit.
    pub fn upload(&self, to: DeviceMemory, from: &[u8]) -> Result<(), CallError> {
        call!(self, cuMemcpyHtoD_v2(to.address, from.as_ptr().cast(), from.len().min(to.length)))
    }

    /// `cuMemcpyDtoH`, of as many bytes as fit.
    pub fn download(&self, to: &mut [u8], from: DeviceMemory) -> Result<(), CallError> {
        call!(self, cuMemcpyDtoH_v2(to.as_mut_ptr().cast(), from.address, to.len().min(from.length)))
    }

    /// `cuLaunchKernel` on the default stream, in one dimension; each parameter is 8 bytes.
    pub fn launch(&self, kernel: Kernel, blocks: u32, threads: u32, params: &mut [u64]) -> Result<(), CallError> {
        let mut pointers: Vec<*mut c_void> = params.iter_mut().map(|param| ptr::from_mut(param).cast()).collect();
        let stream = ptr::null_mut();
        let pointers = pointers.as_mut_ptr();
        call!(self, cuLaunchKernel(kernel.0, blocks, 1, 1, threads, 1, 1, 0, stream, pointers, ptr::null_mut()))
    }

    /// Pinned memory: `cuMemAllocHost`, or where a library leaves that to its front end, memory of
    /// this process with `cuMemHostRegister`.
    pub fn allocate_pinned(&self, length: usize) -> Result<PinnedMemory, CallError> {
        let mut address = ptr::null_mut();
        match call!(self, cuMemAllocHost_v2(&mut address, length)) {
            Err(CallError { result: CUresult::NOT_SUPPORTED, .. }) => {
                address = Box::leak(vec![0u8; length].into_boxed_slice()).as_mut_ptr().cast();
                call!(self, cuMemHostRegister_v2(address, length, 0))?;
            }
            other => other?,
        }
        Ok(PinnedMemory { address: address.cast(), length })
    }

    /// `cuMemGetInfo`: free and total device memory, bytes.
    pub fn memory_info(&self) -> Result<(usize, usize), CallError> {
        let (mut free, mut total) = (0, 0);
        call!(self, cuMemGetInfo_v2(&mut free, &mut total)).map(|()| (free, total))
    }

    /// `cuCtxSynchronize`.
    pub fn synchronize(&self) -> Result<(), CallError> {
        call!(self, cuCtxSynchronize())
    }
}
