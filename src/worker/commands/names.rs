//! Names of what is in a module or a library.

use std::ffi::c_char;

use vgpu_protocol::cuda::{CUfunction, CUkernel};
use vgpu_protocol::{cmd, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::{driver, driver_string};

/// Kernels of one image that are looked at: no image has more.
const MAX_KERNELS: u32 = 1 << 20;

/// The names of `all` from number `first` on that fit `size` bytes, each with a NUL behind it.
fn fitting<T: Copy>(
    all: &[T],
    first: u32,
    size: u32,
    name: impl Fn(T) -> Result<Vec<u8>, Failure>,
) -> Result<Vec<u8>, Failure> {
    let mut names = Vec::new();
    for object in all.iter().skip(first as usize) {
        let name = name(*object)?;
        if names.len() + name.len() + 1 > size as usize {
            break;
        }
        names.extend(name);
        names.push(0);
    }
    Ok(names)
}

/// `vgpuModuleNames`.
pub fn module_names(
    ctx: &mut Context<'_>,
    command: cmd::VgpuModuleNames,
) -> Result<cmd::VgpuModuleNamesReply, Failure> {
    let module = ctx.resolve(HandleKind::Module, command.module)?.cast();
    let mut count = 0;
    driver!(ctx, cuModuleGetFunctionCount(&mut count, module))?;
    let mut functions: Vec<CUfunction> = vec![std::ptr::null_mut(); count.min(MAX_KERNELS) as usize];
    if count > 0 {
        driver!(ctx, cuModuleEnumerateFunctions(functions.as_mut_ptr(), functions.len() as u32, module))?;
    }
    let names = fitting(&functions, command.first, command.size, |function| {
        let mut text: *const c_char = std::ptr::null();
        driver!(ctx, cuFuncGetName(&mut text, function))?;
        // SAFETY: the driver keeps the name as long as the module, which the command's batch cannot unload.
        Ok(unsafe { driver_string(text) })
    })?;
    Ok(cmd::VgpuModuleNamesReply { names })
}

/// `vgpuLibraryNames`.
pub fn library_names(
    ctx: &mut Context<'_>,
    command: cmd::VgpuLibraryNames,
) -> Result<cmd::VgpuLibraryNamesReply, Failure> {
    let library = ctx.resolve(HandleKind::Library, command.library)?.cast();
    let mut count = 0;
    driver!(ctx, cuLibraryGetKernelCount(&mut count, library))?;
    let mut kernels: Vec<CUkernel> = vec![std::ptr::null_mut(); count.min(MAX_KERNELS) as usize];
    if count > 0 {
        driver!(ctx, cuLibraryEnumerateKernels(kernels.as_mut_ptr(), kernels.len() as u32, library))?;
    }
    let names = fitting(&kernels, command.first, command.size, |kernel| {
        let mut text: *const c_char = std::ptr::null();
        driver!(ctx, cuKernelGetName(&mut text, kernel))?;
        // SAFETY: as above, for the library.
        Ok(unsafe { driver_string(text) })
    })?;
    Ok(cmd::VgpuLibraryNamesReply { names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_names_that_do_not_fit_are_left_for_the_next_question() {
        let name = |number: u8| Ok(vec![b'k', b'0' + number]);
        assert_eq!(fitting(&[0, 1, 2], 0, 7, name).unwrap(), b"k0\0k1\0");
        assert_eq!(fitting(&[0, 1, 2], 2, 7, name).unwrap(), b"k2\0");
        assert_eq!(fitting(&[0, 1, 2], 3, 7, name).unwrap(), b"");
        assert_eq!(fitting(&[0], 0, 2, name).unwrap(), b"");
    }
}
