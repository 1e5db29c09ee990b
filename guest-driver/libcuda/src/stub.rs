//! What the generated functions call: entering and leaving, sending, and the caller's pointers.

use std::ffi::{c_char, c_void, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use vgpu_graphs::Fill;
use vgpu_protocol::cmd::{CuStreamSynchronize, VgpuPointerInfo};
use vgpu_protocol::cuda::{CUresult, Place, CU_STREAM_PER_THREAD};
use vgpu_protocol::{opcode_name, Command, Handle, HandleKind};

use crate::api;
use crate::driver::driver;
use crate::memory::Kind;
use crate::{context, sys, trace};

/// Runs an exported function's body.
pub fn enter(name: &'static str, body: impl FnOnce() -> Result<(), CUresult>) -> CUresult {
    trace::count(name);
    match body() {
        Ok(()) => CUresult::SUCCESS,
        Err(error) => {
            if error != CUresult::NOT_READY {
                trace::explain(|| format!("{name}: {error}"));
            }
            error
        }
    }
}

/// A function that is not implemented, for a reason that may be empty.
pub fn refuse(name: &'static str, reason: &'static str) -> CUresult {
    trace::count(name);
    match reason {
        "" => trace::refused(name),
        _ => trace::refused_because(name, reason),
    }
    CUresult::NOT_SUPPORTED
}

/// An error unless `cuInit` has succeeded in this process.
pub fn ready() -> Result<(), CUresult> {
    driver().map(drop)
}

/// Sends a command in the current context and waits. Errors of earlier commands come out here too.
pub fn call<'a, C: Command<'a>>(command: &C) -> Result<C::Reply, CUresult> {
    let reply = create(command)?;
    latched()?;
    Ok(reply)
}

/// Errors of earlier commands that nobody waited for.
pub fn latched() -> Result<(), CUresult> {
    let Some((error, opcode)) = driver()?.session.take_latched() else { return Ok(()) };
    trace::explain(|| format!("{} failed earlier: {error}", opcode_name(opcode)));
    Err(note(error))
}

/// Remembers an error that ends the current context's use.
fn note(error: CUresult) -> CUresult {
    if let Some(context) = context::current() {
        context.note(error);
    }
    error
}

/// Sends a command in the current context and waits for its own result only.
pub fn create<'a, C: Command<'a>>(command: &C) -> Result<C::Reply, CUresult> {
    let driver = driver()?;
    driver.session.call(context::current_handle()?, command).map_err(note)
}

/// What a command that nobody waits for has for a reply.
pub struct Posted;

/// Sends a command in the current context without waiting.
pub fn post<'a, C: Command<'a>>(command: &C) -> Result<Posted, CUresult> {
    let driver = driver()?;
    let context = context::required()?;
    context.fault()?;
    driver.session.post(context.handle.0, command).map(|_| Posted)
}

/// Sends a command without waiting, in the current context if there is one.
pub fn post_anywhere<'a, C: Command<'a>>(command: &C) -> Result<Posted, CUresult> {
    let driver = driver()?;
    driver.session.post(context::current_handle().unwrap_or(0), command).map(|_| Posted)
}

/// Objects that live in no context; functions live in their module.
const WITHOUT_CONTEXT: &[HandleKind] = &[
    HandleKind::Context,
    HandleKind::Function,
    HandleKind::Library,
    HandleKind::Kernel,
    HandleKind::MemoryPool,
    HandleKind::Graph,
    HandleKind::GraphNode,
    HandleKind::GraphExec,
    HandleKind::MemGenericAllocationHandle,
];

/// A new handle, for an object of the current context if objects of its kind live in one.
pub fn mint(kind: HandleKind) -> Result<Handle, CUresult> {
    let owner = if WITHOUT_CONTEXT.contains(&kind) { 0 } else { context::current_handle()? };
    driver()?.session.handles().mint(kind, Handle(owner)).ok_or(CUresult::OUT_OF_MEMORY)
}

/// Ends a handle.
pub fn forget(handle: Handle) {
    if let Ok(driver) = driver() {
        driver.session.handles().retire(handle);
    }
}

/// Checks a handle that the application passed.
pub fn handle(kind: HandleKind, value: u64) -> Result<Handle, CUresult> {
    let handle = Handle(value);
    let handles = driver()?.session.handles();
    let good = match kind {
        HandleKind::Stream => value <= CU_STREAM_PER_THREAD || handles.is_live(kind, handle),
        HandleKind::Function => handles.is_live(kind, handle) || handles.is_live(HandleKind::Kernel, handle),
        _ => handles.is_live(kind, handle),
    };
    match (good, kind) {
        (true, HandleKind::Library) => api::load_library(handle).map(|()| handle),
        (true, _) => Ok(handle),
        (false, HandleKind::Context) => Err(CUresult::INVALID_CONTEXT),
        (false, _) => Err(CUresult::INVALID_HANDLE),
    }
}

/// An output pointer that must not be null.
pub fn check_out<T>(pointer: *mut T) -> Result<(), CUresult> {
    if pointer.is_null() {
        Err(CUresult::INVALID_VALUE)
    } else {
        Ok(())
    }
}

/// An address that must be the device's. Only one that was not allocated through this library costs
/// a question.
pub fn check_device(address: u64) -> Result<(), CUresult> {
    check_range(address, 1)
}

/// Waits for the default stream if calls that concern the range do: it is memory that the host uses too, or
/// the application wants it (`CU_POINTER_ATTRIBUTE_SYNC_MEMOPS`).
pub fn settle(address: u64) -> Result<(), CUresult> {
    if driver()?.memory.is_synchronous(address) {
        call(&CuStreamSynchronize { hStream: Handle::NULL })?;
    }
    Ok(())
}

/// As [`check_device`], for `size` bytes, as far as this library knows how long a range is.
pub fn check_range(address: u64, size: u64) -> Result<(), CUresult> {
    let driver = driver()?;
    let fits = match driver.memory.find(address) {
        Some(range) if range.kind == Kind::Reserved => driver.vmm.covers(address, size),
        Some(range) => range.size.saturating_sub(address - range.start) >= size,
        None => address != 0 && create(&VgpuPointerInfo { ptr: address })?.info.known != 0,
    };
    if fits {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

/// A fill of `height` rows of `width` values must be aligned to its values' size `unit`, and lie in
/// one allocation. Sizes other than `width` are in bytes.
pub fn check_fill(address: u64, unit: u64, pitch: usize, width: usize, height: usize) -> Result<(), CUresult> {
    let (pitch, height) = (pitch as u64, height as u64);
    let width = unit.checked_mul(width as u64).ok_or(CUresult::INVALID_VALUE)?;
    let before_last = height.saturating_sub(1).checked_mul(pitch).ok_or(CUresult::INVALID_VALUE)?;
    let extent = before_last.checked_add(width).ok_or(CUresult::INVALID_VALUE)?;
    let rows_fit = height <= 1 || (pitch >= width && pitch.is_multiple_of(unit));
    if !address.is_multiple_of(unit) || !rows_fit {
        return Err(CUresult::INVALID_VALUE);
    }
    check_range(address, extent)
}

/// An error if the stream captures, for what cannot be captured; otherwise `false`.
pub fn refuse_captured(stream: u64) -> Result<bool, CUresult> {
    driver()?.graphs.refuse_captured(stream).map(|()| false)
}

/// Whether a capture takes a memset.
pub fn capture_fill(
    stream: u64,
    dst: u64,
    unit: u32,
    value: u32,
    pitch: usize,
    width: usize,
    height: usize,
) -> Result<bool, CUresult> {
    let fill = || Fill::rows(dst, pitch, value, unit, width, height);
    Ok(width != 0 && height != 0 && driver()?.graphs.capture_fill(stream, fill)?)
}

/// Whether a capture takes a copy within the device.
pub fn capture_copy(stream: u64, dst: u64, src: u64, size: usize) -> Result<bool, CUresult> {
    Ok(size != 0 && driver()?.graphs.capture_copy(stream, Place::Device(dst), Place::Device(src), size)?)
}

/// A buffer that may only be null if it is empty.
pub fn check_buffer(pointer: *const c_void, length: usize) -> Result<(), CUresult> {
    if pointer.is_null() && length > 0 {
        Err(CUresult::INVALID_VALUE)
    } else {
        Ok(())
    }
}

/// A plain struct of the caller.
///
/// # Safety
/// `pointer` is null or valid for a read.
pub unsafe fn input<T: Copy>(pointer: *const T) -> Result<T, CUresult> {
    if pointer.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for it.
    Ok(unsafe { pointer.read_unaligned() })
}

/// Fills an output, if the caller wants it.
///
/// # Safety
/// `pointer` is null or valid for a write.
pub unsafe fn put_optional<T>(pointer: *mut T, value: T) {
    if !pointer.is_null() {
        // SAFETY: the caller vouches for it.
        unsafe { pointer.write_unaligned(value) };
    }
}

/// Fills an output that must be there.
///
/// # Safety
/// As for [`put_optional`].
pub unsafe fn put<T>(pointer: *mut T, value: T) {
    // SAFETY: as the caller says.
    unsafe { put_optional(pointer, value) };
}

/// As [`put`], with an error for a null pointer.
///
/// # Safety
/// As for [`put_optional`].
pub unsafe fn give<T>(pointer: *mut T, value: T) -> Result<(), CUresult> {
    check_out(pointer)?;
    // SAFETY: as the caller says.
    unsafe { put_optional(pointer, value) };
    Ok(())
}

/// Elements that one call may list.
const LIST_MAX: usize = 1 << 20;

/// An array of the caller's, which may only be null if it is empty.
///
/// # Safety
/// `pointer` is null or valid for reads of `count` values.
pub unsafe fn list<T: Copy>(pointer: *const T, count: usize) -> Result<Vec<T>, CUresult> {
    if count > LIST_MAX || (pointer.is_null() && count > 0) {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: as the caller says.
    Ok((0..count).map(|i| unsafe { pointer.add(i).read_unaligned() }).collect())
}

/// A C string of the caller.
///
/// # Safety
/// `text` is null or a NUL-terminated string that stays as it is during the call.
pub unsafe fn string<'a>(text: *const c_char) -> Result<&'a [u8], CUresult> {
    // SAFETY: the caller vouches for it.
    unsafe { sys::c_str(text) }.map(|text| text.to_bytes()).ok_or(CUresult::INVALID_VALUE)
}

/// A file's name.
///
/// # Safety
/// As for [`string`].
pub unsafe fn path<'a>(name: *const c_char) -> Result<&'a Path, CUresult> {
    // SAFETY: as the caller says.
    unsafe { string(name) }.map(|name| Path::new(OsStr::from_bytes(name)))
}

/// A buffer of the caller that the call reads.
///
/// # Safety
/// `pointer` is null or valid for reads of `length` bytes during the call.
pub unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Result<&'a [u8], CUresult> {
    check_buffer(pointer, length)?;
    match length {
        0 => Ok(&[]),
        // SAFETY: the caller vouches for it.
        _ => Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), length) }),
    }
}

/// A buffer of the caller that the call fills.
///
/// # Safety
/// `pointer` is null or valid for writes of `length` bytes during the call, and nothing else uses it.
pub unsafe fn bytes_mut<'a>(pointer: *mut c_void, length: usize) -> Result<&'a mut [u8], CUresult> {
    check_buffer(pointer, length)?;
    match length {
        0 => Ok(&mut []),
        // SAFETY: the caller vouches for it.
        _ => Ok(unsafe { std::slice::from_raw_parts_mut(pointer.cast(), length) }),
    }
}
