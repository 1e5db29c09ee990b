//! The twins in OpenCL, on PoCL.

use libloading::{Library, Symbol};
use std::ffi::{c_char, c_int, c_void, CStr, CString};

/// The library of `tests/benchmarks/opencl.cpp`, with the kernels compiled.
pub struct OpenCl(Library);

impl OpenCl {
    /// Compiles the kernels.
    ///
    /// # Errors
    /// Why there is no OpenCL here.
    pub fn start(library: &str, source: &str) -> Result<OpenCl, String> {
        // SAFETY: the library has no initialisers but those of OpenCL's loader.
        let library = unsafe { Library::new(library) }.map_err(|error| error.to_string())?;
        let source = CString::new(source).map_err(|error| error.to_string())?;
        // SAFETY: the function has this signature; it gives null or a text that stays.
        let message = unsafe {
            let start: Symbol<'_, unsafe extern "C" fn(*const c_char) -> *const c_char> =
                library.get(b"opencl_start").map_err(|error| error.to_string())?;
            let message = start(source.as_ptr());
            (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
        };
        message.map_or(Ok(OpenCl(library)), Err)
    }

    /// A kernel with its arguments, each with the bytes of memory behind it or 0 for a word; `None` without a twin.
    pub fn kernel(&self, name: &str, args: &[u64], bytes: &[usize]) -> Option<Kernel<'_>> {
        type Make = unsafe extern "C" fn(*const c_char, c_int, *const u64, *const usize) -> *mut c_void;
        let name = CString::new(name).ok()?;
        // SAFETY: the functions have these signatures, and the arrays are equally long.
        unsafe {
            let make: Symbol<'_, Make> = self.0.get(b"opencl_kernel").ok()?;
            let handle = make(name.as_ptr(), args.len() as c_int, args.as_ptr(), bytes.as_ptr());
            (!handle.is_null()).then_some(Kernel { run: self.0.get(b"opencl_run").ok()?, handle })
        }
    }
}

type Run = unsafe extern "C" fn(*mut c_void, *const u32, *const u32) -> c_int;

/// A kernel that is ready to run.
pub struct Kernel<'a> {
    run: Symbol<'a, Run>,
    handle: *mut c_void,
}

impl Kernel<'_> {
    /// Runs it to its end.
    pub fn run(&self, grid: [u32; 3], block: [u32; 3]) {
        // SAFETY: the handle is one of `opencl_kernel`, the arrays have three elements.
        let error = unsafe { (self.run)(self.handle, grid.as_ptr(), block.as_ptr()) };
        assert_eq!(error, 0, "the OpenCL kernel failed");
    }
}
