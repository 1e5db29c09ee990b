//! Loading modules and libraries from images in the session's memory.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use vgpu_images::Layouts;
use vgpu_protocol::cuda::{jit_option_is_number, CUresult};
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
struct Logs {
    info: Vec<u8>,
    error: Vec<u8>,
}

impl Logs {
    fn new(size: usize) -> Logs {
        Logs { info: vec![0; size], error: vec![0; size] }
    }

    const OPTIONS: [i32; 4] =
        [JIT_INFO_LOG_BUFFER, JIT_INFO_LOG_BUFFER_SIZE, JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE];

    fn values(&mut self) -> [*mut c_void; 4] {
        let size = self.info.len() as *mut c_void;
        [self.info.as_mut_ptr().cast(), size, self.error.as_mut_ptr().cast(), size]
    }

    /// The text that matters: errors if there are any.
    fn text(&self) -> Vec<u8> {
        let failed = self.error.first().is_some_and(|b| *b != 0);
        let text = if failed { &self.error } else { &self.info };
        text.split(|b| *b == 0).next().unwrap_or_default().to_vec()
    }
}

/// No driver knows more options than this.
const OPTIONS_MAX: usize = 64;

/// What the driver is told about a load or a link: buffers for messages, if wanted, then the options that are numbers.
pub(super) struct Options {
    logs: Logs,
    pub(super) names: Vec<i32>,
    /// The options' values, as wide as pointers. The driver overwrites some.
    pub(super) values: Vec<usize>,
}

impl Options {
    /// `options` holds {name: i32, value: u32} per option.
    pub(super) fn new(log_size: usize, options: &[u8]) -> Result<Options, Failure> {
        let parsed = options.chunks(8).map(|option| {
            let (name, value) = option.split_first_chunk()?;
            let (name, value) = (i32::from_le_bytes(*name), u32::from_le_bytes(value.try_into().ok()?));
            jit_option_is_number(name).then_some((name, value as usize))
        });
        let parsed = parsed.collect::<Option<Vec<_>>>().filter(|options| options.len() <= OPTIONS_MAX);
        let (numbers, settings): (Vec<i32>, Vec<usize>) = parsed.ok_or(Failure::INVALID_VALUE)?.into_iter().unzip();
        let mut logs = Logs::new(log_size);
        let buffers = logs.values().map(|value| value.expose_provenance());
        let told = if log_size == 0 { 0 } else { buffers.len() };
        let names = Logs::OPTIONS.into_iter().take(told).chain(numbers).collect();
        let values = buffers.into_iter().take(told).chain(settings).collect();
        Ok(Options { logs, names, values })
    }

    pub(super) fn count(&self) -> u32 {
        self.names.len() as u32
    }

    pub(super) fn names(&mut self) -> *mut i32 {
        self.names.as_mut_ptr()
    }

    pub(super) fn values(&mut self) -> *mut *mut c_void {
        self.values.as_mut_ptr().cast()
    }

    /// The messages that matter.
    pub(super) fn text(&self) -> Vec<u8> {
        self.logs.text()
    }

    /// What became of the numbers, as far as there is room for them.
    pub(super) fn numbers(&self, size: u32) -> Vec<u8> {
        let buffers = self.names.iter().filter(|name| !jit_option_is_number(**name)).count();
        let numbers = self.values.iter().skip(buffers).flat_map(|value| (*value as u32).to_le_bytes());
        numbers.take(size as usize).collect()
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
pub fn module_load(
    ctx: &mut Context<'_>,
    command: cmd::VgpuModuleLoad<'_>,
) -> Result<cmd::VgpuModuleLoadReply, Failure> {
    ctx.reserve(HandleKind::Module, command.module)?;
    ctx.session.check_image(command.size)?;
    let image = copy_image(ctx, command.image, command.size)?;
    if may_print(&image) {
        ctx.session.prints.store(true, Ordering::Release);
    }
    let mut options = Options::new(command.log_size as usize, command.options)?;
    let mut module = std::ptr::null_mut();
    let (count, names, values) = (options.count(), options.names(), options.values());
    let loaded = (|| driver!(ctx, cuModuleLoadDataEx(&mut module, image.as_ptr().cast(), count, names, values)))();
    let result = told(loaded)?;
    if result == 0 {
        let layouts = ctx.api.cuFuncGetParamInfo.is_none().then(|| Layouts::read(&image));
        let entry = Entry { image_bytes: command.size, ..ctx.owned(module.cast(), Handle::NULL) };
        ctx.session.ledger.insert_image(command.module, entry, layouts);
    }
    let (log, values) = (options.text(), options.numbers(command.values_size));
    Ok(cmd::VgpuModuleLoadReply { result, log, values })
}

/// `vgpuLibraryLoad`.
pub fn library_load(
    ctx: &mut Context<'_>,
    command: cmd::VgpuLibraryLoad<'_>,
) -> Result<cmd::VgpuLibraryLoadReply, Failure> {
    ctx.reserve(HandleKind::Library, command.library)?;
    ctx.session.check_image(command.size)?;
    let image = copy_image(ctx, command.image, command.size)?;
    if may_print(&image) {
        ctx.session.prints.store(true, Ordering::Release);
    }
    let mut options = Options::new(command.log_size as usize, command.options)?;
    let mut library = std::ptr::null_mut();
    let (count, names, values) = (options.count(), options.names(), options.values());
    let none = std::ptr::null_mut();
    let loaded = (|| {
        driver!(
            ctx,
            cuLibraryLoadData(&mut library, image.as_ptr().cast(), names, values, count, none, std::ptr::null_mut(), 0)
        )
    })();
    let result = told(loaded)?;
    if result == 0 {
        // A library belongs to no context.
        let layouts = ctx.api.cuKernelGetParamInfo.is_none().then(|| Layouts::read(&image));
        let entry = Entry { context: 0, image_bytes: command.size, ..ctx.owned(library.cast(), Handle::NULL) };
        ctx.session.ledger.insert_image(command.library, entry, layouts);
    }
    let (log, values) = (options.text(), options.numbers(command.values_size));
    Ok(cmd::VgpuLibraryLoadReply { result, log, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(options: &[(i32, u32)]) -> Vec<u8> {
        options.iter().flat_map(|(name, value)| [name.to_le_bytes(), value.to_le_bytes()]).flatten().collect()
    }

    #[test]
    fn test_options_that_are_pointers_or_cut_off_are_refused() {
        let parse = |bytes: &[u8]| Options::new(0, bytes).map(|options| (options.names, options.values)).ok();
        assert_eq!(parse(&options(&[(9, 80), (7, 3)])), Some((vec![9, 7], vec![80, 3])));
        assert_eq!(parse(&[]), Some((vec![], vec![])));
        for name in [-1, 3, 4, 5, 6, 17, 18, 19, 25, 27, 36] {
            assert_eq!(parse(&options(&[(9, 80), (name, 0x1000)])), None, "{name}");
        }
        assert_eq!(parse(&options(&[(9, 80)])[..7]), None);
        assert_eq!(parse(&options(&[(9, 80); OPTIONS_MAX + 1])), None);
    }

    #[test]
    fn test_log_buffers_come_first_among_the_options_and_numbers_are_read_behind_them() {
        let told = Options::new(100, &options(&[(9, 80), (2, 7)])).ok().unwrap();
        assert_eq!(told.names, [3, 4, 5, 6, 9, 2]);
        assert_eq!((told.values[1], told.values[3], told.values[4]), (100, 100, 80));
        assert_eq!(told.numbers(100), [80, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(told.numbers(5), [80, 0, 0, 0, 7]);
    }
}
