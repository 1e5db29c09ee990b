//! A process that ends while a kernel is being compiled.
//!
//! LLVM's global objects ask to be destroyed when the process exits, which the thread that compiles would notice: it
//! can neither be stopped nor waited for, as compiling may take long. So programs that contain LLVM are
//! linked with `--wrap=__cxa_atexit`, and the objects stay: their memory ends with the process.

use std::ffi::{c_int, c_void};

/// Takes the place of `__cxa_atexit` (Itanium C++ ABI 3.3.5) for what is linked into the same file: registers nothing.
#[no_mangle]
extern "C" fn __wrap___cxa_atexit(_: extern "C" fn(*mut c_void), _: *mut c_void, _: *mut c_void) -> c_int {
    0
}
