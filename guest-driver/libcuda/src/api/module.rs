//! Modules: images that live in a context.

use std::ffi::{c_char, c_void};

use vgpu_client::PIECE_SIZE;
use vgpu_protocol::cmd::{VgpuModuleLoad, VgpuModuleNames};
use vgpu_protocol::cuda::{CUfunction, CUmodule, CUresult};
use vgpu_protocol::{Handle, HandleKind};

use super::kernel::{enumerate, of_module, NAMES_SIZE};
use super::Result;
use crate::context;
use crate::driver::{driver, Driver};
use crate::exports::raw;
use crate::jit::Options;
use crate::library::Libraries;
use crate::memory::Kind;
use crate::stub::{self, check_out, give, path, string};
use crate::{image, trace};

/// Puts an image into shared memory while `load` runs, with its address there.
pub fn with_image<T>(
    driver: &Driver,
    image: &[u8],
    load: impl FnOnce(u64) -> std::result::Result<T, CUresult>,
) -> std::result::Result<T, CUresult> {
    let session = driver.session;
    if image.len() <= PIECE_SIZE {
        let piece = session.take_piece()?;
        session.fill_piece(&piece, image);
        let loaded = load(session.piece_address(&piece));
        session.give_back(piece, None);
        return loaded;
    }
    let address = session.allocate(image.len() as u64)?;
    let loaded = session.write(address, image).and_then(|()| load(address));
    session.free(address)?;
    loaded
}

/// What became of an image: the executor's result and its log.
pub struct Loaded {
    /// The driver's result.
    pub result: i32,
    /// The compiler's messages.
    pub log: Vec<u8>,
    /// What became of the options that are numbers.
    pub values: Vec<u8>,
}

impl Loaded {
    /// The outcome, with the log in the application's buffers.
    ///
    /// # Safety
    /// `options` belong to the call in progress.
    pub unsafe fn settle(&self, options: &Options) -> Result {
        let result = CUresult(self.result as u32);
        // SAFETY: as the caller says.
        unsafe {
            options.deliver_values(&self.values);
            options.deliver(result, &self.log)?;
        }
        if result == CUresult::SUCCESS {
            return Ok(());
        }
        let message = || {
            let text = self.log.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("image not loaded: {result}: {}", String::from_utf8_lossy(text).trim_end())
        };
        // Libraries of kernels pass over this error and return what was in memory before.
        match result {
            CUresult::NO_BINARY_FOR_GPU => trace::warn_once(&message()),
            _ => trace::explain(message),
        }
        Err(result)
    }
}

/// Loads an image as a module of the current context.
///
/// # Safety
/// `options` belong to the call in progress.
pub unsafe fn load(out: *mut CUmodule, image: &[u8], options: &Options) -> Result {
    let driver = driver()?;
    check_out(out)?;
    context::required()?;
    let module = stub::mint(HandleKind::Module)?;
    let loaded = with_image(driver, image, |at| {
        let command = VgpuModuleLoad {
            module,
            image: at,
            size: image.len() as u64,
            options: &options.numbers(),
            log_size: options.log_size(),
            values_size: options.values_size(),
        };
        stub::create(&command).map(|reply| Loaded { result: reply.result, log: reply.log, values: reply.values })
    });
    // SAFETY: as the caller says.
    let settled = loaded.and_then(|loaded| unsafe { loaded.settle(options) });
    if let Err(error) = settled {
        stub::forget(module);
        return Err(error);
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, module.0 as CUmodule) }
}

/// No options.
pub fn no_options() -> std::result::Result<Options, CUresult> {
    // SAFETY: there is nothing to point to.
    unsafe { Options::read(0, std::ptr::null(), std::ptr::null_mut()) }
}

pub unsafe fn cuModuleLoadDataEx(
    module: *mut CUmodule,
    data: *const c_void,
    count: u32,
    names: *const i32,
    values: *mut *mut c_void,
) -> Result {
    stub::ready()?;
    // SAFETY: the caller vouches for image and options.
    unsafe { load(module, image::bytes(data)?, &Options::read(count, names, values)?) }
}

pub unsafe fn cuModuleLoadData(module: *mut CUmodule, data: *const c_void) -> Result {
    stub::ready()?;
    // SAFETY: the caller vouches for the image.
    unsafe { load(module, image::bytes(data)?, &no_options()?) }
}

pub unsafe fn cuModuleLoadFatBinary(module: *mut CUmodule, data: *const c_void) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuModuleLoadData(module, data) }
}

/// The bytes of a file that the application names.
///
/// # Safety
/// `name` is null or a NUL-terminated string.
pub unsafe fn read_file(name: *const c_char) -> std::result::Result<Vec<u8>, CUresult> {
    // SAFETY: as the caller says.
    std::fs::read(unsafe { path(name)? }).map_err(|_| CUresult::FILE_NOT_FOUND)
}

pub unsafe fn cuModuleLoad(module: *mut CUmodule, name: *const c_char) -> Result {
    stub::ready()?;
    // SAFETY: the caller vouches for the string.
    unsafe { load(module, &read_file(name)?, &no_options()?) }
}

pub unsafe fn cuModuleUnload(module: CUmodule) -> Result {
    // SAFETY: a handle is no pointer to anything.
    unsafe { raw::cuModuleUnload(module)? };
    driver()?.functions.forget_owner(Handle(module as u64));
    Ok(())
}

/// `CU_MODULE_EAGER_LOADING` or `CU_MODULE_LAZY_LOADING`.
pub unsafe fn cuModuleGetLoadingMode(mode: *mut i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(mode, if Libraries::are_lazy() { 2 } else { 1 }) }
}

pub unsafe fn cuModuleGetFunction(out: *mut CUfunction, module: CUmodule, name: *const c_char) -> Result {
    stub::ready()?;
    check_out(out)?;
    // SAFETY: the caller vouches for the string.
    let name = unsafe { string(name)? };
    let handle = of_module(stub::handle(HandleKind::Module, module as u64)?, name)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, handle.0 as CUfunction) }
}

pub unsafe fn cuModuleEnumerateFunctions(out: *mut CUfunction, room: u32, module: CUmodule) -> Result {
    stub::ready()?;
    let module = stub::handle(HandleKind::Module, module as u64)?;
    let names = |first| stub::create(&VgpuModuleNames { module, first, size: NAMES_SIZE }).map(|reply| reply.names);
    // SAFETY: the caller vouches for the array.
    unsafe { enumerate(out, room, names, |name| of_module(module, name)) }
}

/// Runs one of the generated "address and size of a variable" calls and notes the range.
///
/// # Safety
/// The pointers are null or valid for writes.
pub unsafe fn note_global(
    dptr: *mut u64,
    bytes: *mut usize,
    get: impl FnOnce(*mut u64, *mut usize) -> Result,
) -> Result {
    let (mut address, mut size) = (0, 0);
    get(&mut address, &mut size)?;
    let driver = driver()?;
    let (context, device) = context::current().map_or((Handle::NULL, 0), |context| (context.handle, context.device));
    driver.memory.add(address, size as u64, Kind::Global, context, device);
    // SAFETY: as the caller says.
    unsafe {
        stub::put_optional(dptr, address);
        stub::put_optional(bytes, size);
    }
    Ok(())
}

pub unsafe fn cuModuleGetGlobal_v2(dptr: *mut u64, bytes: *mut usize, module: CUmodule, name: *const c_char) -> Result {
    // SAFETY: the caller vouches for the pointers; the inner ones are ours.
    unsafe { note_global(dptr, bytes, |address, size| raw::cuModuleGetGlobal_v2(address, size, module, name)) }
}
