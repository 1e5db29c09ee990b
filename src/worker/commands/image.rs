//! Loading modules and libraries from images in the session's memory.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use vgpu_images::Layouts;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{cmd, Handle, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;
use crate::worker::ledger::Entry;

/// Largest image, bytes.
const MAX_IMAGE: u64 = 1 << 30;

const JIT_INFO_LOG_BUFFER: i32 = 3;
const JIT_INFO_LOG_BUFFER_SIZE: i32 = 4;
const JIT_ERROR_LOG_BUFFER: i32 = 5;
const JIT_ERROR_LOG_BUFFER_SIZE: i32 = 6;

/// Buffers for the compiler's messages, and the options that name them to the driver.
pub(super) struct Logs {
    info: Vec<u8>,
    error: Vec<u8>,
}

impl Logs {
    pub(super) fn new(size: usize) -> Logs {
        Logs { info: vec![0; size], error: vec![0; size] }
    }

    pub(super) const OPTIONS: [i32; 4] =
        [JIT_INFO_LOG_BUFFER, JIT_INFO_LOG_BUFFER_SIZE, JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE];

    pub(super) fn values(&mut self) -> [*mut c_void; 4] {
        let size = self.info.len() as *mut c_void;
        [self.info.as_mut_ptr().cast(), size, self.error.as_mut_ptr().cast(), size]
    }

    /// The text that matters: errors if there are any.
    pub(super) fn text(&self) -> Vec<u8> {
        let failed = self.error.first().is_some_and(|b| *b != 0);
        let text = if failed { &self.error } else { &self.info };
        text.split(|b| *b == 0).next().unwrap_or_default().to_vec()
    }
}

/// A private copy of an image, with a NUL behind it, which ends PTX text.
pub(super) fn copy_image(ctx: &Context<'_>, image: u64, size: u64) -> Result<Vec<u8>, Failure> {
    if size == 0 || size > MAX_IMAGE {
        return Err(Failure::INVALID_VALUE);
    }
    let mut bytes = ctx.session.arena.read(image, size).ok_or(Failure::INVALID_VALUE)?;
    bytes.extend([0; 8]);
    Ok(bytes)
}

/// Whether kernels of an image may print. In a fat binary, which may be compressed, that is not looked for.
/// What a failed assertion says comes with an error.
fn may_print(image: &[u8]) -> bool {
    const FAT_BINARY: [u8; 4] = 0xba55_ed50u32.to_le_bytes();
    let names = |name: &str| memchr::memmem::find(image, name.as_bytes()).is_some();
    image.starts_with(&FAT_BINARY) || names("vprintf")
}

/// A failed load is told in the reply, beside the log; other failures are the command's.
pub(super) fn told(result: Result<(), Failure>) -> Result<i32, Failure> {
    match result {
        Ok(()) => Ok(0),
        Err(Failure::Cuda(error)) if error != CUresult::NOT_SUPPORTED => Ok(error.0 as i32),
        Err(error) => Err(error),
    }
}

/// `vgpuModuleLoad`.
pub fn module_load(ctx: &mut Context<'_>, command: cmd::VgpuModuleLoad) -> Result<cmd::VgpuModuleLoadReply, Failure> {
    ctx.reserve(HandleKind::Module, command.module)?;
    ctx.session.check_image(command.size)?;
    let image = copy_image(ctx, command.image, command.size)?;
    if may_print(&image) {
        ctx.session.prints.store(true, Ordering::Release);
    }
    let mut logs = Logs::new(command.log_size as usize);
    let mut module = std::ptr::null_mut();
    let mut options = Logs::OPTIONS;
    let mut values = logs.values();
    let count = if command.log_size == 0 { 0 } else { 4 };
    let loaded = (|| {
        driver!(
            ctx,
            cuModuleLoadDataEx(&mut module, image.as_ptr().cast(), count, options.as_mut_ptr(), values.as_mut_ptr())
        )
    })();
    let result = told(loaded)?;
    if result == 0 {
        let layouts = ctx.api.cuFuncGetParamInfo.is_none().then(|| Layouts::read(&image));
        let entry = Entry { image_bytes: command.size, ..ctx.owned(module.cast(), Handle::NULL) };
        ctx.session.ledger.insert_image(command.module, entry, layouts);
    }
    Ok(cmd::VgpuModuleLoadReply { result, log: logs.text() })
}

/// `vgpuLibraryLoad`.
pub fn library_load(
    ctx: &mut Context<'_>,
    command: cmd::VgpuLibraryLoad,
) -> Result<cmd::VgpuLibraryLoadReply, Failure> {
    ctx.reserve(HandleKind::Library, command.library)?;
    ctx.session.check_image(command.size)?;
    let image = copy_image(ctx, command.image, command.size)?;
    if may_print(&image) {
        ctx.session.prints.store(true, Ordering::Release);
    }
    let mut logs = Logs::new(command.log_size as usize);
    let mut library = std::ptr::null_mut();
    let mut options = Logs::OPTIONS;
    let mut values = logs.values();
    let count = if command.log_size == 0 { 0 } else { 4 };
    let none = std::ptr::null_mut();
    let loaded = (|| {
        driver!(
            ctx,
            cuLibraryLoadData(
                &mut library,
                image.as_ptr().cast(),
                options.as_mut_ptr(),
                values.as_mut_ptr(),
                count,
                none,
                std::ptr::null_mut(),
                0
            )
        )
    })();
    let result = told(loaded)?;
    if result == 0 {
        // A library belongs to no context.
        let layouts = ctx.api.cuKernelGetParamInfo.is_none().then(|| Layouts::read(&image));
        let entry = Entry { context: 0, image_bytes: command.size, ..ctx.owned(library.cast(), Handle::NULL) };
        ctx.session.ledger.insert_image(command.library, entry, layouts);
    }
    Ok(cmd::VgpuLibraryLoadReply { result, log: logs.text() })
}
